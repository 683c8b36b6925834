//! Memory plan: weights by tensor, KV cache per layer kind, compute buffers, runtime baseline.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::settings::{MemoryParams, Settings};
use crate::catalog::stored_as;
use crate::model::{Attention, Isa, ModelKind, ModelSpec, Precision, Role, TensorSpec};

/// Rows that kernels for rearranged weights take together (llama.cpp, `ggml-cpu/repack.cpp`, build 11434).
const REPACKED_ROWS: u64 = 8;

/// Storage of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPrecision {
    F32,
    #[default]
    F16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
}

impl KvPrecision {
    pub const ALL: &'static [KvPrecision] = &[
        KvPrecision::F32,
        KvPrecision::F16,
        KvPrecision::Q8_0,
        KvPrecision::Q5_1,
        KvPrecision::Q5_0,
        KvPrecision::Q4_1,
        KvPrecision::Q4_0,
    ];

    /// Name as llama.cpp's `--cache-type-k` spells it.
    pub fn name(self) -> &'static str {
        match self {
            KvPrecision::F32 => "f32",
            KvPrecision::F16 => "f16",
            KvPrecision::Q8_0 => "q8_0",
            KvPrecision::Q5_1 => "q5_1",
            KvPrecision::Q5_0 => "q5_0",
            KvPrecision::Q4_1 => "q4_1",
            KvPrecision::Q4_0 => "q4_0",
        }
    }

    /// Bytes of 32 elements: the GGUF block sizes, scales included.
    fn bytes_per_32(self) -> u64 {
        match self {
            KvPrecision::F32 => 128,
            KvPrecision::F16 => 64,
            KvPrecision::Q8_0 => 34,
            KvPrecision::Q5_1 => 24,
            KvPrecision::Q5_0 => 22,
            KvPrecision::Q4_1 => 20,
            KvPrecision::Q4_0 => 18,
        }
    }

    fn bytes(self, elements: u64) -> u64 {
        scale(elements, self.bytes_per_32(), 32)
    }
}

impl fmt::Display for KvPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KvPrecision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        KvPrecision::ALL
            .iter()
            .copied()
            .find(|k| k.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| format!("unknown KV cache type `{s}`"))
    }
}

/// Layers that cache alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KvGroup {
    /// `full attention`, `sliding window 1024`, `latent`, `recurrent`, `shared`, `encoder`, `none`.
    pub kind: String,
    pub layers: u32,
    /// Positions kept; 0 for a recurrent state.
    pub positions: u64,
    pub bytes: u64,
}

/// Weight bytes of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleBytes {
    pub role: Role,
    pub bytes: u64,
    /// Bytes one decoded token reads.
    pub per_token: u64,
}

/// Where the memory goes. All figures in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    pub weights: u64,
    pub roles: Vec<RoleBytes>,
    /// Weight bytes one decoded token reads: the active share of experts, one embedding row.
    pub weights_per_token: u64,
    pub kv_cache: u64,
    pub kv_groups: Vec<KvGroup>,
    /// Fixed state of recurrent layers, part of `kv_cache`.
    pub state: u64,
    pub compute: u64,
    pub runtime: u64,
    /// What must be there to run.
    pub total: u64,
    /// Weights that the backend copies into its kernels' own layout. The file's pages behind them stay resident until
    /// the system wants the memory back: peak resident memory is up to `total + repacked`.
    pub repacked: u64,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct PlanFor<'a> {
    /// `None` takes the tensors as stored.
    pub precision: Option<Precision>,
    /// Positions the KV cache is sized for.
    pub context: u64,
    pub kv: KvPrecision,
    /// A registry id; an unknown one gets the default buffers.
    pub backend: &'a str,
    /// Of the CPU it runs on; empty where that is not known or not a CPU.
    pub cpu_isa: &'a [Isa],
}

/// Plans the memory of a model on a backend.
pub fn memory_plan(spec: &ModelSpec, q: &PlanFor<'_>) -> MemoryPlan {
    let params = Settings::embedded().memory(q.backend);
    let stored = stored(spec, q.precision);
    let roles = weights_by_role(spec, &stored);
    let weights = sum(roles.iter().map(|r| r.bytes));
    let kv_groups = kv_groups(spec, q.context, q.kv);
    let kv_cache = sum(kv_groups.iter().map(|g| g.bytes));
    let state = sum(kv_groups.iter().filter(|g| g.kind == "recurrent").map(|g| g.bytes));
    let compute = compute_buffers(spec, q.context, params);
    let runtime = params.runtime_bytes;
    MemoryPlan {
        weights,
        weights_per_token: sum(roles.iter().map(|r| r.per_token)),
        roles,
        kv_cache,
        kv_groups,
        state,
        compute,
        runtime,
        total: sum([weights, kv_cache, compute, runtime]),
        repacked: repacked(spec, &stored, params, q.cpu_isa),
    }
}

/// Bytes the KV cache of `positions` tokens is read for by one decoded token.
pub(super) fn kv_read_bytes(spec: &ModelSpec, positions: u64, kv: KvPrecision) -> u64 {
    sum(spec.layers.iter().flat_map(caches).map(|c| layer_cache(&c, positions, kv).1))
}

/// Type and bytes of each tensor; no type where the precision is another format's.
fn stored(spec: &ModelSpec, precision: Option<Precision>) -> Vec<(&str, u64)> {
    let as_is = || spec.tensors.iter().map(|t| (t.dtype.as_str(), t.bytes));
    let Some(p) = precision else { return as_is().collect() };
    let nominal = || spec.tensors.iter().map(|t| ("", tensor_bytes(t, p))).collect();
    stored_as(spec, p).unwrap_or_else(nominal)
}

/// Weight matrices of types that this CPU's kernels want rearranged.
fn repacked(spec: &ModelSpec, stored: &[(&str, u64)], params: &MemoryParams, isa: &[Isa]) -> u64 {
    let rules = || params.repack.iter().filter(|r| isa.contains(&r.isa));
    let wanted = |name: &str| rules().any(|r| r.types.iter().any(|t| t == name));
    let multiplied = |t: &TensorSpec| {
        t.role != Role::Embedding && t.shape.get(1).is_some_and(|rows| rows % REPACKED_ROWS == 0)
    };
    let both = spec.tensors.iter().zip(stored);
    sum(both.filter(|(t, (name, _))| multiplied(t) && wanted(name)).map(|(_, (_, bytes))| *bytes))
}

fn weights_by_role(spec: &ModelSpec, stored: &[(&str, u64)]) -> Vec<RoleBytes> {
    let mut roles: BTreeMap<u8, RoleBytes> = BTreeMap::new();
    for (t, &(_, bytes)) in spec.tensors.iter().zip(stored) {
        let entry =
            roles.entry(t.role as u8).or_insert(RoleBytes { role: t.role, bytes: 0, per_token: 0 });
        entry.bytes = entry.bytes.saturating_add(bytes);
        entry.per_token = entry.per_token.saturating_add(read_per_token(spec, t, bytes));
    }
    roles.into_values().collect()
}

/// Bytes of one tensor at a precision that is no GGUF mixture. Vectors (norms, biases) stay 32-bit, as every quantizer leaves them.
fn tensor_bytes(t: &TensorSpec, precision: Precision) -> u64 {
    let elements = t.elements();
    let matrix = t.shape.iter().filter(|&&d| d > 1).count() >= 2;
    if !matrix || t.role == Role::Norm {
        return elements.saturating_mul(4);
    }
    let bits = precision.bits_per_weight();
    (elements as f64 * bits / 8.0).ceil() as u64
}

fn read_per_token(spec: &ModelSpec, t: &TensorSpec, bytes: u64) -> u64 {
    match t.role {
        _ if spec.looks_up(t) => {
            let rows = t.shape.last().copied().unwrap_or(1).max(1);
            bytes / rows
        }
        Role::Expert if spec.experts > 0 => {
            scale(bytes, u64::from(spec.experts_used.min(spec.experts)), u64::from(spec.experts))
        }
        _ => bytes,
    }
}

fn kv_groups(spec: &ModelSpec, context: u64, kv: KvPrecision) -> Vec<KvGroup> {
    let mut groups: Vec<KvGroup> = Vec::new();
    for layer in spec.layers.iter().flat_map(caches) {
        let kind = cache_kind(&layer);
        let (positions, bytes) = layer_cache(&layer, context, kv);
        match groups.iter_mut().find(|g| g.kind == kind && g.positions == positions) {
            Some(g) => {
                g.layers += 1;
                g.bytes = g.bytes.saturating_add(bytes);
            }
            None => groups.push(KvGroup { kind, layers: 1, positions, bytes }),
        }
    }
    groups
}

/// What a layer keeps, one entry a cache: a parallel layer keeps two.
fn caches(layer: &Attention) -> impl Iterator<Item = Attention> {
    let both = match *layer {
        Attention::Parallel { heads, kv_heads, key_dim, value_dim, state_elements } => {
            let (window, shared) = (None, false);
            let cache = Attention::Gqa { heads, kv_heads, key_dim, value_dim, window, shared };
            [Some(cache), Some(Attention::Recurrent { state_elements })]
        }
        ref other => [Some(other.clone()), None],
    };
    both.into_iter().flatten()
}

/// Positions that a layer keeps, and their bytes.
fn layer_cache(layer: &Attention, context: u64, kv: KvPrecision) -> (u64, u64) {
    match *layer {
        Attention::Gqa { shared: false, kv_heads, key_dim, value_dim, window, .. } => {
            let positions = window.map_or(context, |w| context.min(u64::from(w)));
            let row = u64::from(kv_heads)
                .saturating_mul(u64::from(key_dim).saturating_add(u64::from(value_dim)));
            (positions, kv.bytes(row.saturating_mul(positions)))
        }
        Attention::Mla { kv_lora_rank, rope_dim, .. } => {
            let row = u64::from(kv_lora_rank).saturating_add(u64::from(rope_dim));
            (context, kv.bytes(row.saturating_mul(context)))
        }
        // Recurrent state stays 32-bit whatever the cache type.
        Attention::Recurrent { state_elements } => (0, state_elements.saturating_mul(4)),
        Attention::Gqa { shared: true, .. }
        | Attention::Parallel { .. }
        | Attention::Encoder { .. }
        | Attention::None => (0, 0),
    }
}

fn cache_kind(layer: &Attention) -> String {
    match *layer {
        Attention::Gqa { shared: true, .. } => "shared".to_owned(),
        Attention::Gqa { window: Some(w), .. } => format!("sliding window {w}"),
        Attention::Gqa { .. } => "full attention".to_owned(),
        Attention::Mla { .. } => "latent".to_owned(),
        Attention::Recurrent { .. } => "recurrent".to_owned(),
        // Taken apart by `caches`.
        Attention::Parallel { .. } => "parallel".to_owned(),
        Attention::Encoder { .. } => "encoder".to_owned(),
        Attention::None => "none".to_owned(),
    }
}

/// The largest activations alive at once in one micro-batch: the logits beside the residual stream, or the attention
/// scores where the backend materialises them.
fn compute_buffers(spec: &ModelSpec, context: u64, params: &MemoryParams) -> u64 {
    let batch = match spec.kind {
        ModelKind::Llm | ModelKind::Multimodal => params.micro_batch,
        _ => context.clamp(1, params.micro_batch),
    };
    let logits = if params.logits_for_batch { batch } else { 1 };
    let residual = batch.saturating_mul(u64::from(spec.hidden));
    let output = logits.saturating_mul(u64::from(spec.vocabulary));
    let heads = spec.layers.iter().map(heads).max().unwrap_or(0);
    let scores = if params.materialises_scores {
        batch.saturating_mul(context).saturating_mul(u64::from(heads))
    } else {
        0
    };
    residual.saturating_add(output.max(scores)).saturating_mul(4)
}

fn heads(layer: &Attention) -> u32 {
    match *layer {
        Attention::Gqa { heads, .. }
        | Attention::Parallel { heads, .. }
        | Attention::Mla { heads, .. }
        | Attention::Encoder { heads, .. } => heads,
        Attention::Recurrent { .. } | Attention::None => 0,
    }
}

/// `a * b / c`, rounded up, without overflow.
fn scale(a: u64, b: u64, c: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    u64::try_from(wide.div_ceil(u128::from(c.max(1)))).unwrap_or(u64::MAX)
}

fn sum(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, u64::saturating_add)
}

//! Which decoders are known, and the numbers a forward pass needs from a file's metadata. The ONNX writer reads it too.

use crate::backend::BackendError;
use crate::formats::gguf::{Gguf, Value};

/// How query and key are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RopeLayout {
    /// Neighbouring pairs.
    Pairs,
    /// First half against second half.
    Halves,
}

struct Architecture {
    key: &'static str,
    rope: RopeLayout,
    /// Every so many layers one keeps its query and key unrotated; 0 = all are rotated.
    unrotated_every: usize,
}

/// Architectures that are the same decoder but for what the file itself tells (biases, head norms, tied output).
/// Layouts as llama.cpp's `llama_model_rope_type` gives them.
const ARCHITECTURES: &[Architecture] = &[
    Architecture { key: "llama", rope: RopeLayout::Pairs, unrotated_every: 0 },
    Architecture { key: "qwen2", rope: RopeLayout::Halves, unrotated_every: 0 },
    Architecture { key: "qwen3", rope: RopeLayout::Halves, unrotated_every: 0 },
    Architecture { key: "smollm3", rope: RopeLayout::Pairs, unrotated_every: 4 },
];

/// Shapes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) eps: f32,
    pub(crate) rope: RopeLayout,
    /// Leading elements of a head that are rotated.
    pub(crate) rope_dim: usize,
    pub(crate) rope_base: f64,
    /// Positions are divided by this.
    pub(crate) rope_scale: f64,
    unrotated_every: usize,
}

impl Config {
    pub(crate) fn read(gguf: &Gguf) -> Result<Self, BackendError> {
        let key = gguf.architecture();
        let known = ARCHITECTURES.iter().find(|a| a.key == key).ok_or_else(|| {
            let all: Vec<_> = ARCHITECTURES.iter().map(|a| a.key).collect();
            unsupported(format!("architecture `{key}`: known are {}", all.join(", ")))
        })?;
        let whole = |name: &str| number(gguf, name);
        if whole("expert_count")?.unwrap_or(0) > 0 {
            return Err(unsupported("mixture of experts".into()));
        }
        let need = |name: &str| {
            whole(name)?
                .filter(|&n| n > 0)
                .ok_or_else(|| damaged(format!("`{key}.{name}` is missing or 0")))
        };
        let (hidden, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let kv_heads = whole("attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = whole("attention.key_length")?.unwrap_or(hidden / heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(damaged(format!("{heads} heads do not share {kv_heads} key-value heads")));
        }
        if whole("attention.value_length")?.unwrap_or(head_dim) != head_dim {
            return Err(unsupported("keys and values of different width".into()));
        }
        let rope_dim = whole("rope.dimension_count")?.unwrap_or(head_dim);
        if head_dim == 0 || rope_dim > head_dim || !rope_dim.is_multiple_of(2) {
            return Err(damaged(format!("rotating {rope_dim} of {head_dim} elements a head")));
        }
        let tokens = gguf.tensor("token_embd.weight").and_then(|t| t.shape.get(1).copied());
        let vocabulary = tokens
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n > 0 && n <= u32::MAX as usize)
            .ok_or_else(|| damaged("`token_embd.weight` is missing or not a matrix".into()))?;
        Ok(Self {
            layers: need("block_count")?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            feed_forward: need("feed_forward_length")?,
            vocabulary,
            eps: positive(gguf, "attention.layer_norm_rms_epsilon", 1e-5)? as f32,
            rope: known.rope,
            rope_dim,
            rope_base: positive(gguf, "rope.freq_base", 10_000.0)?,
            rope_scale: rope_scale(gguf)?,
            unrotated_every: known.unrotated_every,
        })
    }

    /// Angle a position of each rotated pair; `factors` are those of `rope_freqs.weight`, empty where it is absent.
    pub(crate) fn frequencies(&self, factors: &[f32]) -> Vec<f64> {
        let angle = |i: usize| {
            let exponent = -2.0 * i as f64 / self.rope_dim as f64;
            let factor = f64::from(factors.get(i).copied().unwrap_or(1.0));
            self.rope_base.powf(exponent) / factor / self.rope_scale
        };
        (0..self.rope_dim / 2).map(angle).collect()
    }

    pub(crate) fn query_dim(&self) -> usize {
        self.heads * self.head_dim
    }
    pub(crate) fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }
    /// Query heads that share one key-value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
    pub(crate) fn rotates(&self, layer: usize) -> bool {
        self.unrotated_every == 0 || !(layer + 1).is_multiple_of(self.unrotated_every)
    }
}

/// Dimensions beyond this are hostile: products of two of them stay far from overflow.
const MAX_DIM: u64 = 1 << 24;

fn number(gguf: &Gguf, name: &str) -> Result<Option<usize>, BackendError> {
    match gguf.arch(name) {
        None => Ok(None),
        Some(Value::Array(_)) => {
            Err(unsupported(format!("`{}.{name}` differs by layer", gguf.architecture())))
        }
        Some(v) => match v.as_u64() {
            Some(n) if n <= MAX_DIM => Ok(Some(n as usize)),
            _ => Err(damaged(format!("`{}.{name}` is {v:?}", gguf.architecture()))),
        },
    }
}

fn positive(gguf: &Gguf, name: &str, default: f64) -> Result<f64, BackendError> {
    match gguf.arch(name) {
        None => Ok(default),
        Some(v) => v
            .as_f64()
            .filter(|x| x.is_finite() && *x > 0.0)
            .ok_or_else(|| damaged(format!("`{}.{name}` is {v:?}", gguf.architecture()))),
    }
}

fn rope_scale(gguf: &Gguf) -> Result<f64, BackendError> {
    match gguf.arch("rope.scaling.type").and_then(Value::as_str) {
        None | Some("none") => positive(gguf, "rope.scale_linear", 1.0),
        Some("linear") => positive(gguf, "rope.scaling.factor", 1.0),
        Some(other) => Err(unsupported(format!("`{other}` scaling of rotary positions"))),
    }
}

pub(crate) fn unsupported(what: String) -> BackendError {
    BackendError::Unsupported(format!("not supported here: {what}"))
}

pub(crate) fn damaged(what: String) -> BackendError {
    BackendError::Failed(format!("the model file is inconsistent: {what}"))
}

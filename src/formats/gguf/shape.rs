//! A GGUF head as a [`ModelSpec`]: how each layer keeps its context, what each tensor is for.

use super::head::{Gguf, TensorInfo};
use super::windows::{is_windowed, window_default};
use crate::formats::FormatError;
use crate::model::{Attention, ModelKind, ModelSpec, Role, TensorSpec};

/// A width, head count or window beyond this is damage.
const MAX_WIDTH: u64 = 1 << 24;
const MAX_LAYERS: u64 = 1 << 12;

/// The model's shape. Fails where the header's numbers cannot be a model's.
pub fn to_spec(gguf: &Gguf) -> Result<ModelSpec, FormatError> {
    let reader = Reader { gguf };
    let layers = reader.layers()?;
    let tensors: Vec<TensorSpec> = gguf.tensors.iter().map(tensor_spec).collect();
    let parameters = sum(tensors.iter());
    let experts = reader.width("expert_count")?.unwrap_or(0);
    let experts_used = reader.width("expert_used_count")?.unwrap_or(0).min(experts);
    let routed = sum(tensors.iter().filter(|t| t.role == Role::Expert));
    let idle = match experts {
        0 => 0,
        n => (u128::from(routed) * u128::from(n - experts_used) / u128::from(n)) as u64,
    };
    Ok(ModelSpec {
        name: gguf.str("general.name").unwrap_or_default().to_owned(),
        architecture: gguf.architecture().to_owned(),
        kind: reader.kind(),
        parameters,
        active_parameters: parameters - idle,
        context_length: reader.u64("context_length").unwrap_or(0),
        hidden: reader.width("embedding_length")?.unwrap_or(0),
        vocabulary: reader.vocabulary()?,
        experts,
        experts_used,
        tied_output: gguf.tensor("token_embd.weight").is_some()
            && gguf.tensor("output.weight").is_none(),
        layers,
        tensors,
    })
}

/// What a tensor of this name is for.
pub(crate) fn role_of(name: &str) -> Role {
    let part = match name.strip_prefix("blk.") {
        Some(rest) => rest.split_once('.').map_or(rest, |(_, part)| part),
        None => name,
    };
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| part.starts_with(p));
    if part.contains("_exps") {
        Role::Expert
    } else if part.contains("norm") {
        Role::Norm
    } else if starts(&["token_embd", "per_layer_token_embd", "position_embd", "token_types"]) {
        Role::Embedding
    } else if part == "output.weight" || part == "output.bias" {
        Role::Output
    } else if starts(&["attn", "ssm", "shortconv", "time_mix", "indexer"]) {
        Role::Attention
    } else if starts(&["ffn", "channel_mix"]) {
        Role::FeedForward
    } else {
        Role::Other
    }
}

fn tensor_spec(t: &TensorInfo) -> TensorSpec {
    TensorSpec {
        name: t.name.clone(),
        role: role_of(&t.name),
        shape: t.shape.clone(),
        dtype: t.type_name(),
        bytes: t.bytes,
    }
}

fn sum<'a>(tensors: impl Iterator<Item = &'a TensorSpec>) -> u64 {
    tensors.map(TensorSpec::elements).fold(0, u64::saturating_add)
}

struct Reader<'a> {
    gguf: &'a Gguf,
}

impl Reader<'_> {
    fn u64(&self, key: &str) -> Option<u64> {
        self.gguf.arch(key)?.as_u64()
    }

    fn damaged(&self, why: String) -> FormatError {
        FormatError::damaged(&self.gguf.parts[0].path, why)
    }

    fn checked(&self, key: &str, value: u64) -> Result<u32, FormatError> {
        match u32::try_from(value) {
            Ok(v) if value <= MAX_WIDTH => Ok(v),
            _ => Err(self.damaged(format!("{key} is {value}"))),
        }
    }

    fn width(&self, key: &str) -> Result<Option<u32>, FormatError> {
        self.u64(key).map(|v| self.checked(key, v)).transpose()
    }

    /// A key that holds one number for all layers or an array with one for each.
    fn per_layer(&self, key: &str, layers: u64) -> Result<Option<Vec<u32>>, FormatError> {
        if let Some(v) = self.width(key)? {
            return Ok(Some(vec![v; layers as usize]));
        }
        let full = format!("{}.{key}", self.gguf.architecture());
        let Some(values) = self.gguf.ints(&full, MAX_LAYERS)? else { return Ok(None) };
        if values.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::new();
        for i in 0..layers as usize {
            let value = values[i % values.len()];
            out.push(self.checked(key, u64::try_from(value).unwrap_or(u64::MAX))?);
        }
        Ok(Some(out))
    }

    fn vocabulary(&self) -> Result<u32, FormatError> {
        let embedding = self.gguf.tensor("token_embd.weight").and_then(|t| t.shape.get(1).copied());
        let count = self
            .gguf
            .array_len("tokenizer.ggml.tokens")
            .or(embedding)
            .or_else(|| self.u64("vocab_size"))
            .unwrap_or(0);
        self.checked("the vocabulary", count)
    }

    fn causal(&self) -> bool {
        self.gguf.arch("attention.causal").and_then(|v| v.as_bool()).unwrap_or(true)
    }

    fn kind(&self) -> ModelKind {
        if self.gguf.architecture() == "clip" || self.gguf.str("general.type") == Some("mmproj") {
            ModelKind::Multimodal
        } else if !self.causal() || self.u64("pooling_type").is_some_and(|p| p > 0) {
            ModelKind::Embedding
        } else {
            ModelKind::Llm
        }
    }

    fn layers(&self) -> Result<Vec<Attention>, FormatError> {
        let all = self.u64("block_count").unwrap_or(0);
        if all > MAX_LAYERS {
            return Err(self.damaged(format!("{all} layers, the limit is {MAX_LAYERS}")));
        }
        // Extra layers that only predict tokens ahead keep no context in normal use.
        let count = all.saturating_sub(self.u64("nextn_predict_layers").unwrap_or(0));
        let heads = self.per_layer("attention.head_count", count)?;
        let heads = heads.unwrap_or_else(|| vec![0; count as usize]);
        let kv = self.per_layer("attention.head_count_kv", count)?.unwrap_or_else(|| heads.clone());
        let dims = self.head_dims(heads.iter().copied().max().unwrap_or(0))?;
        let windows = self.windows(count)?;
        let recurrent = self.recurrent(count, &kv)?;
        let no_mixer = self.no_mixer(count)?;
        let state = self.state_elements(heads.iter().copied().max().unwrap_or(0))?;
        let first_shared = self.first_shared(count);
        let parallel = self.gguf.architecture() == "falcon-h1";
        let latent = self.latent()?;
        Ok((0..count as usize)
            .map(|i| {
                let window = windows[i];
                let (key_dim, value_dim) = if window.is_some() { dims.windowed } else { dims.full };
                let (heads, kv_heads) = (heads[i], kv[i]);
                if parallel {
                    let state_elements = state;
                    Attention::Parallel { heads, kv_heads, key_dim, value_dim, state_elements }
                } else if kv_heads == 0 && no_mixer[i] {
                    Attention::None
                } else if recurrent[i] {
                    Attention::Recurrent { state_elements: state }
                } else if !self.causal() {
                    Attention::Encoder { heads, head_dim: key_dim }
                } else if let Some((kv_lora_rank, rope_dim)) = latent {
                    Attention::Mla { heads, kv_lora_rank, rope_dim }
                } else {
                    let shared = i as u64 >= first_shared;
                    Attention::Gqa { heads, kv_heads, key_dim, value_dim, window, shared }
                }
            })
            .collect())
    }

    fn head_dims(&self, heads: u32) -> Result<HeadDims, FormatError> {
        let default = self.width("embedding_length")?.unwrap_or(0).checked_div(heads).unwrap_or(0);
        let key = self.width("attention.key_length")?.unwrap_or(default);
        let value = self.width("attention.value_length")?.unwrap_or(default);
        Ok(HeadDims {
            full: (key, value),
            windowed: (
                self.width("attention.key_length_swa")?.unwrap_or(key),
                self.width("attention.value_length_swa")?.unwrap_or(value),
            ),
        })
    }

    /// The compressed cache row of multi-head latent attention: files without `key_length_mla` are run with full heads.
    fn latent(&self) -> Result<Option<(u32, u32)>, FormatError> {
        let rank = self.width("attention.kv_lora_rank")?.filter(|&r| r > 0);
        let mla = self.u64("attention.key_length_mla").is_some_and(|v| v > 0);
        let rope = self.width("rope.dimension_count")?.unwrap_or(0);
        Ok(rank.filter(|_| mla).map(|rank| (rank, rope)))
    }

    fn windows(&self, layers: u64) -> Result<Vec<Option<u32>>, FormatError> {
        let default = window_default(self.gguf.architecture());
        let window = self.width("attention.sliding_window")?.filter(|&w| w > 0);
        let window = window.or(default.and_then(|d| d.window));
        let none = vec![None; layers as usize];
        let Some(window) = window else { return Ok(none) };
        let key = "attention.sliding_window_pattern";
        let dense_first = default.is_some_and(|d| d.dense_first);
        let windowed = |period: u64| {
            (0..layers).map(|i| is_windowed(i, period, dense_first).then_some(window)).collect()
        };
        if let Some(period) = self.u64(key) {
            return Ok(windowed(period));
        }
        if let Some(flags) = self.per_layer(key, layers)? {
            return Ok(flags.iter().map(|&f| (f != 0).then_some(window)).collect());
        }
        Ok(match default {
            Some(d) => windowed(d.period),
            // LFM2 puts the window on every attention layer; others that carry the key (Mistral, Phi-3) ignore it.
            None if self.gguf.architecture() == "lfm2" => windowed(0),
            None => none,
        })
    }

    fn recurrent(&self, layers: u64, kv_heads: &[u32]) -> Result<Vec<bool>, FormatError> {
        const LINEAR: [&str; 4] = ["qwen3next", "qwen35", "qwen35moe", "minimax-01"];
        if let Some(flags) = self.per_layer("attention.recurrent_layers", layers)? {
            return Ok(flags.iter().map(|&f| f != 0).collect());
        }
        let interval = self
            .u64("full_attention_interval")
            .or_else(|| LINEAR.contains(&self.gguf.architecture()).then_some(4));
        Ok(match interval.filter(|&n| n > 0) {
            Some(n) => (0..layers).map(|i| !(i + 1).is_multiple_of(n)).collect(),
            None => kv_heads.iter().map(|&n| n == 0).collect(),
        })
    }

    /// Layers of Nemotron-H either mix or feed forward: those that feed forward have no mixer.
    fn no_mixer(&self, layers: u64) -> Result<Vec<bool>, FormatError> {
        let single = self.gguf.architecture().starts_with("nemotron_h");
        let widths = self.per_layer("feed_forward_length", layers)?.filter(|_| single);
        let none = || vec![false; layers as usize];
        Ok(widths.map_or_else(none, |widths| widths.iter().map(|&w| w > 0).collect()))
    }

    /// Elements of one recurrent layer's state: convolution rows plus the state proper (llama.cpp's `n_embd_r + n_embd_s`).
    fn state_elements(&self, heads: u32) -> Result<u64, FormatError> {
        let get = |key| Ok::<u64, FormatError>(u64::from(self.width(key)?.unwrap_or(0)));
        let hidden = get("embedding_length")?;
        let (wkv, conv) = (get("wkv.head_size")?, get("shortconv.l_cache")?);
        if wkv > 0 {
            let shifts = self.u64("token_shift_count").unwrap_or(2).min(MAX_WIDTH);
            return Ok(hidden * (shifts + wkv));
        }
        if conv > 0 {
            return Ok(hidden * (conv - 1));
        }
        let (kernel, inner) = (get("ssm.conv_kernel")?, get("ssm.inner_size")?);
        let (state, groups) = (get("ssm.state_size")?, get("ssm.group_count")?);
        let kda = get("kda.head_dim")?;
        if kda > 0 {
            let heads = u64::from(heads);
            let taps = kernel.checked_sub(1).unwrap_or(3);
            let rows = (3 * taps).saturating_add(kda).saturating_mul(heads);
            return Ok(rows.saturating_mul(kda));
        }
        let channels = inner.saturating_add((2 * groups).saturating_mul(state));
        let convolution = kernel.saturating_sub(1).saturating_mul(channels);
        Ok(convolution.saturating_add(state * inner))
    }

    /// Layers from this one on read an earlier layer's cache.
    fn first_shared(&self, layers: u64) -> u64 {
        // llama.cpp fixes it for Gemma 3n, whose files do not say.
        const GEMMA3N_OWN_CACHE: u64 = 20;
        match self.u64("attention.shared_kv_layers") {
            Some(n) => layers.saturating_sub(n),
            None if self.gguf.architecture() == "gemma3n" => GEMMA3N_OWN_CACHE,
            None => u64::MAX,
        }
    }
}

struct HeadDims {
    full: (u32, u32),
    windowed: (u32, u32),
}

//! `config.json` of a Hugging Face model: how its layers attend.

use std::path::Path;

use serde_json::{Map, Value};

use super::FormatError;
use super::gguf::layer_window;
use crate::model::{Attention, ModelKind, ModelSpec};

const MAX_BYTES: u64 = 4 << 20;
const MAX_LAYERS: u64 = 4096;
/// A width, head count, window or vocabulary beyond this is damage.
const MAX_WIDTH: u64 = 1 << 24;

/// The file as it is: fields go by several names, and many write `null` for what they do not have.
#[derive(Debug, Default)]
pub(super) struct Config(Map<String, Value>);

/// The shape, and how MLX packs its weights.
pub(super) struct ConfigSpec {
    pub(super) model: ModelSpec,
    pub(super) packed_bits: Option<u64>,
}

impl Config {
    /// `None` where there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, FormatError> {
        if !path.is_file() {
            return Ok(None);
        }
        let text = super::read_text(path, MAX_BYTES)?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Some(Self(map))),
            Ok(_) => Err(FormatError::damaged(path, "config.json is no object")),
            Err(e) => Err(FormatError::damaged(path, format!("config.json: {e}"))),
        }
    }

    pub(super) fn spec(self, path: &Path) -> Result<ConfigSpec, FormatError> {
        let bits = self.0.get("quantization").and_then(|q| q.get("bits")).and_then(Value::as_u64);
        // Multimodal models keep the language model's shape one level down.
        let text = match self.0.get("text_config") {
            Some(Value::Object(inner)) => Self(inner.clone()),
            _ => self,
        };
        let model = text.model().map_err(|why| FormatError::damaged(path, why))?;
        Ok(ConfigSpec { model, packed_bits: bits.filter(|b| (1..=8).contains(b)) })
    }

    /// The first of these fields that holds a number.
    fn number(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|n| self.0.get(*n).and_then(Value::as_u64))
    }

    fn width(&self, names: &[&str]) -> Result<Option<u32>, String> {
        match self.number(names) {
            Some(v) if v > MAX_WIDTH => Err(format!("config.json: {} is {v}", names[0])),
            v => Ok(v.and_then(|v| u32::try_from(v).ok())),
        }
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    fn model_type(&self) -> &str {
        self.0.get("model_type").and_then(Value::as_str).unwrap_or("unknown")
    }

    fn is_encoder(&self) -> bool {
        const ENCODERS: [&str; 7] =
            ["bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "nomic_bert", "modernbert"];
        ENCODERS.contains(&self.model_type())
    }

    fn model(&self) -> Result<ModelSpec, String> {
        let layers = self.number(&["num_hidden_layers", "n_layer", "num_layers"]).unwrap_or(0);
        if layers > MAX_LAYERS {
            return Err(format!("config.json: num_hidden_layers is {layers}"));
        }
        let experts = self.width(&["num_experts", "num_local_experts", "n_routed_experts"])?;
        let experts = experts.unwrap_or(0);
        let used = ["num_experts_per_tok", "experts_per_token", "top_k_experts"];
        let used = self.width(&used)?.unwrap_or(0);
        Ok(ModelSpec {
            name: String::new(),
            architecture: self.model_type().to_owned(),
            kind: if self.is_encoder() { ModelKind::Embedding } else { ModelKind::Llm },
            parameters: 0,
            active_parameters: 0,
            context_length: self
                .number(&["max_position_embeddings", "n_positions", "max_seq_len"])
                .unwrap_or(0),
            hidden: self.width(&["hidden_size", "n_embd", "d_model"])?.unwrap_or(0),
            vocabulary: self.width(&["vocab_size"])?.unwrap_or(0),
            experts,
            experts_used: used.min(experts),
            tied_output: self.flag("tie_word_embeddings").unwrap_or(false),
            layers: self.layers(layers)?,
            tensors: Vec::new(),
        })
    }

    fn layers(&self, count: u64) -> Result<Vec<Attention>, String> {
        let heads = self.width(&["num_attention_heads", "n_head"])?.unwrap_or(0);
        let hidden = self.width(&["hidden_size", "n_embd", "d_model"])?.unwrap_or(0);
        let kv_heads = self.width(&["num_key_value_heads"])?.unwrap_or(heads);
        let dim = self.width(&["head_dim"])?;
        let dim = dim.unwrap_or_else(|| hidden.checked_div(heads).unwrap_or(0));
        let latent = self.width(&["kv_lora_rank"])?;
        let rope_dim = self.width(&["qk_rope_head_dim"])?.unwrap_or(0);
        let windows = self.windows(count)?;
        let shared_from = count.saturating_sub(self.number(&["num_kv_shared_layers"]).unwrap_or(0));
        // Gemma 4: layers that attend in full have heads of their own.
        let full_dim = self.width(&["global_head_dim"])?.unwrap_or(dim);
        let full_kv = self.width(&["num_global_key_value_heads"])?;
        let full_kv =
            full_kv.filter(|_| self.flag("attention_k_eq_v") != Some(false)).unwrap_or(kv_heads);
        let states = [
            ["mamba_n_heads", "mamba_d_head", "mamba_d_state"],
            ["mamba_num_heads", "mamba_head_dim", "ssm_state_size"],
            ["linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"],
        ];
        let state_elements =
            states.iter().map(|names| self.product(names)).find(|&n| n > 0).unwrap_or(0);
        let taps = self.number(&["conv_L_cache"]).unwrap_or(1).clamp(1, MAX_WIDTH);
        let layer = |n: u64| match (self.layer_type(n), latent) {
            _ if self.is_encoder() => Attention::Encoder { heads, head_dim: dim },
            (Some("mamba" | "linear_attention"), _) => Attention::Recurrent { state_elements },
            (Some("mlp" | "moe"), _) => Attention::None,
            (Some("conv"), _) => {
                Attention::Recurrent { state_elements: u64::from(hidden) * (taps - 1) }
            }
            (_, Some(kv_lora_rank)) => Attention::Mla { heads, kv_lora_rank, rope_dim },
            _ => {
                let (window, shared) = (windows[n as usize], n >= shared_from);
                let (dim, kv_heads) =
                    if window.is_some() { (dim, kv_heads) } else { (full_dim, full_kv) };
                Attention::Gqa { heads, kv_heads, key_dim: dim, value_dim: dim, window, shared }
            }
        };
        Ok((0..count).map(layer).collect())
    }

    fn layer_type(&self, n: u64) -> Option<&str> {
        let n = usize::try_from(n).ok()?;
        let list = |key| self.0.get(key).and_then(Value::as_array);
        if let Some(kinds) = list("layer_types").or_else(|| list("layers_block_type")) {
            return kinds.get(n)?.as_str();
        }
        // Nemotron-H: one letter a layer.
        if let Some(letters) = self.0.get("hybrid_override_pattern").and_then(Value::as_str) {
            return Some(match letters.as_bytes().get(n)? {
                b'M' => "mamba",
                b'*' => "full_attention",
                _ => "mlp",
            });
        }
        let interval = self.number(&["full_attention_interval"]).filter(|&i| i > 0)? as usize;
        (!(n + 1).is_multiple_of(interval)).then_some("linear_attention")
    }

    fn windows(&self, count: u64) -> Result<Vec<Option<u32>>, String> {
        let none = vec![None; count as usize];
        let window = self.width(&["sliding_window"])?.filter(|&w| w > 0);
        let Some(window) = window.filter(|_| self.flag("use_sliding_window") != Some(false)) else {
            return Ok(none);
        };
        let by_architecture: Vec<_> =
            (0..count).map(|n| layer_window(self.model_type(), Some(window), n)).collect();
        let period = self.number(&["sliding_window_pattern"]).filter(|&p| p > 0);
        Ok((0..count)
            .map(|n| {
                let windowed = match (self.layer_type(n), period) {
                    (Some(kind), _) => kind.starts_with("sliding") || kind.starts_with("chunked"),
                    (None, Some(period)) => (n + 1) % period != 0,
                    // No word on which layers: what the architecture does, else all of them.
                    (None, None) => {
                        let known = by_architecture.iter().any(Option::is_some);
                        !known || by_architecture[n as usize].is_some()
                    }
                };
                windowed.then_some(window)
            })
            .collect())
    }

    fn product(&self, names: &[&str]) -> u64 {
        names.iter().fold(1u64, |n, name| n.saturating_mul(self.number(&[name]).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layers(config: Value) -> Vec<Attention> {
        let Value::Object(map) = config else { panic!("an object") };
        Config(map).spec(Path::new("config.json")).unwrap().model.layers
    }

    fn full(kv_heads: u32, dim: u32, shared: bool) -> Attention {
        let (heads, window) = (8, None);
        Attention::Gqa { heads, kv_heads, key_dim: dim, value_dim: dim, window, shared }
    }

    /// Gemma 4: full layers are wider, the last ones keep no cache; the shape lies one level down.
    #[test]
    fn full_layers_have_heads_of_their_own() {
        let text = json!({
            "model_type": "gemma4_text", "num_hidden_layers": 3, "hidden_size": 1536,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "global_head_dim": 512, "num_global_key_value_heads": 2, "attention_k_eq_v": true,
            "num_kv_shared_layers": 1, "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        });
        let found = layers(json!({ "model_type": "gemma4", "text_config": text }));
        let window = Some(512);
        let windowed = Attention::Gqa {
            heads: 8,
            kv_heads: 4,
            key_dim: 256,
            value_dim: 256,
            window,
            shared: false,
        };
        assert_eq!(found, [windowed, full(2, 512, false), full(2, 512, true)]);
    }

    /// Qwen3.5 says how often a layer attends, Nemotron-H what each layer is.
    #[test]
    fn hybrids_say_which_layers_attend_in_their_own_ways() {
        let qwen = layers(json!({
            "model_type": "qwen3_5_text", "num_hidden_layers": 4, "full_attention_interval": 4,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
            "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
        }));
        let state = |n| Attention::Recurrent { state_elements: n };
        assert_eq!(qwen[..3], [state(524_288), state(524_288), state(524_288)]);
        assert_eq!(qwen[3], full(2, 256, false));
        let nemotron = layers(json!({
            "model_type": "nemotron_h", "num_hidden_layers": 3, "hybrid_override_pattern": "ME*",
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128,
            "mamba_num_heads": 64, "mamba_head_dim": 64, "ssm_state_size": 128,
        }));
        assert_eq!(nemotron, [state(524_288), Attention::None, full(2, 128, false)]);
    }
}

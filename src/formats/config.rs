//! `config.json` of a Hugging Face model: how its layers attend.

use std::path::Path;

use serde_json::{Map, Value};

use super::FormatError;
use super::gguf::layer_windows;
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
        let used = self.width(&["num_experts_per_tok", "experts_per_token"])?.unwrap_or(0);
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
        let mamba = self.product(&["mamba_n_heads", "mamba_d_head", "mamba_d_state"]);
        let linear = ["linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"];
        let linear = self.product(&linear);
        let taps = self.number(&["conv_L_cache"]).unwrap_or(1).clamp(1, MAX_WIDTH);
        let layer = |n: u64| match (self.layer_type(n), latent) {
            _ if self.is_encoder() => Attention::Encoder { heads, head_dim: dim },
            (Some("mamba"), _) => Attention::Recurrent { state_elements: mamba },
            (Some("linear_attention"), _) => Attention::Recurrent { state_elements: linear },
            (Some("conv"), _) => {
                Attention::Recurrent { state_elements: u64::from(hidden) * (taps - 1) }
            }
            (_, Some(kv_lora_rank)) => Attention::Mla { heads, kv_lora_rank, rope_dim },
            _ => Attention::Gqa {
                heads,
                kv_heads,
                key_dim: dim,
                value_dim: dim,
                window: windows[n as usize],
                shared: n >= shared_from,
            },
        };
        Ok((0..count).map(layer).collect())
    }

    fn layer_type(&self, n: u64) -> Option<&str> {
        self.0.get("layer_types")?.as_array()?.get(usize::try_from(n).ok()?)?.as_str()
    }

    fn windows(&self, count: u64) -> Result<Vec<Option<u32>>, String> {
        let none = vec![None; count as usize];
        let window = self.width(&["sliding_window"])?.filter(|&w| w > 0);
        let Some(window) = window.filter(|_| self.flag("use_sliding_window") != Some(false)) else {
            return Ok(none);
        };
        let by_architecture = layer_windows(self.model_type(), Some(window), count);
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

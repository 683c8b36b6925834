//! How decoder architectures differ from plain Llama, one row each (tensor lists of llama.cpp's `src/models`, build 11434).

/// Normalisation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    None,
    /// Over one head's width.
    Head,
    /// Over all heads together.
    Full,
}

/// How a gated delta net projects its two gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delta {
    Joined,
    Apart,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    pub(super) qkv_bias: bool,
    pub(super) output_bias: bool,
    pub(super) qk_norm: QkNorm,
    pub(super) attn_norm: bool,
    pub(super) ffn_norm: bool,
    pub(super) post_attention_norm: bool,
    pub(super) post_ffn_norm: bool,
    /// One tensor for queries, keys and values.
    pub(super) fused_qkv: bool,
    /// One tensor for the gate and the up projection.
    pub(super) fused_gate: bool,
    pub(super) expert_bias: bool,
    pub(super) sinks: bool,
    /// A gate on the shared experts.
    pub(super) shared_gate: bool,
    /// One tensor for gate and up projections of the experts.
    pub(super) fused_experts: bool,
    /// Feed-forward of two matrices.
    pub(super) no_gate: bool,
    /// The query projection makes a gate for the output, too.
    pub(super) gated_query: bool,
    /// Layers that do not attend are gated delta nets.
    pub(super) delta: Option<Delta>,
    /// Attention and state space in every layer.
    pub(super) parallel: bool,
    pub(super) ssm_norm: bool,
    pub(super) output_norm: &'static str,
    /// Reads all positions at once and keeps none.
    pub(super) encoder: bool,
}

const LLAMA: Traits = Traits {
    qkv_bias: false,
    output_bias: false,
    qk_norm: QkNorm::None,
    attn_norm: true,
    ffn_norm: true,
    post_attention_norm: false,
    post_ffn_norm: false,
    fused_qkv: false,
    fused_gate: false,
    expert_bias: false,
    sinks: false,
    shared_gate: false,
    fused_experts: false,
    no_gate: false,
    gated_query: false,
    delta: None,
    parallel: false,
    ssm_norm: true,
    output_norm: "output_norm",
    encoder: false,
};

const GEMMA2: Traits = Traits { post_attention_norm: true, post_ffn_norm: true, ..LLAMA };
const GEMMA3: Traits = Traits { qk_norm: QkNorm::Head, ..GEMMA2 };

const QWEN35: Traits = Traits {
    qk_norm: QkNorm::Head,
    ffn_norm: false,
    post_attention_norm: true,
    shared_gate: true,
    gated_query: true,
    delta: Some(Delta::Apart),
    ..LLAMA
};
const LFM2: Traits = Traits { qk_norm: QkNorm::Head, output_norm: "token_embd_norm", ..LLAMA };
const NEMOTRON_H: Traits = Traits { ffn_norm: false, no_gate: true, ..LLAMA };

const TABLE: &[(&str, Traits)] = &[
    ("llama", LLAMA),
    ("smollm3", LLAMA),
    ("granite", LLAMA),
    ("granitehybrid", LLAMA),
    ("ernie4_5", LLAMA),
    ("deepseek2", LLAMA),
    ("apertus", Traits { qk_norm: QkNorm::Head, no_gate: true, ..LLAMA }),
    ("ernie4_5-moe", LLAMA),
    ("llama4", LLAMA),
    ("mistral3", LLAMA),
    ("nemotron_h", NEMOTRON_H),
    ("nemotron_h_moe", NEMOTRON_H),
    ("seed_oss", Traits { qkv_bias: true, ffn_norm: false, post_attention_norm: true, ..LLAMA }),
    ("qwen2", Traits { qkv_bias: true, ..LLAMA }),
    ("qwen2moe", Traits { qkv_bias: true, shared_gate: true, ..LLAMA }),
    ("qwen3", Traits { qk_norm: QkNorm::Head, ..LLAMA }),
    ("qwen3moe", Traits { qk_norm: QkNorm::Head, ..LLAMA }),
    ("qwen3next", Traits { delta: Some(Delta::Joined), ..QWEN35 }),
    ("qwen35", QWEN35),
    ("qwen35moe", QWEN35),
    ("gemma2", GEMMA2),
    ("gemma3", GEMMA3),
    ("gemma3n", GEMMA3),
    ("gemma4", Traits { fused_experts: true, ..GEMMA3 }),
    ("gemma-embedding", Traits { encoder: true, ..GEMMA3 }),
    ("phi3", Traits { fused_qkv: true, fused_gate: true, ..LLAMA }),
    (
        "gpt-oss",
        Traits {
            qkv_bias: true,
            output_bias: true,
            ffn_norm: false,
            post_attention_norm: true,
            expert_bias: true,
            sinks: true,
            ..LLAMA
        },
    ),
    ("olmo2", Traits { qk_norm: QkNorm::Full, attn_norm: false, ffn_norm: false, ..GEMMA2 }),
    ("olmoe", Traits { qk_norm: QkNorm::Full, ..LLAMA }),
    ("glm4", Traits { fused_gate: true, ..GEMMA2 }),
    ("glm4moe", Traits { qkv_bias: true, ffn_norm: false, post_attention_norm: true, ..LLAMA }),
    ("cohere2", Traits { ffn_norm: false, ..LLAMA }),
    ("lfm2", LFM2),
    ("lfm2moe", LFM2),
    ("falcon-h1", Traits { parallel: true, ssm_norm: false, ..LLAMA }),
];

/// True where [`of`] knows the architecture.
pub(super) fn known(architecture: &str) -> bool {
    TABLE.iter().any(|(name, _)| *name == architecture)
}

/// The architecture's row; plain Llama for one that is not in the table (loading a catalogue refuses those).
pub(super) fn of(architecture: &str) -> &'static Traits {
    TABLE.iter().find(|(name, _)| *name == architecture).map_or(&LLAMA, |(_, traits)| traits)
}

//! Which type each tensor gets: llama.cpp's mixes (`llama-quant.cpp`, build 11434, without an importance matrix).

use crate::formats::gguf::{GgmlType, ggml_type_named};
use crate::model::{Attention, ModelSpec, Precision, Role, TensorSpec};

/// What the mix of one tensor depends on besides the tensor.
pub(super) struct Context {
    /// The type of most tensors.
    base: &'static GgmlType,
    pub(super) precision: Precision,
    pub(super) layers: u32,
    pub(super) experts: u32,
    /// Query heads for each key-value head.
    pub(super) group: u32,
    pub(super) tied: bool,
}

impl Context {
    /// `None` for a precision that is no GGUF recipe.
    pub(super) fn new(spec: &ModelSpec, precision: Precision) -> Option<Self> {
        let base = base_type(precision)?;
        let layers = u32::try_from(spec.layers.len()).unwrap_or(u32::MAX);
        let group = match spec.layers.first() {
            Some(&Attention::Gqa { heads, kv_heads, .. }) => {
                heads.checked_div(kv_heads).unwrap_or(1)
            }
            _ => 1,
        };
        let (experts, tied) = (spec.experts, spec.tied_output);
        Some(Self { base, precision, layers, experts, group, tied })
    }
}

/// Type and bytes of each tensor in a GGUF of this precision; `None` for a precision or for tensor names of another format.
pub fn stored_as(spec: &ModelSpec, precision: Precision) -> Option<Vec<(&'static str, u64)>> {
    let context = Context::new(spec, precision)?;
    spec.tensors.iter().find(|t| t.name == "token_embd.weight")?;
    let stored = |t: &TensorSpec| {
        let row = t.shape.first().copied().unwrap_or(1);
        let kind = tensor_type(t, &context)?;
        Some((kind.name, kind.bytes(row, t.elements())?))
    };
    spec.tensors.iter().map(stored).collect()
}

/// The type of most tensors; `None` for a precision that is no GGUF recipe.
pub(super) fn base_type(precision: Precision) -> Option<&'static GgmlType> {
    let name = match precision {
        Precision::Q2_K_S => "Q2_K",
        Precision::Q3_K_S | Precision::Q3_K_M | Precision::Q3_K_L => "Q3_K",
        Precision::Q4_K_S | Precision::Q4_K_M => "Q4_K",
        Precision::Q5_K_S | Precision::Q5_K_M => "Q5_K",
        Precision::IQ3_XS | Precision::IQ3_M => "IQ3_S",
        Precision::IQ2_M => "IQ2_S",
        Precision::Mxfp4 => "MXFP4",
        other => other.name(),
    };
    ggml_type_named(name)
}

/// The type of one tensor, fallback included.
pub(super) fn tensor_type(t: &TensorSpec, c: &Context) -> Option<&'static GgmlType> {
    let base = c.base;
    let plain = t.shape.len() < 2
        || t.role == Role::Norm
        || !t.name.ends_with("weight")
        || t.name.contains("ffn_gate_inp")
        || t.name.contains("conv");
    if plain {
        return ggml_type_named("F32");
    }
    if !base.is_quantized() {
        return Some(base);
    }
    let name = wanted(t, c, base.name);
    fit(t, if name == base.name { base } else { ggml_type_named(name)? })
}

fn wanted(t: &TensorSpec, c: &Context, base: &'static str) -> &'static str {
    let p = c.precision;
    let part = t.name.strip_prefix("blk.").and_then(|r| r.split_once('.'));
    let layer: u32 = part.and_then(|(n, _)| n.parse().ok()).unwrap_or(0);
    let part = part.map_or(t.name.as_str(), |(_, p)| p);
    let head = part == "output.weight" || (c.tied && part == "token_embd.weight");
    let iq_low = base.starts_with("IQ1") || base.starts_with("IQ2") || base == "IQ3_XXS";
    let more = c.layers > 0 && use_more_bits(layer, c.layers);
    let first_eighth = layer < c.layers / 8;
    match part {
        _ if p == Precision::Mxfp4 => {
            if part.contains("_exps") {
                "MXFP4"
            } else {
                "Q8_0"
            }
        }
        _ if head && base == "Q8_0" => "Q8_0",
        _ if head && iq_low => "Q5_K",
        _ if head => "Q6_K",
        "token_embd.weight" if iq_low => {
            if base == "IQ2_S" || base == "IQ3_XXS" {
                "IQ3_S"
            } else {
                "Q2_K"
            }
        }
        "token_embd.weight" if base.starts_with("TQ") => "Q4_K",
        "attn_v.weight" if c.experts == 8 && base != "Q8_0" => "Q8_0",
        "attn_k.weight" if c.experts == 8 && base != "Q8_0" => "Q8_0",
        "attn_v.weight" => match p {
            Precision::Q2_K if c.group >= 4 => "Q4_K",
            Precision::Q2_K => "Q3_K",
            Precision::Q3_K_M if layer < 2 => "Q5_K",
            Precision::Q3_K_M => "Q4_K",
            Precision::Q3_K_L => "Q5_K",
            Precision::Q4_K_M | Precision::Q5_K_M if more => "Q6_K",
            Precision::Q4_K_S if layer < 4 => "Q5_K",
            Precision::IQ4_NL | Precision::IQ4_XS if c.group >= 4 => "Q5_K",
            _ if iq_low && (c.group >= 4 || c.experts >= 4) => "Q4_K",
            _ => base,
        },
        "attn_qkv.weight" => match p {
            Precision::Q3_K_M | Precision::Q3_K_L => "Q4_K",
            Precision::Q4_K_M => "Q5_K",
            Precision::Q5_K_M => "Q6_K",
            _ => base,
        },
        "attn_output.weight" => match p {
            Precision::Q2_K if c.experts != 8 => "Q3_K",
            Precision::Q3_K_M if c.experts != 8 => "Q4_K",
            Precision::Q3_K_L => "Q5_K",
            Precision::Q4_K_M | Precision::Q4_K_S if c.experts == 8 => "Q5_K",
            _ => base,
        },
        _ if part.starts_with("ffn_down") => match p {
            Precision::Q2_K => "Q3_K",
            Precision::Q3_K_M if layer < c.layers / 16 => "Q5_K",
            Precision::Q3_K_M => "Q4_K",
            Precision::Q3_K_L => "Q5_K",
            Precision::Q4_K_M | Precision::Q5_K_M if more => "Q6_K",
            Precision::Q4_K_S | Precision::IQ4_NL | Precision::IQ4_XS if first_eighth => "Q5_K",
            _ => base,
        },
        _ => base,
    }
}

/// The first and last eighth of the layers, and every third between.
fn use_more_bits(layer: u32, layers: u32) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// A row that is no whole number of 256-blocks takes the nearest type of 32-blocks, as llama.cpp does.
fn fit(t: &TensorSpec, wanted: &'static GgmlType) -> Option<&'static GgmlType> {
    let row = t.shape.first().copied().unwrap_or(1);
    if row.is_multiple_of(wanted.block) {
        return Some(wanted);
    }
    let fallback = match wanted.name {
        "Q2_K" | "Q3_K" | "TQ1_0" | "TQ2_0" => "Q4_0",
        "Q4_K" => "Q5_0",
        "Q5_K" => "Q5_1",
        "Q6_K" => "Q8_0",
        _ => "IQ4_NL",
    };
    let fallback = ggml_type_named(fallback).filter(|f| row.is_multiple_of(f.block));
    fallback.or_else(|| ggml_type_named("F16"))
}

//! Which type each tensor gets: llama.cpp's `llama_tensor_get_type` without importance matrices, and its
//! replacements where a row is no whole number of blocks.

use candle_core::quantized::GgmlDType;

use crate::formats::gguf::{Gguf, TensorInfo, Value};
use crate::model::Precision;

/// What can be made, widest first.
pub const PRECISIONS: &[Precision] = &[
    Precision::F32,
    Precision::F16,
    Precision::BF16,
    Precision::Q8_0,
    Precision::Q6_K,
    Precision::Q5_K_M,
    Precision::Q5_K_S,
    Precision::Q5_1,
    Precision::Q5_0,
    Precision::Q4_K_M,
    Precision::Q4_K_S,
    Precision::Q4_1,
    Precision::Q4_0,
    Precision::Q3_K_L,
    Precision::Q3_K_M,
    Precision::Q3_K_S,
    Precision::Q2_K,
];

/// The type most matrices get, and the number llama.cpp gives the mixture in `general.file_type`.
pub(super) fn base(precision: Precision) -> Option<(GgmlDType, u32)> {
    use Precision as P;
    Some(match precision {
        P::F32 => (GgmlDType::F32, 0),
        P::F16 => (GgmlDType::F16, 1),
        P::BF16 => (GgmlDType::BF16, 32),
        P::Q8_0 => (GgmlDType::Q8_0, 7),
        P::Q6_K => (GgmlDType::Q6K, 18),
        P::Q5_K_M => (GgmlDType::Q5K, 17),
        P::Q5_K_S => (GgmlDType::Q5K, 16),
        P::Q5_1 => (GgmlDType::Q5_1, 9),
        P::Q5_0 => (GgmlDType::Q5_0, 8),
        P::Q4_K_M => (GgmlDType::Q4K, 15),
        P::Q4_K_S => (GgmlDType::Q4K, 14),
        P::Q4_1 => (GgmlDType::Q4_1, 3),
        P::Q4_0 => (GgmlDType::Q4_0, 2),
        P::Q3_K_L => (GgmlDType::Q3K, 13),
        P::Q3_K_M => (GgmlDType::Q3K, 12),
        P::Q3_K_S => (GgmlDType::Q3K, 11),
        P::Q2_K => (GgmlDType::Q2K, 10),
        _ => return None,
    })
}

/// GGUF's spelling of a type.
pub(super) fn name(dtype: GgmlDType) -> &'static str {
    match dtype {
        GgmlDType::F32 => "F32",
        GgmlDType::F16 => "F16",
        GgmlDType::BF16 => "BF16",
        GgmlDType::Q4_0 => "Q4_0",
        GgmlDType::Q4_1 => "Q4_1",
        GgmlDType::Q5_0 => "Q5_0",
        GgmlDType::Q5_1 => "Q5_1",
        GgmlDType::Q8_0 => "Q8_0",
        GgmlDType::Q8_1 => "Q8_1",
        GgmlDType::Q2K => "Q2_K",
        GgmlDType::Q3K => "Q3_K",
        GgmlDType::Q4K => "Q4_K",
        GgmlDType::Q5K => "Q5_K",
        GgmlDType::Q6K => "Q6_K",
        GgmlDType::Q8K => "Q8_K",
    }
}

/// The type with this GGUF spelling, where candle has it.
pub(super) fn by_name(wanted: &str) -> Option<GgmlDType> {
    use GgmlDType::*;
    let all = [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2K, Q3K, Q4K, Q5K, Q6K, Q8K];
    all.into_iter().find(|&t| name(t) == wanted)
}

/// What a model's tensors have in common that a mixture depends on.
pub(super) struct Shape {
    layers: u64,
    /// Query heads a key-value head.
    group: u64,
    experts: u64,
    tied: bool,
}

impl Shape {
    pub(super) fn of(gguf: &Gguf) -> Self {
        let number = |key: &str| gguf.arch(key).and_then(Value::as_u64);
        let heads = number("attention.head_count").unwrap_or(1);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads).max(1);
        Self {
            layers: number("block_count").unwrap_or(0),
            group: heads / kv_heads,
            experts: number("expert_count").unwrap_or(0),
            tied: gguf.tensor("output.weight").is_none(),
        }
    }

    #[cfg(test)]
    pub(super) fn of_parts(layers: u64, group: u64, experts: u64, tied: bool) -> Self {
        Self { layers, group, experts, tied }
    }
}

/// The type a tensor shall have and the one it can have; `None` where it is copied as it is.
pub(super) fn types(
    precision: Precision,
    base: GgmlDType,
    shape: &Shape,
    tensor: &TensorInfo,
) -> Option<(GgmlDType, GgmlDType)> {
    if !is_weight(tensor) {
        return None;
    }
    let wanted = if base.block_size() == 1 { base } else { mixed(precision, base, shape, tensor) };
    Some((wanted, fitting(wanted, tensor.shape[0])))
}

/// Matrices are converted; norms, biases, routers and tables are not.
fn is_weight(tensor: &TensorInfo) -> bool {
    const KEPT: &[&str] = &[
        "_norm.weight",
        "ffn_gate_inp",
        "position_embd",
        "token_types",
        "ssm_conv1d",
        "shortconv",
    ];
    tensor.shape.len() >= 2
        && tensor.name.ends_with(".weight")
        && !KEPT.iter().any(|part| tensor.name.contains(part))
}

fn mixed(precision: Precision, base: GgmlDType, shape: &Shape, tensor: &TensorInfo) -> GgmlDType {
    use GgmlDType::{Q3K, Q4K, Q5K, Q6K, Q8_0};
    use Precision as P;
    let name = tensor.name.as_str();
    if name == "output.weight" || (shape.tied && name == "token_embd.weight") {
        let whole = tensor.shape[0].is_multiple_of(base.block_size() as u64);
        return if base == Q8_0 || !whole { Q8_0 } else { Q6K };
    }
    let (layer, part) = split(name);
    let n = shape.layers;
    // The first and last eighth of the layers, and every third between them.
    let more = layer < n / 8 || layer >= 7 * n / 8 || (layer.saturating_sub(n / 8)) % 3 == 2;
    match (part, precision) {
        ("attn_v", _) if shape.experts == 8 => Q8_0,
        ("attn_v", P::Q2_K) => {
            if shape.group >= 4 {
                Q4K
            } else {
                Q3K
            }
        }
        ("attn_v", P::Q3_K_M) => {
            if layer < 2 {
                Q5K
            } else {
                Q4K
            }
        }
        ("attn_v", P::Q3_K_L) => Q5K,
        ("attn_v", P::Q4_K_M | P::Q5_K_M) if more => Q6K,
        ("attn_v", P::Q4_K_S) if layer < 4 => Q5K,
        ("attn_k", _) if shape.experts == 8 => Q8_0,
        ("ffn_down" | "ffn_down_exps", P::Q2_K) => Q3K,
        ("ffn_down" | "ffn_down_exps", P::Q3_K_M) => {
            if layer < n / 16 {
                Q5K
            } else {
                Q4K
            }
        }
        ("ffn_down" | "ffn_down_exps", P::Q3_K_L) => Q5K,
        ("ffn_down" | "ffn_down_exps", P::Q4_K_M | P::Q5_K_M) if more => Q6K,
        ("ffn_down" | "ffn_down_exps", P::Q4_K_S) if layer < n / 8 => Q5K,
        ("attn_output", P::Q2_K) => Q3K,
        ("attn_output", P::Q3_K_M) => Q4K,
        ("attn_output", P::Q3_K_L) => Q5K,
        ("attn_qkv", P::Q3_K_M | P::Q3_K_L) => Q4K,
        ("attn_qkv", P::Q4_K_M) => Q5K,
        ("attn_qkv", P::Q5_K_M) => Q6K,
        _ => base,
    }
}

/// `blk.7.attn_v.weight` -> (7, `attn_v`).
fn split(name: &str) -> (u64, &str) {
    let part = name.strip_suffix(".weight").unwrap_or(name);
    part.strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, part)| Some((layer.parse().ok()?, part)))
        .unwrap_or((0, part))
}

/// llama.cpp's replacements for rows that are no multiple of 256, then half precision for those of no multiple of 32.
fn fitting(wanted: GgmlDType, row: u64) -> GgmlDType {
    let fits = |t: GgmlDType| row.is_multiple_of(t.block_size() as u64);
    let second = match wanted {
        GgmlDType::Q2K | GgmlDType::Q3K => GgmlDType::Q4_0,
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q5K => GgmlDType::Q5_1,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        other => other,
    };
    [wanted, second, GgmlDType::F16].into_iter().find(|&t| fits(t)).unwrap_or(GgmlDType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, row: u64) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            shape: vec![row, 64],
            type_id: 0,
            offset: 0,
            bytes: 0,
            part: 0,
        }
    }

    fn of(precision: Precision, name: &str, row: u64) -> Option<(GgmlDType, GgmlDType)> {
        let shape = Shape { layers: 32, group: 4, experts: 0, tied: false };
        types(precision, base(precision).unwrap().0, &shape, &tensor(name, row))
    }

    #[test]
    fn every_listed_precision_has_a_recipe() {
        for &p in PRECISIONS {
            assert!(base(p).is_some(), "{p}");
        }
        assert!(base(Precision::IQ4_XS).is_none());
    }

    #[test]
    fn mixtures_give_more_bits_where_llama_cpp_does() {
        use GgmlDType::*;
        let both = |t| Some((t, t));
        assert_eq!(of(Precision::Q4_K_M, "blk.0.attn_v.weight", 4096), both(Q6K));
        assert_eq!(of(Precision::Q4_K_M, "blk.5.attn_v.weight", 4096), both(Q4K));
        assert_eq!(of(Precision::Q4_K_M, "blk.6.ffn_down.weight", 4096), both(Q6K));
        assert_eq!(of(Precision::Q4_K_M, "blk.31.ffn_down.weight", 4096), both(Q6K));
        assert_eq!(of(Precision::Q4_K_M, "output.weight", 4096), both(Q6K));
        assert_eq!(of(Precision::Q4_K_S, "blk.3.ffn_down.weight", 4096), both(Q5K));
        assert_eq!(of(Precision::Q2_K, "blk.9.attn_v.weight", 4096), both(Q4K));
        assert_eq!(of(Precision::Q2_K, "blk.9.attn_q.weight", 4096), both(Q2K));
        assert_eq!(of(Precision::Q3_K_M, "blk.1.ffn_down.weight", 4096), both(Q5K));
        assert_eq!(of(Precision::Q4_0, "output.weight", 4096), both(Q6K));
        assert_eq!(of(Precision::Q8_0, "output.weight", 4096), both(Q8_0));
    }

    #[test]
    fn rows_that_do_not_fit_fall_back_as_llama_cpp_does() {
        use GgmlDType::*;
        let wide = "blk.5.attn_q.weight";
        assert_eq!(of(Precision::Q4_K_M, wide, 576), Some((Q4K, Q5_0)));
        assert_eq!(of(Precision::Q5_K_S, wide, 576), Some((Q5K, Q5_1)));
        assert_eq!(of(Precision::Q6_K, wide, 576), Some((Q6K, Q8_0)));
        assert_eq!(of(Precision::Q2_K, wide, 576), Some((Q2K, Q4_0)));
        assert_eq!(of(Precision::Q4_0, "output.weight", 576), Some((Q6K, Q8_0)));
        assert_eq!(of(Precision::Q4_0, wide, 40), Some((Q4_0, F16)));
    }

    #[test]
    fn norms_biases_and_vectors_stay_as_they_are() {
        assert_eq!(of(Precision::Q4_0, "blk.0.attn_norm.weight", 64), None);
        assert_eq!(of(Precision::Q4_0, "blk.0.attn_q.bias", 64), None);
        assert_eq!(of(Precision::Q4_0, "blk.0.ffn_gate_inp.weight", 64), None);
    }
}

//! What the embedded quantizer makes, and candle's types by GGUF's names.

use candle_core::quantized::GgmlDType;

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

/// The number llama.cpp gives the mixture in `general.file_type`; `None` for one that cannot be made.
pub(super) fn file_type(precision: Precision) -> Option<u32> {
    use Precision as P;
    Some(match precision {
        P::F32 => 0,
        P::F16 => 1,
        P::BF16 => 32,
        P::Q8_0 => 7,
        P::Q6_K => 18,
        P::Q5_K_M => 17,
        P::Q5_K_S => 16,
        P::Q5_1 => 9,
        P::Q5_0 => 8,
        P::Q4_K_M => 15,
        P::Q4_K_S => 14,
        P::Q4_1 => 3,
        P::Q4_0 => 2,
        P::Q3_K_L => 13,
        P::Q3_K_M => 12,
        P::Q3_K_S => 11,
        P::Q2_K => 10,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::gguf;

    #[test]
    fn every_listed_precision_can_be_made() {
        for &p in PRECISIONS {
            assert!(file_type(p).is_some(), "{p}");
            assert!(by_name(gguf::base(p).unwrap().name).is_some(), "{p}");
        }
        assert!(file_type(Precision::IQ4_XS).is_none());
    }
}

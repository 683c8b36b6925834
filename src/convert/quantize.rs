//! A run of whole rows from one type to another: expand to `f32`, quantize with candle's block quantizers.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result, Tensor};
use half::{bf16, f16};

/// `bytes`, whole blocks of `from`, as whole blocks of `to`.
pub(super) fn convert(from: GgmlDType, to: GgmlDType, bytes: &[u8]) -> Result<Vec<u8>> {
    let values = expand(from, bytes)?;
    Ok(match to {
        GgmlDType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        GgmlDType::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        GgmlDType::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        _ => {
            let len = values.len();
            let tensor = Tensor::from_vec(values, len, &Device::Cpu)?;
            QTensor::quantize(&tensor, to)?.data()?.into_owned()
        }
    })
}

/// `bytes`, whole blocks of `from`, as numbers.
pub(super) fn expand(from: GgmlDType, bytes: &[u8]) -> Result<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    Ok(match from {
        GgmlDType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        GgmlDType::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        GgmlDType::BF16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => {
            let len = bytes.len() / from.type_size() * from.block_size();
            let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, from)?;
            QTensor::new(storage, len)?.dequantize(&Device::Cpu)?.to_vec1()?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_keeps_a_wave_within_its_step() {
        use GgmlDType::*;
        let wave: Vec<f32> = (0..1024).map(|i| (i as f32 * 0.1).sin()).collect();
        let bytes: Vec<u8> = wave.iter().flat_map(|x| x.to_le_bytes()).collect();
        for (to, step) in [
            (F32, 0.0),
            (F16, 1e-3),
            (BF16, 1e-2),
            (Q8_0, 0.02),
            (Q6K, 0.06),
            (Q5K, 0.1),
            (Q5_1, 0.1),
            (Q5_0, 0.1),
            (Q4K, 0.2),
            (Q4_1, 0.2),
            (Q4_0, 0.2),
            (Q3K, 0.4),
            (Q2K, 0.8),
        ] {
            let packed = convert(F32, to, &bytes).unwrap();
            assert_eq!(packed.len(), 1024 / to.block_size() * to.type_size());
            let back = expand(to, &packed).unwrap();
            for (a, b) in wave.iter().zip(&back) {
                assert!((a - b).abs() <= step, "{to:?}: {a} {b}");
            }
        }
    }
}

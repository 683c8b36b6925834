//! Every kernel against candle's own dequantization and a product in double precision.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use std::borrow::Cow;

use super::*;

fn ggml(dtype: Dtype) -> GgmlDType {
    match dtype {
        Dtype::F32 => GgmlDType::F32,
        Dtype::F16 => GgmlDType::F16,
        Dtype::BF16 => GgmlDType::BF16,
        Dtype::Q8_0 => GgmlDType::Q8_0,
        Dtype::Q6_K => GgmlDType::Q6K,
        Dtype::Q5_K => GgmlDType::Q5K,
        Dtype::Q5_1 => GgmlDType::Q5_1,
        Dtype::Q5_0 => GgmlDType::Q5_0,
        Dtype::Q4_K => GgmlDType::Q4K,
        Dtype::Q4_1 => GgmlDType::Q4_1,
        Dtype::Q4_0 => GgmlDType::Q4_0,
        Dtype::Q3_K => GgmlDType::Q3K,
        Dtype::Q2_K => GgmlDType::Q2K,
    }
}

fn quantized(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
    QTensor::quantize(&tensor, ggml(dtype)).unwrap().data().unwrap().into_owned()
}

fn by_candle(dtype: Dtype, bytes: &[u8], n: usize) -> Vec<f32> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, ggml(dtype)).unwrap();
    let tensor = QTensor::new(storage, n).unwrap().dequantize(&Device::Cpu).unwrap();
    tensor.to_vec1().unwrap()
}

/// A smooth, sign-changing row; `seed` shifts it.
fn wave(n: usize, seed: u32) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + 1.0) * (0.37 + seed as f32 * 0.11)).sin() * 0.8 + 0.1).collect()
}

#[test]
fn expanding_blocks_agrees_with_candle_for_every_type_and_instruction_set() {
    for &dtype in Dtype::ALL {
        let bytes = quantized(dtype, &wave(1024, 3));
        let expected = by_candle(dtype, &bytes, 1024);
        for isa in Isa::available() {
            let mut out = vec![0.0; 1024];
            dequantize(isa, dtype, &bytes, &mut out);
            for (i, (&a, &b)) in out.iter().zip(&expected).enumerate() {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(0.01), "{dtype:?} {isa} {i}: {a} {b}");
            }
        }
    }
}

/// Largest error of `multiply` over a few rows, relative to the sum of the products' magnitudes.
fn error_of(dtype: Dtype, isa: Isa, rows: &[u8], n: usize, y: &[f32]) -> f64 {
    let kernel = Kernel::of(dtype, isa);
    let mut acts = Activations::default();
    acts.set(isa, y, kernel.needs(dtype));
    let count = rows.len() / dtype.row_bytes(n).unwrap();
    let mut out = vec![0.0; count];
    multiply(kernel, dtype, rows, &acts, &mut out);
    let values = by_candle(dtype, rows, n * count);
    let mut worst = 0f64;
    for (row, &got) in values.chunks(n).zip(&out) {
        let products = row.iter().zip(y).map(|(&a, &b)| f64::from(a) * f64::from(b));
        let (sum, size) = products.fold((0.0, 1e-9), |(s, m), p| (s + p, m + p.abs()));
        worst = worst.max((f64::from(got) - sum).abs() / size);
    }
    worst
}

/// Activations rounded to 8 bits err by at most half a step of 1/127 of the block's largest value.
const INTEGER_TOLERANCE: f64 = 0.006;

#[test]
fn every_kernel_agrees_with_the_expanded_product() {
    for &dtype in Dtype::ALL {
        for isa in Isa::available() {
            // Seven rows: one group of four and a remainder of three.
            let rows = quantized(dtype, &wave(7 * 768, 1));
            let error = error_of(dtype, isa, &rows, 768, &wave(768, 7));
            assert!(error < INTEGER_TOLERANCE, "{dtype:?} {isa}: {error}");
        }
    }
}

#[test]
fn float_kernels_take_rows_of_any_length() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for isa in Isa::available() {
            for n in [1, 7, 8, 9, 24, 61] {
                let rows = quantized(dtype, &wave(5 * n, 2));
                let error = error_of(dtype, isa, &rows, n, &wave(n, 4));
                assert!(error < 1e-5, "{dtype:?} {isa} {n}: {error}");
            }
        }
    }
}

#[test]
fn a_nan_in_the_activations_reaches_the_output_of_every_kernel() {
    for &dtype in Dtype::ALL {
        for isa in Isa::available() {
            let kernel = Kernel::of(dtype, isa);
            let mut y = wave(512, 1);
            y[300] = f32::NAN;
            let mut acts = Activations::default();
            acts.set(isa, &y, kernel.needs(dtype));
            let mut out = [0.0];
            multiply(kernel, dtype, &quantized(dtype, &wave(512, 5)), &acts, &mut out);
            assert!(out[0].is_nan(), "{dtype:?} {isa} {kernel}: {}", out[0]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any bytes are valid blocks as long as the scales are finite: hostile files must not break a kernel.
    #[test]
    fn kernels_agree_on_random_values(
        which in 0..Dtype::ALL.len(),
        blocks in 1usize..4,
        scale in 1e-3f32..1e3,
        seed in any::<u64>(),
    ) {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        let n = blocks * 256;
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n).map(|_| random.random_range(-1.0f32..1.0) * scale).collect()
        };
        let dtype = Dtype::ALL[which];
        let rows = quantized(dtype, &draw(5 * n));
        let y = draw(n);
        for isa in Isa::available() {
            let error = error_of(dtype, isa, &rows, n, &y);
            prop_assert!(error < INTEGER_TOLERANCE, "{dtype:?} {isa}: {error}");
        }
    }
}

//! Random data of each tensor type, with scales that keep weights finite and small.

use half::f16;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::formats::gguf::GgmlType;

/// Where a block keeps its 16-bit scales and what to put there; weights come out around 0.02 wide.
const SCALES: &[(&str, &[(usize, f32)])] = &[
    ("Q4_0", &[(0, 4e-3)]),
    ("Q4_1", &[(0, 4e-3), (2, -3e-2)]),
    ("Q5_0", &[(0, 2e-3)]),
    ("Q5_1", &[(0, 2e-3), (2, -3.1e-2)]),
    ("Q8_0", &[(0, 2.7e-4)]),
    ("Q2_K", &[(80, 2.4e-3), (82, 3.6e-3)]),
    ("Q3_K", &[(108, 4.8e-4)]),
    ("Q4_K", &[(0, 1.4e-4), (2, 1.05e-3)]),
    ("Q5_K", &[(0, 7e-5), (2, 1.08e-3)]),
    ("Q6_K", &[(208, 1.5e-5)]),
    ("IQ4_NL", &[(0, 3e-4)]),
    ("IQ4_XS", &[(0, 1.6e-5)]),
    ("IQ2_XXS", &[(0, 3e-4)]),
    ("IQ2_XS", &[(0, 3e-4)]),
    ("IQ2_S", &[(0, 3e-4)]),
    ("IQ3_XXS", &[(0, 3e-4)]),
    ("IQ3_S", &[(0, 1e-4)]),
    ("IQ1_S", &[(0, 2e-3)]),
    ("TQ1_0", &[(52, 2e-2)]),
    ("TQ2_0", &[(64, 2e-2)]),
];

/// About `bytes` of valid random blocks, a whole number of them; `None` for a type we cannot fill.
pub(super) fn random(kind: &GgmlType, bytes: usize, seed: u64) -> Option<Vec<u8>> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ u64::from(kind.id));
    let size = usize::try_from(kind.block_bytes).ok()?;
    let mut data = vec![0; (bytes / size).max(1) * size];
    let small = |rng: &mut Pcg64Mcg| (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.07;
    match kind.name {
        "F32" => {
            data.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&small(&mut rng).to_le_bytes()))
        }
        "F16" => data
            .chunks_exact_mut(2)
            .for_each(|c| c.copy_from_slice(&f16::from_f32(small(&mut rng)).to_le_bytes())),
        "BF16" => data.chunks_exact_mut(2).for_each(|c| {
            c.copy_from_slice(&half::bf16::from_f32(small(&mut rng)).to_le_bytes());
        }),
        "MXFP4" => {
            rng.fill_bytes(&mut data);
            // An exponent of 2^-8: values up to 6 become up to 0.02.
            data.chunks_exact_mut(size).for_each(|block| block[0] = 127 - 8);
        }
        "NVFP4" => {
            rng.fill_bytes(&mut data);
            // Four unsigned 4.3-bit scales of 2^-8.
            data.chunks_exact_mut(size).for_each(|block| block[..4].fill(0x02));
        }
        "IQ1_M" => {
            rng.fill_bytes(&mut data);
            let scale = f16::from_f32(2e-3).to_bits();
            // The scale's four nibbles sit on top of the four 16-bit words of sub-scales.
            for block in data.chunks_exact_mut(size) {
                for word in 0..4 {
                    let at = 48 + 2 * word + 1;
                    let nibble = (scale >> (4 * word)) as u8 & 0xf;
                    block[at] = (block[at] & 0x0f) | nibble << 4;
                }
            }
        }
        name => {
            let (_, scales) = SCALES.iter().find(|(n, _)| *n == name)?;
            rng.fill_bytes(&mut data);
            for block in data.chunks_exact_mut(size) {
                for &(at, value) in *scales {
                    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
                }
            }
        }
    }
    Some(data)
}

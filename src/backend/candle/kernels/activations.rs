//! One row of activations, kept as `f32` and, where the weights' kernels multiply integers, quantized once.

use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::BlockQ8K;

use super::isa::{Isa, dispatch};

/// Integer forms of a row that the kernels of its weights read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// 8-bit blocks of 32.
    pub blocks32: bool,
    /// candle's 8-bit blocks of 256.
    pub blocks256: bool,
}

impl Needs {
    pub fn and(self, other: Needs) -> Needs {
        Needs {
            blocks32: self.blocks32 || other.blocks32,
            blocks256: self.blocks256 || other.blocks256,
        }
    }
}

/// A row in the forms asked for; buffers are kept between rows.
#[derive(Default)]
pub struct Activations {
    values: Vec<f32>,
    quants: Vec<[i8; 32]>,
    /// What one step of a block is worth.
    scales: Vec<f32>,
    /// Scale times the sum of a block's quants: what a weight's offset multiplies.
    sums: Vec<f32>,
    wide: Vec<BlockQ8K>,
    /// 0, or NaN where a value is not finite: candle's quantizer would drop the damage silently.
    poison: f32,
}

impl Activations {
    /// Takes over a row. Its length is a whole number of the blocks asked for.
    pub fn set(&mut self, isa: Isa, row: &[f32], needs: Needs) {
        self.values.clear();
        self.values.extend_from_slice(row);
        if needs.blocks32 {
            let blocks = row.len() / 32;
            self.quants.resize(blocks, [0; 32]);
            self.scales.resize(blocks, 0.0);
            self.sums.resize(blocks, 0.0);
            let rows = row.as_chunks::<32>().0;
            quantize(isa, rows, &mut self.quants, &mut self.scales, &mut self.sums);
        }
        if needs.blocks256 {
            self.wide.resize(row.len() / 256, BlockQ8K::zeros());
            BlockQ8K::from_float(&row[..self.wide.len() * 256], &mut self.wide);
            self.poison = poison(isa, row);
        }
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
    pub(super) fn wide(&self) -> &[BlockQ8K] {
        &self.wide
    }
    pub(super) fn poison(&self) -> f32 {
        self.poison
    }
}

/// Blocks of 8 bits, which no kernel for another architecture takes yet.
#[cfg(target_arch = "x86_64")]
impl Activations {
    pub(super) fn blocks(&self) -> usize {
        self.quants.len()
    }
    pub(super) fn quants(&self) -> &[[i8; 32]] {
        &self.quants
    }
    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }
    pub(super) fn sums(&self) -> &[f32] {
        &self.sums
    }
}

/// Adding it to a small float leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

dispatch! {
    /// Blocks of 32 to 8 bits, symmetric, largest magnitude to 127. A block with a NaN or an infinity gets a
    /// NaN scale, so that the damage shows in the output.
    pub fn quantize(isa: Isa; rows: &[[f32; 32]], quants: &mut [[i8; 32]], scales: &mut [f32], sums: &mut [f32]) {
        for (((x, q), scale), sum) in rows.iter().zip(quants).zip(scales).zip(sums) {
            let mut most = [0f32; 8];
            let mut poison = [0f32; 8];
            for part in x.as_chunks::<8>().0 {
                for l in 0..8 {
                    let v = part[l].abs();
                    most[l] = if v > most[l] { v } else { most[l] };
                    poison[l] += part[l] * 0.0;
                }
            }
            let largest = most.iter().fold(0f32, |a, &b| if b > a { b } else { a });
            let step = largest / 127.0;
            let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
            let mut total = 0i32;
            for l in 0..32 {
                let v = (x[l] * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32 as i8;
                q[l] = v;
                total += i32::from(v);
            }
            *scale = step + poison.iter().sum::<f32>();
            *sum = *scale * total as f32;
        }
    }
}

dispatch! {
    /// 0 where all values are finite, NaN otherwise.
    pub fn poison(isa: Isa; row: &[f32]) -> f32 {
        let (chunks, tail) = row.as_chunks::<16>();
        let mut lanes = [0f32; 16];
        for c in chunks {
            for l in 0..16 {
                lanes[l] += c[l] * 0.0;
            }
        }
        lanes.iter().chain(tail).map(|x| x * 0.0).sum()
    }
}

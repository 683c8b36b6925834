//! Weights as `MatMulNBits` stores them: unsigned integers in blocks along a row, a scale and a zero point each.

use candle_core::quantized::GgmlDType;
use half::f16;

use crate::convert::quantize;

/// How the blocks of one matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scheme {
    /// 4 or 8.
    pub bits: usize,
    /// Weights a block; a power of two from 16 on.
    pub block: usize,
    pub kind: Kind,
}

/// How a block's integers come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Round to nearest, zero point in the middle.
    Symmetric,
    /// Round to nearest, an integer zero point a block.
    Asymmetric,
    /// The very integers and scales of this GGUF type.
    Ggml(GgmlDType),
}

/// Blocks one after the other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Packed {
    /// `block * bits / 8` bytes a block, low bits first.
    pub data: Vec<u8>,
    pub scales: Vec<f32>,
    /// One a block; empty where it is the middle of the range.
    pub zero_points: Vec<u8>,
}

/// `bytes`, whole blocks of the source type and of the scheme.
pub(super) fn pack(from: GgmlDType, scheme: Scheme, bytes: &[u8]) -> candle_core::Result<Packed> {
    match scheme.kind {
        Kind::Ggml(GgmlDType::Q8_0) => Ok(from_q8_0(&as_type(from, GgmlDType::Q8_0, bytes)?)),
        Kind::Ggml(_) => Ok(from_q4_0(&as_type(from, GgmlDType::Q4_0, bytes)?)),
        Kind::Symmetric | Kind::Asymmetric => Ok(round(scheme, &quantize::expand(from, bytes)?)),
    }
}

/// Bytes of another type are quantized; those of this type are left as they are.
fn as_type(from: GgmlDType, to: GgmlDType, bytes: &[u8]) -> candle_core::Result<Vec<u8>> {
    if from == to { Ok(bytes.to_vec()) } else { quantize::convert(from, to, bytes) }
}

/// 34 bytes a block: a half-precision scale, 32 signed integers.
fn from_q8_0(blocks: &[u8]) -> Packed {
    let mut packed = Packed::default();
    for block in blocks.as_chunks::<34>().0 {
        packed.scales.push(f16::from_le_bytes([block[0], block[1]]).to_f32());
        packed.data.extend(block[2..].iter().map(|&q| q ^ 0x80));
    }
    packed
}

/// 18 bytes a block: a half-precision scale, then weight `j` beside weight `j + 16` in each byte.
fn from_q4_0(blocks: &[u8]) -> Packed {
    let mut packed = Packed::default();
    for block in blocks.as_chunks::<18>().0 {
        packed.scales.push(f16::from_le_bytes([block[0], block[1]]).to_f32());
        let quants = &block[2..];
        let at = |j: usize| if j < 16 { quants[j] & 15 } else { quants[j - 16] >> 4 };
        packed.data.extend((0..16).map(|k| at(2 * k) | at(2 * k + 1) << 4));
    }
    packed
}

fn round(scheme: Scheme, values: &[f32]) -> Packed {
    let mut packed = Packed::default();
    let top = ((1u32 << scheme.bits) - 1) as f32;
    let middle = (1u32 << (scheme.bits - 1)) as f32;
    for block in values.chunks_exact(scheme.block) {
        let (scale, zero) = match scheme.kind {
            Kind::Asymmetric => {
                let low = block.iter().copied().fold(0.0, f32::min);
                let high = block.iter().copied().fold(0.0, f32::max);
                let scale = (high - low) / top;
                (scale, if scale > 0.0 { (-low / scale).round() } else { 0.0 })
            }
            _ => {
                // The value of largest magnitude gets the one step that the negative side has more.
                let far = block
                    .iter()
                    .copied()
                    .fold(0.0, |a: f32, x| if x.abs() > a.abs() { x } else { a });
                (far / -middle, middle)
            }
        };
        let inverse = if scale == 0.0 { 0.0 } else { scale.recip() };
        let quant = |x: f32| (x * inverse + zero).round().clamp(0.0, top) as u8;
        packed.scales.push(scale);
        if scheme.kind == Kind::Asymmetric {
            packed.zero_points.push(zero as u8);
        }
        match scheme.bits {
            4 => packed
                .data
                .extend(block.as_chunks::<2>().0.iter().map(|p| quant(p[0]) | quant(p[1]) << 4)),
            _ => packed.data.extend(block.iter().map(|&x| quant(x))),
        }
    }
    packed
}

/// Zero points of rows of `per_row` blocks, packed like the weights: each row starts on a byte.
pub(super) fn pack_zero_points(bits: usize, per_row: usize, zero_points: &[u8]) -> Vec<u8> {
    if bits == 8 {
        return zero_points.to_vec();
    }
    let row = |row: &[u8]| {
        let pairs = row.chunks(2).map(|p| p[0] | p.get(1).copied().unwrap_or(0) << 4);
        pairs.collect::<Vec<_>>()
    };
    zero_points.chunks(per_row).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.37).sin() + 0.2).collect()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// What a kernel makes of the blocks: (q - zero) * scale.
    fn unpack(s: Scheme, p: &Packed) -> Vec<f32> {
        let zero = |i: usize| match p.zero_points.get(i) {
            Some(&z) => f32::from(z),
            None => (1 << (s.bits - 1)) as f32,
        };
        let quant = |i: usize| match s.bits {
            4 => (p.data[i / 2] >> (4 * (i % 2))) & 15,
            _ => p.data[i],
        };
        let n = p.scales.len() * s.block;
        (0..n).map(|i| (f32::from(quant(i)) - zero(i / s.block)) * p.scales[i / s.block]).collect()
    }

    #[test]
    fn gguf_blocks_keep_every_weight_to_the_bit() {
        let values = wave(256);
        for (ggml, bits) in [(GgmlDType::Q8_0, 8), (GgmlDType::Q4_0, 4)] {
            let blocks = quantize::convert(GgmlDType::F32, ggml, &bytes(&values)).unwrap();
            let scheme = Scheme { bits, block: 32, kind: Kind::Ggml(ggml) };
            let packed = pack(ggml, scheme, &blocks).unwrap();
            assert_eq!(
                unpack(scheme, &packed),
                quantize::expand(ggml, &blocks).unwrap(),
                "{ggml:?}"
            );
            assert_eq!(pack(GgmlDType::F32, scheme, &bytes(&values)).unwrap(), packed);
        }
    }

    #[test]
    fn rounding_stays_within_half_a_step_and_zero_stays_zero() {
        let mut values = wave(256);
        values[7] = 0.0;
        for (bits, block, kind) in [
            (4, 32, Kind::Symmetric),
            (4, 128, Kind::Symmetric),
            (4, 64, Kind::Asymmetric),
            (8, 64, Kind::Symmetric),
            (8, 128, Kind::Asymmetric),
        ] {
            let scheme = Scheme { bits, block, kind };
            let packed = pack(GgmlDType::F32, scheme, &bytes(&values)).unwrap();
            assert_eq!(packed.data.len(), 256 * bits / 8);
            let back = unpack(scheme, &packed);
            for (i, (a, b)) in values.iter().zip(&back).enumerate() {
                // The positive end of a symmetric range is one step short.
                let step = packed.scales[i / block].abs();
                assert!((a - b).abs() <= step * 1.001, "{scheme:?} {a} {b}");
            }
            assert_eq!(back[7], 0.0, "{scheme:?}");
        }
        let flat =
            pack(GgmlDType::F32, Scheme { bits: 4, block: 32, kind: Kind::Asymmetric }, &[0; 128])
                .unwrap();
        assert_eq!((flat.scales[0], flat.zero_points[0]), (0.0, 0));
    }

    #[test]
    fn zero_points_start_every_row_on_a_byte() {
        assert_eq!(pack_zero_points(4, 3, &[1, 2, 3, 4, 5, 6]), [0x21, 0x03, 0x54, 0x06]);
        assert_eq!(pack_zero_points(8, 3, &[1, 2, 3]), [1, 2, 3]);
    }
}

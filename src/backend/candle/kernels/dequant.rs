//! Blocks to `f32`: one portable source a type, compiled once for the baseline and once for AVX2.

use super::Dtype;
use super::isa::{Isa, dispatch};

dispatch! {
    /// Expands `bytes`, whole blocks of `dtype`, into `out`.
    ///
    /// # Panics
    /// Where `bytes` and `out` do not hold the same number of elements.
    pub fn dequantize(isa: Isa; dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "row of {} elements", out.len());
        match dtype {
            Dtype::F32 => each::<4, 1>(bytes, out, |b, y| y[0] = f32::from_le_bytes(*b)),
            Dtype::F16 => each::<2, 1>(bytes, out, |b, y| y[0] = f16_at(b, 0)),
            Dtype::BF16 => each::<2, 1>(bytes, out, |b, y| {
                y[0] = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }),
            Dtype::Q8_0 => each::<34, 32>(bytes, out, q8_0),
            Dtype::Q5_1 => each::<24, 32>(bytes, out, q5_1),
            Dtype::Q5_0 => each::<22, 32>(bytes, out, q5_0),
            Dtype::Q4_1 => each::<20, 32>(bytes, out, q4_1),
            Dtype::Q4_0 => each::<18, 32>(bytes, out, q4_0),
            Dtype::Q6_K => each::<210, 256>(bytes, out, q6_k),
            Dtype::Q5_K => each::<176, 256>(bytes, out, q5_k),
            Dtype::Q4_K => each::<144, 256>(bytes, out, q4_k),
            Dtype::Q3_K => each::<110, 256>(bytes, out, q3_k),
            Dtype::Q2_K => each::<84, 256>(bytes, out, q2_k),
        }
    }
}

#[inline(always)]
fn each<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    f: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (b, y) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        f(b, y);
    }
}

/// Half to single precision without a branch, so that loops over it vectorise.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let w = u32::from(bits) << 16;
    let twice = w.wrapping_add(w);
    // 2^-112 undoes the exponent bias that the shift leaves; subnormals go through 0.5 + x - 0.5.
    let normal =
        f32::from_bits((twice >> 4).wrapping_add(0xE0 << 23)) * f32::from_bits(0x0780_0000);
    let subnormal = f32::from_bits((twice >> 17) | (126 << 23)) - 0.5;
    let magnitude = if twice < (1 << 27) { subnormal } else { normal };
    f32::from_bits((w & 0x8000_0000) | magnitude.to_bits())
}

#[inline(always)]
fn f16_at<const B: usize>(b: &[u8; B], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([b[at], b[at + 1]]))
}

#[inline(always)]
fn u32_at<const B: usize>(b: &[u8; B], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

#[inline(always)]
fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    for j in 0..32 {
        y[j] = d * f32::from(b[2 + j] as i8);
    }
}

#[inline(always)]
fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    for j in 0..16 {
        y[j] = d * (f32::from(b[2 + j] & 15) - 8.0);
        y[j + 16] = d * (f32::from(b[2 + j] >> 4) - 8.0);
    }
}

#[inline(always)]
fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    for j in 0..16 {
        y[j] = d * f32::from(b[4 + j] & 15) + m;
        y[j + 16] = d * f32::from(b[4 + j] >> 4) + m;
    }
}

#[inline(always)]
fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let d = f16_at(b, 0);
    let high = u32_at(b, 2);
    for j in 0..16 {
        let lo = u32::from(b[6 + j] & 15) | (((high >> j) & 1) << 4);
        let hi = u32::from(b[6 + j] >> 4) | (((high >> (j + 16)) & 1) << 4);
        y[j] = d * (lo as i32 - 16) as f32;
        y[j + 16] = d * (hi as i32 - 16) as f32;
    }
}

#[inline(always)]
fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (f16_at(b, 0), f16_at(b, 2));
    let high = u32_at(b, 4);
    for j in 0..16 {
        let lo = u32::from(b[8 + j] & 15) | (((high >> j) & 1) << 4);
        let hi = u32::from(b[8 + j] >> 4) | (((high >> (j + 16)) & 1) << 4);
        y[j] = d * lo as i32 as f32 + m;
        y[j + 16] = d * hi as i32 as f32 + m;
    }
}

/// The 6-bit scale and minimum of sub-block `j` of Q4_K and Q5_K, packed into 12 bytes from `at` on.
#[inline(always)]
fn scale_min<const B: usize>(b: &[u8; B], at: usize, j: usize) -> (f32, f32) {
    let s = |i: usize| b[at + i];
    let (scale, min) = if j < 4 {
        (s(j) & 63, s(j + 4) & 63)
    } else {
        ((s(j + 4) & 15) | ((s(j - 4) >> 6) << 4), (s(j + 4) >> 4) | ((s(j) >> 6) << 4))
    };
    (f32::from(scale), f32::from(min))
}

#[inline(always)]
fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(b, 0), f16_at(b, 2));
    for j in 0..4 {
        let (s0, m0) = scale_min(b, 4, 2 * j);
        let (s1, m1) = scale_min(b, 4, 2 * j + 1);
        let (d0, m0, d1, m1) = (d * s0, dmin * m0, d * s1, dmin * m1);
        for l in 0..32 {
            let q = b[16 + 32 * j + l];
            y[64 * j + l] = d0 * f32::from(q & 15) - m0;
            y[64 * j + 32 + l] = d1 * f32::from(q >> 4) - m1;
        }
    }
}

#[inline(always)]
fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(b, 0), f16_at(b, 2));
    for j in 0..4 {
        let (s0, m0) = scale_min(b, 4, 2 * j);
        let (s1, m1) = scale_min(b, 4, 2 * j + 1);
        let (d0, m0, d1, m1) = (d * s0, dmin * m0, d * s1, dmin * m1);
        for l in 0..32 {
            let (q, h) = (b[48 + 32 * j + l], b[16 + l] >> (2 * j));
            y[64 * j + l] = d0 * f32::from((q & 15) | ((h & 1) << 4)) - m0;
            y[64 * j + 32 + l] = d1 * f32::from((q >> 4) | ((h & 2) << 3)) - m1;
        }
    }
}

#[inline(always)]
fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = f16_at(b, 208);
    for half in 0..2 {
        for group in 0..4 {
            // The four groups of 32 take the low then the high nibbles of two runs of 32 bytes.
            let low = 64 * half + 32 * (group & 1);
            for part in 0..2 {
                let scale = d * f32::from(b[192 + 8 * half + 2 * group + part] as i8);
                for l in 16 * part..16 * part + 16 {
                    let nibble = (b[low + l] >> (4 * (group / 2))) & 15;
                    let high = (b[128 + 32 * half + l] >> (2 * group)) & 3;
                    let q = i32::from(nibble | (high << 4)) - 32;
                    y[128 * half + 32 * group + l] = scale * q as f32;
                }
            }
        }
    }
}

#[inline(always)]
fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = f16_at(b, 108);
    for sub in 0..16 {
        let low = if sub < 8 { b[96 + sub] & 15 } else { b[88 + sub] >> 4 };
        let high = (b[104 + sub % 4] >> (2 * (sub / 4))) & 3;
        let scale = d * (f32::from(low | (high << 4)) - 32.0);
        let (half, group, part) = (sub / 8, (sub % 8) / 2, sub % 2);
        for l in 16 * part..16 * part + 16 {
            let q = (b[32 + 32 * half + l] >> (2 * group)) & 3;
            let mask = (b[l] >> (4 * half + group)) & 1;
            y[128 * half + 32 * group + l] = scale * (i32::from(q | (mask << 2)) - 4) as f32;
        }
    }
}

#[inline(always)]
fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(b, 80), f16_at(b, 82));
    for sub in 0..16 {
        let (scale, min) = (d * f32::from(b[sub] & 15), dmin * f32::from(b[sub] >> 4));
        let (half, group, part) = (sub / 8, (sub % 8) / 2, sub % 2);
        for l in 16 * part..16 * part + 16 {
            let q = (b[16 + 32 * half + l] >> (2 * group)) & 3;
            y[128 * half + 32 * group + l] = scale * f32::from(q) - min;
        }
    }
}

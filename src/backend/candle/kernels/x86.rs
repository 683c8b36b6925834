//! AVX2 dot products of weight rows with activations, for the types candle computes one block at a time or not
//! at all on x86. Four rows at once share the loads of the activations and hide each other's latency.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::activations::Activations;

/// Rows a kernel call takes at once.
pub(super) const ROWS: usize = 4;

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load16(b: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load32(b: &[i8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(b.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load8(x: &[f32; 8]) -> __m256 {
    // SAFETY: the reference is to 8 readable floats; the load needs no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn half(lo: u8, hi: u8) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes([lo, hi])))))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum8(x: __m256) -> f32 {
    let s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
}

/// Low nibbles in the first 16 bytes, high nibbles in the last.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(b: &[u8; 16]) -> __m256i {
    let x = load16(b);
    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(x), _mm_srli_epi16::<4>(x));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// Bit `i` of `bits` as 16 in byte `i`, 0 where it is clear.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fifth_bits(bits: u32) -> __m256i {
    let each = _mm256_shuffle_epi8(
        _mm256_set1_epi32(bits as i32),
        _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0),
    );
    let mask = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(each, mask), mask);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

/// Sums of groups of four products, unsigned `q` times signed `y`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_u8(q: __m256i, y: __m256i) -> __m256i {
    _mm256_madd_epi16(_mm256_maddubs_epi16(q, y), _mm256_set1_epi16(1))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_i8(q: __m256i, y: __m256i) -> __m256i {
    dot_u8(_mm256_sign_epi8(q, q), _mm256_sign_epi8(y, q))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_u8_vnni(q: __m256i, y: __m256i) -> __m256i {
    _mm256_dpbusd_epi32(_mm256_setzero_si256(), q, y)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_i8_vnni(q: __m256i, y: __m256i) -> __m256i {
    dot_u8_vnni(_mm256_sign_epi8(q, q), _mm256_sign_epi8(y, q))
}

/// One kernel over blocks of 32: `$parts` gives a block's quants, its scale, and what its minimum adds per
/// unit of the activations' sum.
macro_rules! dot32 {
    ($name:ident, $features:literal, $dot:ident, $bytes:literal, |$b:ident| $parts:expr) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name<const R: usize>(rows: [&[u8]; R], y: &Activations) -> [f32; R] {
            let rows = rows.map(|r| r.as_chunks::<$bytes>().0);
            let blocks = rows.iter().fold(y.blocks(), |n, r| n.min(r.len()));
            let (q, d, s) = (&y.quants()[..blocks], &y.scales()[..blocks], &y.sums()[..blocks]);
            let rows = rows.map(|r| &r[..blocks]);
            let mut acc = [_mm256_setzero_ps(); R];
            let mut offset = [0f32; R];
            for i in 0..blocks {
                let yq = load32(&q[i]);
                for r in 0..R {
                    let $b = &rows[r][i];
                    let (quants, scale, min) = $parts;
                    let sums = _mm256_cvtepi32_ps($dot(quants, yq));
                    acc[r] = _mm256_fmadd_ps(_mm256_set1_ps(scale * d[i]), sums, acc[r]);
                    offset[r] += min * s[i];
                }
            }
            let mut out = offset;
            for r in 0..R {
                out[r] += sum8(acc[r]);
            }
            out
        }
    };
}

macro_rules! dot32_all {
    ($features:literal, $u8:ident, $i8:ident, $q4_0:ident, $q4_1:ident, $q5_0:ident, $q5_1:ident, $q8_0:ident) => {
        dot32!($q4_0, $features, $u8, 18, |b| {
            let [d0, d1, qs @ ..] = b;
            let d = half(*d0, *d1);
            (nibbles(qs), d, -8.0 * d)
        });
        dot32!($q4_1, $features, $u8, 20, |b| {
            let [d0, d1, m0, m1, qs @ ..] = b;
            (nibbles(qs), half(*d0, *d1), half(*m0, *m1))
        });
        dot32!($q5_0, $features, $u8, 22, |b| {
            let [d0, d1, h0, h1, h2, h3, qs @ ..] = b;
            let d = half(*d0, *d1);
            let high = fifth_bits(u32::from_le_bytes([*h0, *h1, *h2, *h3]));
            (_mm256_or_si256(nibbles(qs), high), d, -16.0 * d)
        });
        dot32!($q5_1, $features, $u8, 24, |b| {
            let [d0, d1, m0, m1, h0, h1, h2, h3, qs @ ..] = b;
            let high = fifth_bits(u32::from_le_bytes([*h0, *h1, *h2, *h3]));
            (_mm256_or_si256(nibbles(qs), high), half(*d0, *d1), half(*m0, *m1))
        });
        dot32!($q8_0, $features, $i8, 34, |b| {
            let [d0, d1, qs @ ..] = b;
            (load32_u8(qs), half(*d0, *d1), 0.0)
        });
    };
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load32_u8(b: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(b.as_ptr().cast()) }
}

dot32_all!("avx2,fma,f16c", dot_u8, dot_i8, q4_0, q4_1, q5_0, q5_1, q8_0);
dot32_all!(
    "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni",
    dot_u8_vnni,
    dot_i8_vnni,
    q4_0_vnni,
    q4_1_vnni,
    q5_0_vnni,
    q5_1_vnni,
    q8_0_vnni
);

/// One kernel over plain floats, eight at a time; `$load` widens `$bytes` bytes to eight floats.
macro_rules! dot_float {
    ($name:ident, $bytes:literal, $one:literal, |$b:ident| $load:expr, |$t:ident| $tail:expr) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        pub(super) fn $name<const R: usize>(rows: [&[u8]; R], y: &[f32]) -> [f32; R] {
            let (y8, y_tail) = y.as_chunks::<8>();
            let tails = rows.map(|r| r.as_chunks::<$bytes>().1.as_chunks::<$one>().0);
            let rows = rows.map(|r| &r.as_chunks::<$bytes>().0[..y8.len()]);
            let mut even = [_mm256_setzero_ps(); R];
            let mut odd = [_mm256_setzero_ps(); R];
            for i in 0..y8.len() / 2 {
                let (ya, yb) = (load8(&y8[2 * i]), load8(&y8[2 * i + 1]));
                for r in 0..R {
                    let $b = &rows[r][2 * i];
                    even[r] = _mm256_fmadd_ps($load, ya, even[r]);
                    let $b = &rows[r][2 * i + 1];
                    odd[r] = _mm256_fmadd_ps($load, yb, odd[r]);
                }
            }
            if y8.len() % 2 == 1 {
                let last = y8.len() - 1;
                for r in 0..R {
                    let $b = &rows[r][last];
                    even[r] = _mm256_fmadd_ps($load, load8(&y8[last]), even[r]);
                }
            }
            let mut out = [0f32; R];
            for r in 0..R {
                out[r] = sum8(_mm256_add_ps(even[r], odd[r]));
                for ($t, &y) in tails[r].iter().zip(y_tail) {
                    out[r] += $tail * y;
                }
            }
            out
        }
    };
}

dot_float!(f32_row, 32, 4, |b| _mm256_castsi256_ps(load32_u8(b)), |t| f32::from_le_bytes(*t));
dot_float!(f16_row, 16, 2, |b| _mm256_cvtph_ps(load16(b)), |t| half(t[0], t[1]));
dot_float!(
    bf16_row,
    16,
    2,
    |b| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(load16(b)))),
    |t| f32::from_bits(u32::from(u16::from_le_bytes(*t)) << 16)
);

/// Half to single precision over the shorter length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn widen(x: &[u16], out: &mut [f32]) {
    let n = x.len().min(out.len());
    let (x8, x_tail) = x[..n].as_chunks::<8>();
    let (out8, out_tail) = out[..n].as_chunks_mut::<8>();
    for (x, o) in x8.iter().zip(out8) {
        // SAFETY: both references are to eight elements; neither access needs alignment.
        unsafe {
            let v = _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()));
            _mm256_storeu_ps(o.as_mut_ptr(), v);
        }
    }
    for (&x, o) in x_tail.iter().zip(out_tail) {
        let [lo, hi] = x.to_le_bytes();
        *o = half(lo, hi);
    }
}

/// Single to half precision, to nearest even, over the shorter length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn narrow(x: &[f32], out: &mut [u16]) {
    let n = x.len().min(out.len());
    let (x8, x_tail) = x[..n].as_chunks::<8>();
    let (out8, out_tail) = out[..n].as_chunks_mut::<8>();
    for (x, o) in x8.iter().zip(out8) {
        let v = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load8(x));
        // SAFETY: the reference is to eight halves, 16 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(o.as_mut_ptr().cast(), v) };
    }
    for (&x, o) in x_tail.iter().zip(out_tail) {
        let v = _mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(x));
        *o = _mm_cvtsi128_si32(v) as u16;
    }
}

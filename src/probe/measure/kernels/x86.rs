//! AVX2 and AVX-512 kernels, chosen by what CPUID and the operating system report at run time.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{Arithmetic, Streams};

pub(super) fn streams() -> Vec<Streams> {
    let mut all = Vec::new();
    if is_x86_feature_detected!("avx512f") {
        all.push(Streams {
            isa: "avx512",
            // SAFETY: AVX-512F was detected, here and in each kernel below.
            read: |d| unsafe { avx512::read(d) },
            copy: |a, b| unsafe { avx512::copy::<false>(a, b) },
            triad: |a, b, c| unsafe { avx512::triad::<false>(a, b, c) },
            copy_past: Some(|a, b| unsafe { avx512::copy::<true>(a, b) }),
            triad_past: Some(|a, b, c| unsafe { avx512::triad::<true>(a, b, c) }),
        });
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        all.push(Streams {
            isa: "avx2",
            // SAFETY: AVX2 and FMA were detected, here and in each kernel below.
            read: |d| unsafe { avx2::read(d) },
            copy: |a, b| unsafe { avx2::copy::<false>(a, b) },
            triad: |a, b, c| unsafe { avx2::triad::<false>(a, b, c) },
            copy_past: Some(|a, b| unsafe { avx2::copy::<true>(a, b) }),
            triad_past: Some(|a, b, c| unsafe { avx2::triad::<true>(a, b, c) }),
        });
    }
    all
}

/// Vectors in flight in an AVX2 kernel: latency 4 x 2 units needs 8, and the file has 16 registers.
const N: usize = 12;
/// AVX-512 has 32 registers.
const N512: usize = 24;

pub(super) fn arithmetic() -> Vec<Arithmetic> {
    let mut all = Vec::new();
    let mut add = |there: bool, kind, isa, run: fn(u64) -> u64, chains: usize, lanes: u64| {
        if there {
            let operations = chains as u64 * lanes * 2;
            all.push(Arithmetic {
                kind,
                isa,
                run,
                operations,
                per_instruction: lanes * 2,
                units: 2,
            });
        }
    };
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    let vnni512 = avx512 && is_x86_feature_detected!("avx512vnni");
    let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
    // SAFETY: each kernel is offered only where the features it is compiled for were detected.
    add(avx512, "f32", "avx512", |n| unsafe { avx512::fma(n) }, N512, 16);
    add(avx2, "f32", "avx2-fma", |n| unsafe { avx2::fma(n) }, N, 8);
    add(vnni512, "int8_dot", "avx512-vnni", |n| unsafe { avx512::vnni(n) }, N512, 64);
    let vnni = is_x86_feature_detected!("avxvnni");
    add(vnni, "int8_dot", "avx-vnni", |n| unsafe { avx2::vnni(n) }, N, 32);
    add(avx2, "int8_dot", "avx2-maddubs", |n| unsafe { avx2::maddubs(n) }, N, 32);
    add(bf16, "bf16_dot", "avx512-bf16", |n| unsafe { avx512::bf16(n) }, N512, 32);
    all
}

mod avx2 {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn read(data: &[f64]) -> u64 {
        let mut sums = [_mm256_setzero_si256(); 8];
        for chunk in data.as_chunks::<32>().0 {
            let p = chunk.as_ptr();
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 8 vectors of 4 elements lie inside the chunk.
                let v = unsafe { _mm256_loadu_si256(p.add(4 * i).cast()) };
                *sum = _mm256_xor_si256(*sum, v);
            }
        }
        let all = sums.iter().fold(_mm256_setzero_si256(), |a, b| _mm256_xor_si256(a, *b));
        let mut out = [0u64; 4];
        // SAFETY: the array holds one vector.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), all) };
        out.iter().fold(0, |a, b| a ^ b)
    }

    /// # Safety
    /// `p` is aligned to 32 bytes and has room for 4 elements.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn store<const PAST: bool>(p: *mut f64, v: __m256d) {
        // SAFETY: as above.
        unsafe { if PAST { _mm256_stream_pd(p, v) } else { _mm256_store_pd(p, v) } }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn copy<const PAST: bool>(to: &mut [f64], from: &[f64]) {
        for (to, from) in to.as_chunks_mut::<16>().0.iter_mut().zip(from.as_chunks::<16>().0) {
            for i in 0..4 {
                // SAFETY: 4 vectors of 4 elements lie inside the chunks; buffers are aligned.
                unsafe {
                    store::<PAST>(
                        to.as_mut_ptr().add(4 * i),
                        _mm256_loadu_pd(from.as_ptr().add(4 * i)),
                    )
                };
            }
        }
        _mm_sfence();
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn triad<const PAST: bool>(a: &mut [f64], b: &[f64], c: &[f64]) {
        let three = _mm256_set1_pd(3.0);
        let chunks = a.as_chunks_mut::<16>().0.iter_mut();
        for ((a, b), c) in chunks.zip(b.as_chunks::<16>().0).zip(c.as_chunks::<16>().0) {
            for i in 0..4 {
                // SAFETY: 4 vectors of 4 elements lie inside the chunks; buffers are aligned.
                unsafe {
                    let (x, y) = (
                        _mm256_loadu_pd(c.as_ptr().add(4 * i)),
                        _mm256_loadu_pd(b.as_ptr().add(4 * i)),
                    );
                    store::<PAST>(a.as_mut_ptr().add(4 * i), _mm256_fmadd_pd(three, x, y));
                }
            }
        }
        _mm_sfence();
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fma(rounds: u64) -> u64 {
        let (scale, add) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        // Opaque, or equal chains would be computed once.
        let mut x = black_box([_mm256_set1_ps(1.0); N]);
        for _ in 0..rounds {
            for v in &mut x {
                *v = _mm256_fmadd_ps(*v, scale, add);
            }
        }
        let mut out = [0.0f32; 8];
        let sum = x.iter().fold(_mm256_setzero_ps(), |a, b| _mm256_add_ps(a, *b));
        // SAFETY: the array holds one vector.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
        u64::from(out.iter().sum::<f32>().to_bits()) ^ rounds
    }

    /// Three instructions a step without VNNI: multiply pairs, widen, add.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn maddubs(rounds: u64) -> u64 {
        let ones = _mm256_set1_epi16(1);
        let b = _mm256_set1_epi8(black_box(-2));
        let mut a = _mm256_set1_epi8(black_box(3));
        let mut sums = black_box([_mm256_setzero_si256(); N]);
        for _ in 0..rounds {
            for sum in &mut sums {
                let pairs = _mm256_maddubs_epi16(a, b);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
                opaque(&mut a);
            }
        }
        total(&sums) ^ rounds
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn vnni(rounds: u64) -> u64 {
        let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(-2)));
        let mut sums = black_box([_mm256_setzero_si256(); N]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
            }
        }
        total(&sums) ^ rounds
    }

    /// Hides that the operand is the same each time, or its product would be computed once.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn opaque(v: &mut __m256i) {
        // SAFETY: an empty template that claims to change a register.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                inout(ymm_reg) * v,
                options(pure, nomem, nostack, preserves_flags)
            )
        };
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(sums: &[__m256i]) -> u64 {
        let all = sums.iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, *b));
        let mut out = [0u32; 8];
        // SAFETY: the array holds one vector.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), all) };
        out.iter().fold(0u64, |a, b| a.wrapping_add(u64::from(*b)))
    }
}

mod avx512 {
    use super::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn read(data: &[f64]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 8];
        for chunk in data.as_chunks::<64>().0 {
            let p = chunk.as_ptr();
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 8 vectors of 8 elements lie inside the chunk.
                let v = unsafe { _mm512_loadu_si512(p.add(8 * i).cast()) };
                *sum = _mm512_xor_si512(*sum, v);
            }
        }
        let all = sums.iter().fold(_mm512_setzero_si512(), |a, b| _mm512_xor_si512(a, *b));
        let mut out = [0u64; 8];
        // SAFETY: the array holds one vector.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), all) };
        out.iter().fold(0, |a, b| a ^ b)
    }

    /// # Safety
    /// `p` is aligned to 64 bytes and has room for 8 elements.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store<const PAST: bool>(p: *mut f64, v: __m512d) {
        // SAFETY: as above.
        unsafe { if PAST { _mm512_stream_pd(p, v) } else { _mm512_store_pd(p, v) } }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn copy<const PAST: bool>(to: &mut [f64], from: &[f64]) {
        for (to, from) in to.as_chunks_mut::<32>().0.iter_mut().zip(from.as_chunks::<32>().0) {
            for i in 0..4 {
                // SAFETY: 4 vectors of 8 elements lie inside the chunks; buffers are aligned.
                unsafe {
                    store::<PAST>(
                        to.as_mut_ptr().add(8 * i),
                        _mm512_loadu_pd(from.as_ptr().add(8 * i)),
                    )
                };
            }
        }
        _mm_sfence();
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn triad<const PAST: bool>(a: &mut [f64], b: &[f64], c: &[f64]) {
        let three = _mm512_set1_pd(3.0);
        let chunks = a.as_chunks_mut::<32>().0.iter_mut();
        for ((a, b), c) in chunks.zip(b.as_chunks::<32>().0).zip(c.as_chunks::<32>().0) {
            for i in 0..4 {
                // SAFETY: 4 vectors of 8 elements lie inside the chunks; buffers are aligned.
                unsafe {
                    let (x, y) = (
                        _mm512_loadu_pd(c.as_ptr().add(8 * i)),
                        _mm512_loadu_pd(b.as_ptr().add(8 * i)),
                    );
                    store::<PAST>(a.as_mut_ptr().add(8 * i), _mm512_fmadd_pd(three, x, y));
                }
            }
        }
        _mm_sfence();
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn fma(rounds: u64) -> u64 {
        let (scale, add) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut x = black_box([_mm512_set1_ps(1.0); N512]);
        for _ in 0..rounds {
            for v in &mut x {
                *v = _mm512_fmadd_ps(*v, scale, add);
            }
        }
        let sum = x.iter().fold(_mm512_setzero_ps(), |a, b| _mm512_add_ps(a, *b));
        u64::from(_mm512_reduce_add_ps(sum).to_bits()) ^ rounds
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn vnni(rounds: u64) -> u64 {
        let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-2)));
        let mut sums = black_box([_mm512_setzero_si512(); N512]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let all = sums.iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, *b));
        _mm512_reduce_add_epi32(all) as u32 as u64 ^ rounds
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn bf16(rounds: u64) -> u64 {
        let small = _mm512_set1_ps(black_box(0.001));
        let (a, b) = (_mm512_cvtne2ps_pbh(small, small), _mm512_cvtne2ps_pbh(small, small));
        let mut sums = black_box([_mm512_setzero_ps(); N512]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        let all = sums.iter().fold(_mm512_setzero_ps(), |a, b| _mm512_add_ps(a, *b));
        u64::from(_mm512_reduce_add_ps(all).to_bits()) ^ rounds
    }
}

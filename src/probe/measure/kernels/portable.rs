//! Plain loops that the compiler vectorises for the target's baseline (NEON on 64-bit Arm), and with the
//! extensions that are detected at run time.

use std::hint::black_box;

use super::{Arithmetic, Streams};

pub(super) const STREAMS: Streams =
    Streams { isa: "baseline", read, copy, triad, copy_past: None, triad_past: None };

fn read(data: &[f64]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in data.as_chunks::<32>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum ^= value.to_bits();
        }
    }
    black_box(sums).iter().fold(0, |a, b| a ^ b)
}

/// The platform's own memcpy, as tuned as any.
fn copy(to: &mut [f64], from: &[f64]) {
    to.copy_from_slice(from);
}

fn triad(a: &mut [f64], b: &[f64], c: &[f64]) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + 3.0 * c;
    }
}

/// Values in flight: enough for every unit's latency on the cores we know.
const LANES: usize = 96;

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn multiply_add(rounds: u64) -> u64 {
    let mut x = black_box([1.0f32; LANES]);
    let (scale, add) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        for v in &mut x {
            *v = v.mul_add(scale, add);
        }
    }
    u64::from(black_box(x).iter().sum::<f32>().to_bits()) ^ rounds
}

/// Without a fused unit `mul_add` is a slow library call: multiply, then add.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn multiply_then_add(rounds: u64) -> u64 {
    let mut x = black_box([1.0f32; LANES]);
    let (scale, add) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        for v in &mut x {
            *v = *v * scale + add;
        }
    }
    u64::from(black_box(x).iter().sum::<f32>().to_bits()) ^ rounds
}

const DOT: usize = 512;

/// Signed bytes multiplied and summed in 32 bits, four to a lane, as dot-product instructions do.
#[inline(always)]
fn int8_dot(rounds: u64) -> u64 {
    let a = black_box([3i8; DOT]);
    let b = black_box([-2i8; DOT]);
    let mut sums = [0i32; DOT / 4];
    for _ in 0..rounds {
        for (sum, (a, b)) in
            sums.iter_mut().zip(a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0))
        {
            for i in 0..4 {
                *sum = sum.wrapping_add(i32::from(a[i]) * i32::from(b[i]));
            }
        }
        // Kept opaque, or the loop would fold into one multiplication.
        sums = black_box(sums);
    }
    sums.iter().fold(0i32, |a, b| a.wrapping_add(*b)) as u64 ^ rounds
}

#[cfg(target_arch = "aarch64")]
mod arm {
    #[target_feature(enable = "neon,dotprod")]
    pub(super) fn dot(rounds: u64) -> u64 {
        super::int8_dot(rounds)
    }
}

/// Vector units of the widest cores we know (Apple, Cortex-X).
const UNITS: u64 = 6;
const F32_OPERATIONS: u64 = 2 * LANES as u64;
const DOT_OPERATIONS: u64 = 2 * DOT as u64;

pub(super) fn arithmetic() -> Vec<Arithmetic> {
    let f32 = |isa, run| Arithmetic {
        kind: "f32",
        isa,
        run,
        operations: F32_OPERATIONS,
        per_instruction: 8,
        units: UNITS,
    };
    let int8 = |isa, run| Arithmetic {
        kind: "int8_dot",
        isa,
        run,
        operations: DOT_OPERATIONS,
        per_instruction: 32,
        units: UNITS,
    };
    #[cfg(target_arch = "aarch64")]
    {
        let mut all = Vec::new();
        all.push(f32("neon", multiply_add));
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            // SAFETY: dotprod was detected.
            all.push(int8("neon-dotprod", |n| unsafe { arm::dot(n) }));
        }
        all.push(int8("neon", int8_dot));
        all
    }
    #[cfg(not(target_arch = "aarch64"))]
    vec![f32("baseline", multiply_then_add), int8("baseline", int8_dot)]
}

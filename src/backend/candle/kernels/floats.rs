//! Vector functions between the matrix products: norms, rotations, activations, softmax, attention's sums.

use super::isa::{Isa, dispatch};

const LANES: usize = 16;

/// Sum of products with independent lanes, so that it vectorises without reassociating by licence.
#[inline(always)]
fn dot_lanes(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, a_tail) = a[..n].as_chunks::<LANES>();
    let (b, b_tail) = b[..n].as_chunks::<LANES>();
    let mut acc = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            acc[l] += a[l] * b[l];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sum_lanes(&acc) + tail
}

#[inline(always)]
fn sum_lanes(acc: &[f32; LANES]) -> f32 {
    let mut half = [0f32; LANES / 2];
    for l in 0..LANES / 2 {
        half[l] = acc[l] + acc[l + LANES / 2];
    }
    half.iter().sum()
}

/// `e^x` to about 2 units in the last place over the finite range; 0 below it, infinity above, NaN kept.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to the seventh power; the bits of 2^n directly.
    let bounded = x.clamp(-87.3, 88.7);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (bounded - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // In two halves: n reaches 128, one more than an exponent field takes.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = p * power(n >> 1) * power(n - (n >> 1));
    if x < -87.3 {
        0.0
    } else if x > 88.7 {
        f32::INFINITY
    } else {
        y
    }
}

/// Adding it to a small float leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

dispatch! {
    /// Sum of products over the shorter length.
    pub fn dot(isa: Isa; a: &[f32], b: &[f32]) -> f32 {
        dot_lanes(a, b)
    }
}

dispatch! {
    /// `out[i]` = `query` times row `i` of `keys`, rows as long as the query.
    pub fn scores(isa: Isa; query: &[f32], keys: &[f32], out: &mut [f32]) {
        for (o, key) in out.iter_mut().zip(keys.chunks_exact(query.len())) {
            *o = dot_lanes(query, key);
        }
    }
}

dispatch! {
    /// `out += sum of weights[i] * row i of values`, rows as long as `out`.
    pub fn add_weighted(isa: Isa; out: &mut [f32], weights: &[f32], values: &[f32]) {
        for (&w, row) in weights.iter().zip(values.chunks_exact(out.len())) {
            for (o, &v) in out.iter_mut().zip(row) {
                *o += w * v;
            }
        }
    }
}

dispatch! {
    /// `out += x`.
    pub fn add(isa: Isa; out: &mut [f32], x: &[f32]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o += x;
        }
    }
}

dispatch! {
    /// `out = x / rms(x) * weight`, with `eps` under the root.
    pub fn rms_norm(isa: Isa; out: &mut [f32], x: &[f32], weight: &[f32], eps: f32) {
        let scale = 1.0 / (dot_lanes(x, x) / x.len() as f32 + eps).sqrt();
        for ((o, &x), &w) in out.iter_mut().zip(x).zip(weight) {
            *o = x * scale * w;
        }
    }
}

dispatch! {
    /// As [`rms_norm`], over `x` itself.
    pub fn rms_norm_in_place(isa: Isa; x: &mut [f32], weight: &[f32], eps: f32) {
        let scale = 1.0 / (dot_lanes(x, x) / x.len() as f32 + eps).sqrt();
        for (x, &w) in x.iter_mut().zip(weight) {
            *x = *x * scale * w;
        }
    }
}

dispatch! {
    /// `gate = silu(gate) * up`.
    pub fn silu_mul(isa: Isa; gate: &mut [f32], up: &[f32]) {
        for (g, &u) in gate.iter_mut().zip(up) {
            *g = *g / (1.0 + exp(-*g)) * u;
        }
    }
}

dispatch! {
    /// Softmax of `factor * x`, in place. An empty slice stays empty.
    pub fn softmax(isa: Isa; x: &mut [f32], factor: f32) {
        let mut most = [f32::NEG_INFINITY; LANES];
        let (chunks, tail) = x.as_chunks::<LANES>();
        for c in chunks {
            for l in 0..LANES {
                most[l] = if c[l] > most[l] { c[l] } else { most[l] };
            }
        }
        let largest = most.iter().chain(tail).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let mut sums = [0f32; LANES];
        let (chunks, tail) = x.as_chunks_mut::<LANES>();
        for c in chunks {
            for l in 0..LANES {
                c[l] = exp((c[l] - largest) * factor);
                sums[l] += c[l];
            }
        }
        let mut total = sum_lanes(&sums);
        for v in tail {
            *v = exp((*v - largest) * factor);
            total += *v;
        }
        let inverse = 1.0 / total;
        for v in x {
            *v *= inverse;
        }
    }
}

dispatch! {
    /// Rotates neighbouring pairs (`x0 x1`, `x2 x3`, ...): llama's layout in GGUF.
    pub fn rope_pairs(isa: Isa; x: &mut [f32], cos: &[f32], sin: &[f32]) {
        for ((p, &c), &s) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            *p = [p[0] * c - p[1] * s, p[0] * s + p[1] * c];
        }
    }
}

dispatch! {
    /// Rotates halves against each other (`x0 x[n/2]`, ...): the NeoX layout.
    pub fn rope_halves(isa: Isa; x: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (low, high) = x.split_at_mut(cos.len());
        for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f32, b: f64, tolerance: f64) {
        assert!((f64::from(a) - b).abs() <= tolerance * b.abs().max(1e-30), "{a} against {b}");
    }

    #[test]
    fn the_exponential_is_accurate_over_its_range_and_total_outside_it() {
        let mut x = -87.0f32;
        while x < 88.0 {
            close(exp(x), f64::from(x).exp(), 4e-7);
            x += 0.0137;
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(200.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn softmax_sums_to_one_and_survives_large_scores() {
        for isa in Isa::available() {
            let mut x: Vec<f32> = (0..37).map(|i| i as f32 * 50.0).collect();
            softmax(isa, &mut x, 0.5);
            close(x.iter().sum(), 1.0, 1e-5);
            close(x[36], 1.0, 1e-5);
            softmax(isa, &mut [], 1.0);
        }
    }

    #[test]
    fn a_norm_scales_to_unit_root_mean_square() {
        for isa in Isa::available() {
            let x: Vec<f32> = (0..77).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let mut out = vec![0.0; 77];
            rms_norm(isa, &mut out, &x, &[2.0; 77], 0.0);
            close(dot(isa, &out, &out) / 77.0, 4.0, 1e-5);
            let mut same = x.clone();
            rms_norm_in_place(isa, &mut same, &[2.0; 77], 0.0);
            assert_eq!(same, out);
        }
    }

    #[test]
    fn silu_agrees_with_its_definition() {
        for isa in Isa::available() {
            let xs: Vec<f32> = (-40..40).map(|i| i as f32 * 0.6).collect();
            let mut gate = xs.clone();
            silu_mul(isa, &mut gate, &vec![1.5; xs.len()]);
            for (&x, &y) in xs.iter().zip(&gate) {
                let x = f64::from(x);
                close(y, x / (1.0 + (-x).exp()) * 1.5, 1e-5);
            }
        }
    }

    #[test]
    fn rotations_keep_length_and_both_layouts_agree_after_reordering() {
        let isa = Isa::detect();
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            (0..4).map(|i| ((i as f32).cos(), (i as f32).sin())).unzip();
        let mut pairs = [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0];
        let mut halves = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        rope_pairs(isa, &mut pairs, &cos, &sin);
        rope_halves(isa, &mut halves, &cos, &sin);
        for i in 0..4 {
            assert_eq!((pairs[2 * i], pairs[2 * i + 1]), (halves[i], halves[i + 4]));
        }
        close(dot(isa, &halves, &halves), 204.0, 1e-5);
    }
}

//! Bootstrap of a median, by blocks: consecutive samples of one process are not independent.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::quantile::{of_sorted, sorted};

/// Enough for a 95 % interval that moves by less than a tenth of its width between seeds.
const RESAMPLES: usize = 1000;

/// Block length in samples: `n^(1/3)`, the rate of Künsch (1989); 1 below 8 samples.
fn block_length(n: usize) -> usize {
    ((n as f64).cbrt() + 1e-9).floor().max(1.0) as usize
}

/// Medians of circular block-bootstrap resamples, sorted. `None` for no or non-finite values.
fn medians(samples: &[f64], seed: u64) -> Option<Vec<f64>> {
    let values = sorted(samples)?;
    let n = samples.len();
    // A resample is a count per rank: its median is found by walking the counts, without sorting.
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| samples[a].total_cmp(&samples[b]));
    let mut rank = vec![0; n];
    for (r, &i) in order.iter().enumerate() {
        rank[i] = r;
    }
    let block = block_length(n);
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut counts = vec![0u32; n];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        counts.fill(0);
        let mut drawn = 0;
        while drawn < n {
            let start = rng.random_range(0..n);
            for k in 0..block.min(n - drawn) {
                counts[rank[(start + k) % n]] += 1;
            }
            drawn += block;
        }
        medians.push(median_of_counts(&values, &counts));
    }
    medians.sort_by(f64::total_cmp);
    Some(medians)
}

fn median_of_counts(values: &[f64], counts: &[u32]) -> f64 {
    let n = values.len();
    let (low, high) = ((n - 1) / 2, n / 2);
    let mut seen = 0usize;
    let mut lower = None;
    for (value, &count) in values.iter().zip(counts) {
        seen += count as usize;
        if lower.is_none() && seen > low {
            lower = Some(*value);
        }
        if seen > high {
            return (lower.unwrap_or(*value) + value) / 2.0;
        }
    }
    values[n - 1]
}

/// Percentile interval of the median of one process run's samples, given in time order.
///
/// The same seed gives the same interval. `None` for no or non-finite values.
pub fn median_interval(samples: &[f64], confidence: f64, seed: u64) -> Option<(f64, f64)> {
    let first = *samples.first()?;
    if first.is_finite() && samples.iter().all(|v| *v == first) {
        return Some((first, first));
    }
    let medians = medians(samples, seed)?;
    let tail = (1.0 - confidence) / 2.0;
    Some((of_sorted(&medians, tail), of_sorted(&medians, 1.0 - tail)))
}

/// Bootstrap standard error of the median of one process run's samples, in time order.
pub fn median_standard_error(samples: &[f64], seed: u64) -> Option<f64> {
    let medians = medians(samples, seed)?;
    Some(super::standard_deviation(&medians).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_repeats_with_the_seed() {
        let samples: Vec<f64> = (0..40).map(|i| 100.0 + f64::from(i * 37 % 40)).collect();
        let (low, high) = median_interval(&samples, 0.95, 7).unwrap();
        assert!(low < 119.5 && 119.5 < high, "{low} {high}");
        assert_eq!(median_interval(&samples, 0.95, 7), Some((low, high)));
    }

    #[test]
    fn one_sample_and_equal_samples_have_a_point_interval() {
        assert_eq!(median_interval(&[3.0], 0.95, 1), Some((3.0, 3.0)));
        assert_eq!(median_interval(&[3.0; 9], 0.95, 1), Some((3.0, 3.0)));
        assert_eq!(median_interval(&[], 0.95, 1), None);
    }

    #[test]
    fn slow_waves_within_a_run_widen_the_interval() {
        let wave: Vec<f64> = (0..216).map(|i| (f64::from(i) / 30.0).sin()).collect();
        let mut shuffled = wave.clone();
        shuffled.sort_by_key(|v| v.to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let width = |v: &[f64]| median_interval(v, 0.95, 3).map(|(l, h)| h - l).unwrap();
        assert!(width(&wave) > 1.3 * width(&shuffled));
    }
}

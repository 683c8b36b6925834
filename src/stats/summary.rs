//! What one process run's samples say: centre, interval, spread, tails, outliers.

use serde::{Deserialize, Serialize};

use super::quantile::{of_sorted, sorted};
use super::resample::median_interval;

/// Fewest samples for a 90th percentile with a two-sided 95 % interval inside the data on both sides.
const P90_MIN_SAMPLES: usize = 64;
/// The same for the 99th.
const P99_MIN_SAMPLES: usize = 662;

/// Summary of samples in time order. Derived, never stored in place of the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub n: usize,
    pub median: f64,
    /// 95 % block-bootstrap interval of the median within this run.
    pub ci_low: f64,
    pub ci_high: f64,
    pub mean: f64,
    /// Sample standard deviation; 0 for one sample.
    pub stddev: f64,
    /// Standard deviation over mean, as a fraction; 0 for one sample or a zero mean.
    pub cv: f64,
    pub min: f64,
    pub max: f64,
    /// `None` where there are fewer than 64 samples.
    pub p90: Option<f64>,
    /// `None` where there are fewer than 662 samples.
    pub p99: Option<f64>,
    /// Samples beyond 1.5 interquartile ranges outside the quartiles (Tukey). Counted in everything above.
    pub outliers: usize,
}

/// Summarizes samples; `None` where there are none or one is NaN or infinite.
pub fn summarize(samples: &[f64], seed: u64) -> Option<Summary> {
    let ordered = sorted(samples)?;
    let n = ordered.len();
    let (ci_low, ci_high) = median_interval(samples, 0.95, seed)?;
    let mean = mean(samples)?;
    let stddev = standard_deviation(samples).unwrap_or(0.0);
    let (q1, q3) = (of_sorted(&ordered, 0.25), of_sorted(&ordered, 0.75));
    let reach = 1.5 * (q3 - q1);
    let outliers = ordered.iter().filter(|v| **v < q1 - reach || **v > q3 + reach).count();
    Some(Summary {
        n,
        median: of_sorted(&ordered, 0.5),
        ci_low,
        ci_high,
        mean,
        stddev,
        cv: if mean == 0.0 { 0.0 } else { stddev / mean.abs() },
        min: ordered[0],
        max: ordered[n - 1],
        p90: (n >= P90_MIN_SAMPLES).then(|| of_sorted(&ordered, 0.9)),
        p99: (n >= P99_MIN_SAMPLES).then(|| of_sorted(&ordered, 0.99)),
        outliers,
    })
}

/// Arithmetic mean; `None` for no or non-finite values.
pub fn mean(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    mean.is_finite().then_some(mean)
}

/// Sample standard deviation (n - 1); `None` with fewer than two or non-finite values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Geometric mean of positive values; `None` where there are none or one is not positive and finite.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return None;
    }
    let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
    mean(&logs).map(f64::exp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_summary_labels_outliers_and_keeps_them() {
        let s = summarize(&[10.0, 10.1, 9.9, 10.0, 10.2, 9.8, 50.0], 1).unwrap();
        assert_eq!((s.n, s.outliers, s.max, s.median), (7, 1, 50.0, 10.0));
        assert!(s.mean > 15.0);
    }

    #[test]
    fn tails_need_enough_samples() {
        let many: Vec<f64> = (0..700).map(f64::from).collect();
        let at = |n: usize| summarize(&many[..n], 1).unwrap();
        assert_eq!((at(63).p90, at(64).p90.is_some()), (None, true));
        assert_eq!((at(661).p99, at(662).p99.is_some()), (None, true));
    }

    #[test]
    fn empty_and_non_finite_samples_have_no_summary() {
        assert_eq!(summarize(&[], 1), None);
        assert_eq!(summarize(&[1.0, f64::NAN], 1), None);
        assert_eq!(summarize(&[1.0, f64::NEG_INFINITY], 1), None);
    }

    #[test]
    fn the_geometric_mean_of_a_ratio_and_its_inverse_is_one() {
        assert!((geometric_mean(&[2.0, 0.5]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[2.0, 0.0]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    proptest! {
        #[test]
        fn a_summary_is_ordered_and_scales_with_its_samples(
            v in proptest::collection::vec(1e-3f64..1e9, 1..60),
        ) {
            let s = summarize(&v, 9).unwrap();
            prop_assert!(s.min <= s.ci_low && s.ci_low <= s.median);
            prop_assert!(s.median <= s.ci_high && s.ci_high <= s.max);
            let doubled: Vec<f64> = v.iter().map(|x| x * 2.0).collect();
            prop_assert_eq!(summarize(&doubled, 9).unwrap().ci_low, s.ci_low * 2.0);
        }
    }
}

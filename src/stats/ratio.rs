//! How much head differs from base: estimates with a standard error and degrees of freedom.

use serde::{Deserialize, Serialize};

use super::resample::median_standard_error;
use super::student::{student_upper_tail, upper_quantile};
use super::{mean, median, standard_deviation};

/// A ratio head / base with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

/// A difference head - base on whatever scale its inputs had, with what is known of its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub difference: f64,
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; infinite where it is assumed, not estimated.
    pub df: f64,
}

impl Estimate {
    /// Two-sided interval.
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let half = upper_quantile((1.0 - confidence) / 2.0, self.df) * self.standard_error;
        (self.difference - half, self.difference + half)
    }

    /// One-sided p-value of "the difference is not above `bound`".
    pub fn p_above(&self, bound: f64) -> f64 {
        let distance = self.difference - bound;
        if self.standard_error > 0.0 {
            student_upper_tail(distance / self.standard_error, self.df)
        } else if distance > 0.0 {
            0.0
        } else {
            1.0
        }
    }

    /// The same estimate with an error of known variance added (a noise floor, a session effect).
    /// Degrees of freedom combine as Welch and Satterthwaite do.
    pub fn plus_known_variance(self, variance: f64) -> Self {
        let own = self.standard_error.powi(2);
        let total = own + variance;
        let df = if own > 0.0 { self.df * (total / own).powi(2) } else { f64::INFINITY };
        Self { standard_error: total.sqrt(), df, ..self }
    }

    /// Reads a difference of logarithms as a ratio.
    pub fn as_ratio(&self, confidence: f64) -> Ratio {
        let (low, high) = self.interval(confidence);
        Ratio { ratio: self.difference.exp(), low: low.exp(), high: high.exp() }
    }
}

/// Welch's unequal-variance comparison of two sets of independent values (one a process run).
/// `None` with fewer than two values on a side or a non-finite one.
pub fn mean_difference(base: &[f64], head: &[f64]) -> Option<Estimate> {
    let difference = mean(head)? - mean(base)?;
    let share = |v: &[f64]| Some(standard_deviation(v)?.powi(2) / v.len() as f64);
    let (b, h) = (share(base)?, share(head)?);
    let variance = b + h;
    let df = if variance > 0.0 {
        variance.powi(2)
            / (b.powi(2) / (base.len() - 1) as f64 + h.powi(2) / (head.len() - 1) as f64)
    } else {
        (base.len() + head.len() - 2) as f64
    };
    Some(Estimate { difference, standard_error: variance.sqrt(), df })
}

/// Comparison of values measured in pairs (neighbouring runs, the same piece of text).
/// `None` with fewer than two pairs, unequal lengths or a non-finite value.
pub fn paired_difference(base: &[f64], head: &[f64]) -> Option<Estimate> {
    if base.len() != head.len() {
        return None;
    }
    let differences: Vec<f64> = base.iter().zip(head).map(|(b, h)| h - b).collect();
    let difference = mean(&differences)?;
    let n = differences.len() as f64;
    let standard_error = standard_deviation(&differences)? / n.sqrt();
    Some(Estimate { difference, standard_error, df: n - 1.0 })
}

/// Comparison of values measured in time blocks that hold as many base as head values each (ABBA): a randomised block
/// design, whose estimate is free of any level shift between blocks and, with ABBA, of linear drift within one.
/// Each block is (base values, head values). `None` where a block is unbalanced or no degree of freedom is left.
pub fn blocked_difference(blocks: &[(Vec<f64>, Vec<f64>)]) -> Option<Estimate> {
    let n: usize = blocks.iter().map(|(b, _)| b.len()).sum();
    if blocks.iter().any(|(b, h)| b.is_empty() || b.len() != h.len()) || 2 * n < blocks.len() + 2 {
        return None;
    }
    let (base_sum, head_sum) = blocks.iter().fold((0.0, 0.0), |(b, h), (base, head)| {
        (b + base.iter().sum::<f64>(), h + head.iter().sum::<f64>())
    });
    let difference = (head_sum - base_sum) / n as f64;
    let mut squares = 0.0;
    for (base, head) in blocks {
        let level = (base.iter().sum::<f64>() + head.iter().sum::<f64>()) / (2 * base.len()) as f64;
        squares += base.iter().map(|v| (v - level + difference / 2.0).powi(2)).sum::<f64>();
        squares += head.iter().map(|v| (v - level - difference / 2.0).powi(2)).sum::<f64>();
    }
    let df = (2 * n - blocks.len() - 1) as f64;
    let standard_error = (squares / df * 2.0 / n as f64).sqrt();
    standard_error.is_finite().then_some(Estimate { difference, standard_error, df })
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|v| (v.is_finite() && *v > 0.0).then(|| v.ln())).collect()
}

/// head / base of positive, independent values (per-run medians), at least two a side:
/// Welch's t on logarithms.
pub fn ratio_interval(base_runs: &[f64], head_runs: &[f64], confidence: f64) -> Option<Ratio> {
    mean_difference(&logs(base_runs)?, &logs(head_runs)?).map(|e| e.as_ratio(confidence))
}

/// head / base of the medians of one process run a side, from the samples within each run.
///
/// Only the spread inside the runs is known to this estimate: it is too narrow for a claim about other runs of the
/// same thing. Add the spread between runs with [`Estimate::plus_known_variance`] before judging.
pub fn sample_ratio(base: &[f64], head: &[f64], seed: u64) -> Option<Estimate> {
    let (base, head) = (logs(base)?, logs(head)?);
    let difference = median(&head)? - median(&base)?;
    let share = |v: &[f64], seed| Some((median_standard_error(v, seed)?.powi(2), v.len()));
    let (b, nb) = share(&base, seed)?;
    let (h, nh) = share(&head, seed.wrapping_add(1))?;
    let variance = b + h;
    let part = |v: f64, n: usize| v.powi(2) / (n.max(2) - 1) as f64;
    let df =
        if variance > 0.0 { variance.powi(2) / (part(b, nb) + part(h, nh)) } else { f64::INFINITY };
    Some(Estimate { difference, standard_error: variance.sqrt(), df })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welch_agrees_with_a_worked_example() {
        let a = [
            27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7,
            21.4,
        ];
        let b = [
            27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5,
            24.4,
        ];
        let e = mean_difference(&a, &b).unwrap();
        // Known answer: t = 2.8413, df = 27.88, two-sided p = 0.0083.
        assert!((e.difference / e.standard_error - 2.8413).abs() < 0.02, "{e:?}");
        assert!((2.0 * e.p_above(0.0) - 0.0083).abs() < 4e-4);
    }

    #[test]
    fn a_ratio_interval_holds_the_ratio_and_needs_two_runs_a_side() {
        let r = ratio_interval(&[10.0, 10.2, 9.9], &[20.0, 20.5, 19.8], 0.95).unwrap();
        assert!(r.low < 2.0 && 2.0 < r.high && r.high < 2.2, "{r:?}");
        assert_eq!(ratio_interval(&[10.0], &[20.0, 20.5], 0.95), None);
        assert_eq!(ratio_interval(&[0.0, 1.0], &[20.0, 20.5], 0.95), None);
        assert_eq!(ratio_interval(&[f64::NAN, 1.0], &[20.0, 20.5], 0.95), None);
    }

    #[test]
    fn blocks_take_out_drift_that_welch_calls_noise() {
        // base at 0, head at 1, drifting up by 10 a run: ABBA, ABBA.
        let blocks = [(vec![0.0, 30.0], vec![11.0, 21.0]), (vec![40.0, 70.0], vec![51.0, 61.0])];
        let e = blocked_difference(&blocks).unwrap();
        assert!((e.difference - 1.0).abs() < 1e-9 && e.df == 5.0, "{e:?}");
        let welch = mean_difference(&[0.0, 30.0, 40.0, 70.0], &[11.0, 21.0, 51.0, 61.0]).unwrap();
        assert!(e.standard_error < welch.standard_error);
        assert_eq!(blocked_difference(&[(vec![1.0], vec![1.0])]), None);
        assert_eq!(blocked_difference(&[(vec![1.0, 2.0], vec![1.0])]), None);
    }

    #[test]
    fn known_variance_widens_an_estimate() {
        let e = paired_difference(&[1.0, 2.0, 3.0], &[1.1, 2.0, 3.2]).unwrap();
        let wide = e.plus_known_variance(0.01);
        assert!(wide.standard_error > e.standard_error && wide.df > e.df);
        let exact = Estimate { difference: 0.1, standard_error: 0.0, df: 3.0 };
        assert_eq!((exact.p_above(0.0), exact.p_above(0.2)), (0.0, 1.0));
    }
}

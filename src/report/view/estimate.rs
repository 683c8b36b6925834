//! Summaries of samples for the report: the maths is in `stats`, the choices are here.

use crate::model::{Direction, Metric};
use crate::stats;

use super::types::{Estimate, MetricView};

/// Summary of a metric's finite samples, one slice a process run, none of them empty.
///
/// One run: the median of its samples with a block-bootstrap interval, which knows nothing of other runs.
/// Several: each run counts once by its median; geometric mean with Student's t on logarithms.
pub(crate) fn summary(
    metric: Metric,
    runs: &[Vec<f64>],
    not_finite: usize,
    seed: u64,
) -> Option<MetricView> {
    let (median, interval) = match runs {
        [] => return None,
        [one] => within(one, seed)?,
        several => between(several)?,
    };
    let all = runs.concat();
    let quantile = |q: f64| stats::quantile_type7(&all, q).map(rounded);
    // Tails need enough samples; `stats` knows how many.
    let tail = |wanted: usize, q: f64| (all.len() >= wanted).then(|| quantile(q)).flatten();
    let mean = stats::mean(&all).filter(|m| *m != 0.0);
    let spread = stats::standard_deviation(&all);
    Some(MetricView {
        metric: metric.key().into(),
        unit: metric.unit().symbol().into(),
        n: all.len(),
        runs: runs.len(),
        not_finite,
        median: median.rounded(),
        interval: interval.into(),
        min: quantile(0.0)?,
        p25: quantile(0.25)?,
        p75: quantile(0.75)?,
        max: quantile(1.0)?,
        p90: tail(P90_SAMPLES, 0.9),
        p99: tail(P99_SAMPLES, 0.99),
        cv: spread.zip(mean).map(|(s, m)| rounded(s / m.abs())),
    })
}

/// Ten significant digits: far below any noise, and a third less to pass on. Whole numbers stay as they are.
fn rounded(x: f64) -> f64 {
    if x.fract() == 0.0 || !x.is_finite() { x } else { format!("{x:.9e}").parse().unwrap_or(x) }
}

impl Estimate {
    fn rounded(self) -> Self {
        Self {
            value: rounded(self.value),
            low: self.low.map(rounded),
            high: self.high.map(rounded),
        }
    }
}

/// Fewest samples for a 90th and a 99th percentile with a 95 % interval inside the data.
const P90_SAMPLES: usize = 64;
const P99_SAMPLES: usize = 662;

fn within(samples: &[f64], seed: u64) -> Option<(Estimate, &'static str)> {
    let value = stats::median(samples)?;
    if samples.len() < 2 {
        return Some((Estimate { value, low: None, high: None }, ""));
    }
    let (low, high) = stats::median_interval(samples, 0.95, seed)?;
    Some((Estimate { value, low: Some(low), high: Some(high) }, "within one run"))
}

fn between(runs: &[Vec<f64>]) -> Option<(Estimate, &'static str)> {
    let medians: Vec<f64> = runs.iter().filter_map(|r| stats::median(r)).collect();
    let positive = medians.iter().all(|m| *m > 0.0);
    let scaled: Vec<f64> = medians.iter().map(|m| if positive { m.ln() } else { *m }).collect();
    let estimate = stats::paired_difference(&vec![0.0; scaled.len()], &scaled)?;
    let back = |x: f64| if positive { x.exp() } else { x };
    let (low, high) = estimate.interval(0.95);
    let value = back(estimate.difference);
    let (low, high) = (Some(back(low)), Some(back(high)));
    Some((Estimate { value, low, high }, "between runs"))
}

/// How many times better `head` is than `base`; above one is better.
///
/// The interval joins both sides' own intervals on the log scale (MOVER, Zou and Donner 2008).
pub(crate) fn improvement(metric: Metric, head: &Estimate, base: &Estimate) -> Option<Estimate> {
    let (above, below) = match metric.direction() {
        Direction::Higher => (head, base),
        Direction::Lower => (base, head),
    };
    if !(above.value > 0.0 && below.value > 0.0) {
        return None;
    }
    let value = above.value / below.value;
    let reach =
        |x: &Estimate, end: Option<f64>| end.filter(|e| *e > 0.0).map(|e| (e / x.value).ln());
    let join =
        |a: Option<f64>, b: Option<f64>, sign: f64| Some(value * (sign * a?.hypot(b?)).exp());
    let joined = Estimate {
        value,
        low: join(reach(above, above.low), reach(below, below.high), -1.0),
        high: join(reach(above, above.high), reach(below, below.low), 1.0),
    };
    Some(joined.rounded())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_has_an_inner_interval_and_several_have_an_outer_one() {
        let run: Vec<f64> = (0..20).map(|i| 100.0 + f64::from(i % 5)).collect();
        let one = summary(Metric::DecodeTokS, std::slice::from_ref(&run), 0, 1).unwrap();
        assert_eq!((one.n, one.runs, one.interval.as_str()), (20, 1, "within one run"));
        let shifted: Vec<f64> = run.iter().map(|x| x * 1.1).collect();
        let two = summary(Metric::DecodeTokS, &[run, shifted], 0, 1).unwrap();
        assert_eq!((two.n, two.runs, two.interval.as_str()), (40, 2, "between runs"));
        let width = |m: &MetricView| m.median.high.unwrap() - m.median.low.unwrap();
        assert!(width(&two) > 5.0 * width(&one));
    }

    #[test]
    fn a_single_value_has_no_interval_and_a_zero_base_no_ratio() {
        let one = summary(Metric::PeakRssBytes, &[vec![5e8]], 0, 1).unwrap();
        assert_eq!((one.median.low, one.interval.as_str()), (None, ""));
        let zero = Estimate { value: 0.0, low: None, high: None };
        assert_eq!(improvement(Metric::DecodeTokS, &one.median, &zero), None);
    }

    #[test]
    fn improvement_is_above_one_where_better_whatever_the_direction() {
        let at = |v: f64| Estimate { value: v, low: Some(v * 0.9), high: Some(v * 1.1) };
        let faster = improvement(Metric::DecodeTokS, &at(20.0), &at(10.0)).unwrap();
        let quicker = improvement(Metric::LatencyNs, &at(10.0), &at(20.0)).unwrap();
        assert_eq!((faster.value, quicker.value), (2.0, 2.0));
        assert!(faster.low.unwrap() > 1.6 && faster.low.unwrap() < 1.8);
        assert!(faster.high.unwrap() > 2.2 && faster.high.unwrap() < 2.5);
    }
}

//! How a metric is compared: on which scale, by which centre, and what its samples are.

use crate::model::{Direction, Metric};
use crate::stats;

/// Quality is computed over pieces of one text, which are the independent unit; the rest is measured a process run.
pub(crate) fn is_quality(metric: Metric) -> bool {
    metric.is_quality()
}

/// True where a change is a difference, not a ratio: the metric may be zero or negative, or saturates at 1.
pub(crate) fn is_absolute(metric: Metric) -> bool {
    is_quality(metric) && !matches!(metric, Metric::Perplexity | Metric::PerplexityRatio)
}

/// +1 where a higher value is worse, -1 where it is better.
pub(crate) fn worse_sign(metric: Metric) -> f64 {
    match metric.direction() {
        Direction::Lower => 1.0,
        Direction::Higher => -1.0,
    }
}

/// One run's value: the mean over chunks for quality (as it is defined), the median of samples otherwise.
pub(crate) fn centre(metric: Metric, samples: &[f64]) -> Option<f64> {
    if is_quality(metric) { stats::mean(samples) } else { stats::median(samples) }
}

/// A value on the metric's scale of comparison; `None` where it has none (a ratio of or to zero).
pub(crate) fn to_scale(metric: Metric, value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    if is_absolute(metric) { Some(value) } else { (value > 0.0).then(|| value.ln()) }
}

/// A difference on the scale of comparison as a reader sees it: percent, or a plain difference.
pub(crate) fn to_change(metric: Metric, difference: f64) -> f64 {
    if is_absolute(metric) { difference } else { difference.exp_m1() * 100.0 }
}

//! Wording of the headline's cells, shared by the terminal table, Markdown and HTML.

use super::text::{bytes, significant};
use super::view::{Chip, Estimate, HeadlineRow, Judged};

/// `1.75 (1.70-1.80)`.
pub(crate) fn interval(e: &Estimate, format: impl Fn(f64) -> String) -> String {
    match (e.low, e.high) {
        (Some(low), Some(high)) => {
            format!("{} ({}-{})", format(e.value), format(low), format(high))
        }
        _ => format(e.value),
    }
}

/// `1.75x (1.70-1.80)`.
pub(crate) fn ratio(e: &Estimate) -> String {
    match (e.low, e.high) {
        (Some(low), Some(high)) => {
            format!("{}x ({}-{})", significant(e.value), significant(low), significant(high))
        }
        _ => format!("{}x", significant(e.value)),
    }
}

/// `-36 %` for less, `+5 %` for more.
pub(crate) fn less(percent: f64) -> String {
    let change = -percent;
    let change = if change.abs() < 0.05 { 0.0 } else { change };
    format!("{}{} %", if change > 0.0 { "+" } else { "" }, significant_percent(change))
}

fn significant_percent(x: f64) -> String {
    if x.abs() >= 10.0 { format!("{x:.0}") } else { format!("{x:.1}") }
}

/// The claimed range: `2-3x`.
pub(crate) fn claimed_speed(claim: [f64; 2]) -> String {
    format!("{:.0}-{:.0}x", claim[0], claim[1])
}

/// The claimed range of memory saved: `-60 to -75 %`.
pub(crate) fn claimed_memory(claim: [f64; 2]) -> String {
    format!("-{:.0} to -{:.0} %", claim[0], claim[1])
}

pub(crate) fn is_baseline(row: &HeadlineRow) -> bool {
    !row.baseline.is_empty() && row.baseline == row.quantization
}

/// Memory in one phrase: `197 MB, -37 % vs F16`.
pub(crate) fn memory(row: &HeadlineRow) -> String {
    let Some(peak) = &row.peak_bytes else { return "not measured".into() };
    let mut text = bytes(peak.value);
    if let Some(m) = &row.memory_less.measured {
        text.push_str(&format!(", {} vs 16-bit", less(m.value)));
    }
    if let Some(m) = row.memory_less_than_32 {
        text.push_str(&format!(", {} vs F32", less(m)));
    }
    text
}

/// A speed-up in one phrase: `1.75x (1.70-1.80)`, `baseline`, or `not measured`.
pub(crate) fn speedup(row: &HeadlineRow, judged: &Judged) -> String {
    match &judged.measured {
        Some(r) => ratio(r),
        None if is_baseline(row) => "baseline".into(),
        None => "not measured".into(),
    }
}

/// The verdict in words, empty where nothing is claimed.
pub(crate) fn verdict(judged: &Judged, claim: impl Fn([f64; 2]) -> String) -> String {
    match (judged.chip, judged.claim) {
        (Chip::NoClaim, _) | (_, None) => String::new(),
        // Measured, but not what the claim is about; the reason is in the row.
        (Chip::NotMeasured, Some(c)) if judged.measured.is_some() => {
            format!("claim {} not judged", claim(c))
        }
        (chip, Some(c)) => format!("{} {}", chip.word(), claim(c)),
    }
}

/// Quantization with what else sets the row apart.
pub(crate) fn quantization(row: &HeadlineRow) -> String {
    let mut parts = vec![row.quantization.clone()];
    parts.extend(row.apart.iter().cloned());
    parts.join(", ")
}

/// Framework, with model and run where the report has several.
pub(crate) fn framework(row: &HeadlineRow) -> Vec<String> {
    let mut parts = vec![row.framework.clone()];
    parts.extend(row.scope.iter().cloned());
    parts
}

/// A value in the unit of the metric with that key.
pub(crate) fn metric_value(key: &str, x: f64) -> String {
    match key.parse::<crate::model::Metric>() {
        Ok(metric) => super::text::value(metric.unit(), x),
        Err(_) => significant(x),
    }
}

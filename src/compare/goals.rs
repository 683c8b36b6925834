//! Goals and absolute limits: what head must reach on its own, against its 16-bit or 32-bit sibling or a fixed bound.

use super::comparison::{GoalRow, GoalVerdict};
use super::estimate::{Assumed, NoChange, change};
use super::metrics::{centre, is_absolute, is_quality};
use super::policy::{GoalRule, Policy};
use super::side::{Side, SideCase};
use crate::model::{Case, Metric, Precision, PrecisionClass};
use crate::stats;

/// Two-sided confidence: a goal is met or missed with 5 % error on the side that matters.
const CONFIDENCE: f64 = 0.90;

pub(super) fn judge(head: &Side, policy: &Policy) -> Vec<GoalRow> {
    policy.goals.iter().flat_map(|goal| judge_goal(goal, head, policy)).collect()
}

fn judge_goal(goal: &GoalRule, head: &Side, policy: &Policy) -> Vec<GoalRow> {
    let mut rows = Vec::new();
    for (id, case) in &head.cases {
        let mut metrics: Vec<Metric> =
            case.runs.iter().flat_map(|r| r.samples.keys().copied()).collect();
        metrics.sort();
        metrics.dedup();
        let quantized =
            !matches!(case.case.precision.class(), PrecisionClass::Half | PrecisionClass::Full);
        for metric in metrics.into_iter().filter(|m| goal.applies(*m, id)) {
            if goal.is_ratio() {
                if quantized {
                    rows.push(ratio_row(goal, id, case, metric, head, policy));
                }
            } else {
                rows.push(absolute_row(goal, id, case, metric, policy));
            }
        }
    }
    if rows.is_empty() {
        let metric = Metric::ALL.iter().copied().find(|m| goal.applies(*m, ""));
        rows.push(GoalRow {
            name: goal.name.clone(),
            case: "-".into(),
            metric: metric.unwrap_or(Metric::DecodeTokS),
            verdict: GoalVerdict::NotComparable,
            reason: "no measured case and metric matches this goal".into(),
            value: None,
            low: None,
            high: None,
            wanted: wanted(goal, None),
        });
    }
    rows
}

fn wanted(goal: &GoalRule, reference: Option<Precision>) -> String {
    let against = match reference {
        Some(p) => p.to_string(),
        None => format!("{}-bit", goal.reference_bits),
    };
    match (goal.ratio_at_least, goal.ratio_at_most, goal.at_least, goal.at_most) {
        (Some(v), ..) => format!(">= {v} x {against}"),
        (_, Some(v), ..) => format!("<= {v} x {against}"),
        (_, _, Some(v), _) => format!(">= {v}"),
        (_, _, _, v) => format!("<= {}", v.unwrap_or(f64::NAN)),
    }
}

fn verdict(goal: &GoalRule, low: f64, high: f64) -> GoalVerdict {
    let (met, missed) =
        match (goal.ratio_at_least.or(goal.at_least), goal.ratio_at_most.or(goal.at_most)) {
            (Some(least), _) => (low >= least, high < least),
            (_, Some(most)) => (high <= most, low > most),
            _ => (false, false),
        };
    match (met, missed) {
        (true, _) => GoalVerdict::Met,
        (_, true) => GoalVerdict::Missed,
        _ => GoalVerdict::Inconclusive,
    }
}

/// A row from a value with its interval, or from the reason why there is none.
fn row(
    goal: &GoalRule,
    id: &str,
    metric: Metric,
    reference: Option<Precision>,
    value: Result<[f64; 3], String>,
) -> GoalRow {
    let (verdict, reason, numbers) = match value {
        Ok([value, low, high]) => {
            let verdict = verdict(goal, low, high);
            (verdict, format!("{value:.3} [{low:.3}, {high:.3}]"), Some([value, low, high]))
        }
        Err(why) => (GoalVerdict::NotComparable, why, None),
    };
    GoalRow {
        name: goal.name.clone(),
        case: id.to_owned(),
        metric,
        verdict,
        reason,
        value: numbers.map(|n| n[0]),
        low: numbers.map(|n| n[1]),
        high: numbers.map(|n| n[2]),
        wanted: wanted(goal, reference),
    }
}

fn ratio_row(
    goal: &GoalRule,
    id: &str,
    case: &SideCase,
    metric: Metric,
    head: &Side,
    policy: &Policy,
) -> GoalRow {
    let Some(reference) = reference(goal, &case.case, head) else {
        let why = format!("no {}-bit case of the same framework was measured", goal.reference_bits);
        return row(goal, id, metric, None, Err(why));
    };
    let precision = Some(reference.case.precision);
    if is_absolute(metric) {
        let why = "a ratio has no meaning for this metric; use at_least or at_most".to_owned();
        return row(goal, id, metric, precision, Err(why));
    }
    // Same session: only the spread between runs counts.
    let assumed = Assumed::new(&policy.rule_for(metric, id), 0.0);
    let value = match change(metric, reference, case, assumed, head.seed) {
        Ok(change) => {
            let r = change.estimate.as_ratio(CONFIDENCE);
            Ok([r.ratio, r.low, r.high])
        }
        Err(NoChange::New) => Err("the reference has no such measurement".to_owned()),
        Err(NoChange::Lost(why) | NoChange::NotComparable(why)) => Err(why),
    };
    row(goal, id, metric, precision, value)
}

/// The same case at the reference precision.
fn reference<'a>(goal: &GoalRule, case: &Case, head: &'a Side) -> Option<&'a SideCase> {
    let wider: &[Precision] = match goal.reference_bits {
        32 => &[Precision::F32],
        _ => &[Precision::F16, Precision::BF16],
    };
    wider.iter().find_map(|&precision| {
        let id = Case { precision, ..case.clone() }.id();
        head.cases.get(&id).filter(|c| !c.runs.is_empty())
    })
}

fn absolute_row(
    goal: &GoalRule,
    id: &str,
    case: &SideCase,
    metric: Metric,
    policy: &Policy,
) -> GoalRow {
    let runs: Vec<&Vec<f64>> = case.runs.iter().filter_map(|r| r.samples.get(&metric)).collect();
    let centres: Option<Vec<f64>> = runs.iter().map(|s| centre(metric, s)).collect();
    let Some(centres) = centres.filter(|c| !c.is_empty()) else {
        return row(goal, id, metric, None, Err("NaN, infinite or no samples".into()));
    };
    // The independent unit: chunks of text for quality, runs for the rest.
    let units: &[f64] = if is_quality(metric) { runs[0] } else { &centres };
    let value = stats::mean(units).unwrap_or(f64::NAN);
    let half = match stats::standard_deviation(units) {
        Some(sd) => {
            let n = units.len() as f64;
            stats::student_quantile((1.0 + CONFIDENCE) / 2.0, n - 1.0) * sd / n.sqrt()
        }
        None if is_quality(metric) => 0.0,
        None => {
            let noise = policy.rule_for(metric, id).noise_percent / 100.0;
            stats::student_quantile((1.0 + CONFIDENCE) / 2.0, f64::INFINITY) * noise * value.abs()
        }
    };
    row(goal, id, metric, None, Ok([value, value - half, value + half]))
}

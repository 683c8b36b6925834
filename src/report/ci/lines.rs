//! The words every renderer of a comparison shares.

use crate::compare::{Comparison, Design, Overall, Row, Subject, Verdict};
use crate::report::text;

/// `-20.0 %`, or `-0.0123` for metrics on an absolute scale.
pub(super) fn change(row: &Row, value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(v) if !v.is_finite() => "-".into(),
        Some(v) if row.absolute => format!("{v:+.4}"),
        Some(v) => format!("{v:+.1} %"),
    }
}

/// `[-24.1, -15.7]`, empty where there is none.
pub(super) fn interval(row: &Row) -> String {
    match (row.change_low, row.change_high) {
        _ if row.design == Some(Design::Identical) => String::new(),
        (Some(l), Some(h)) if row.absolute => format!("[{l:+.4}, {h:+.4}]"),
        (Some(l), Some(h)) => format!("[{}, {}]", percent(l), percent(h)),
        _ => String::new(),
    }
}

/// One decimal, none from 100 on: intervals of wild data must fit a column too.
fn percent(v: f64) -> String {
    if !v.is_finite() || v.abs() >= 1e5 {
        return if v < 0.0 { "-inf".into() } else { "+inf".into() };
    }
    if v.abs() >= 100.0 { format!("{v:+.0}") } else { format!("{v:+.1}") }
}

/// A value in the metric's unit, short.
pub(super) fn value(row: &Row, value: Option<f64>) -> String {
    match (row.subject.metric(), value) {
        (Some(metric), Some(v)) if row.absolute => format!("{v:.4}{}", unit_of(metric)),
        (Some(metric), Some(v)) => text::value(metric.unit(), v),
        _ => "-".into(),
    }
}

fn unit_of(metric: crate::model::Metric) -> &'static str {
    match metric.unit() {
        crate::model::Unit::Nats => " nat",
        _ => "",
    }
}

/// What the row is about: `decode_tok_s of <case>`.
pub(super) fn subject(row: &Row) -> String {
    match &row.subject {
        Subject::Metric { case, metric } => format!("{metric} of {}", text::plain(case)),
        Subject::Geomean { metric, cases } => format!("{metric}, geometric mean of {cases} cases"),
        Subject::Case { case } => format!("case {}", text::plain(case)),
    }
}

/// One sentence with verdict, numbers and reason.
pub(super) fn sentence(row: &Row) -> String {
    let reason = text::plain(&row.reason);
    match row.change {
        Some(_) => {
            let interval = interval(row);
            let space = if interval.is_empty() { "" } else { " " };
            format!("{}: {}{space}{interval}; {reason}", subject(row), change(row, row.change))
        }
        None => format!("{}: {reason}", subject(row)),
    }
}

/// `2 regressed, 1 inconclusive, 40 pass`, worst first, of the rows that gate.
pub(super) fn counts(comparison: &Comparison) -> String {
    const ORDER: [Verdict; 8] = [
        Verdict::Regressed,
        Verdict::Lost,
        Verdict::NotComparable,
        Verdict::Inconclusive,
        Verdict::Improved,
        Verdict::Pass,
        Verdict::New,
        Verdict::NotRun,
    ];
    let count = |v| comparison.rows.iter().filter(|r| r.gates && r.verdict == v).count();
    let words: Vec<String> = ORDER
        .iter()
        .filter(|v| count(**v) > 0)
        .map(|v| format!("{} {}", count(*v), v.word()))
        .collect();
    if words.is_empty() { "nothing was compared".into() } else { words.join(", ") }
}

/// The verdict in one line.
pub fn headline(comparison: &Comparison) -> String {
    let missed = comparison.missed_goals().count();
    let goals = match missed {
        0 => String::new(),
        n => format!(", {}", text::count(n, "goal") + " missed"),
    };
    let word = match comparison.overall {
        Overall::Pass => "PASS",
        Overall::Regressed => "REGRESSED",
        Overall::NotComparable => "NOT COMPARABLE",
        Overall::Inconclusive => "INCONCLUSIVE",
    };
    format!("{word}: {}{goals}", counts(comparison))
}

/// Rows a reader must see: everything but passes, and goals that are not met are elsewhere.
pub(super) fn is_notable(row: &Row) -> bool {
    !matches!(row.verdict, Verdict::Pass | Verdict::NotRun)
}

//! A comparison for a terminal, 80 columns wide.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::lines;
use crate::compare::{Comparison, GoalVerdict, Row, SideInfo, Subject};
use crate::model::Metric;
use crate::report::text;

const WIDTH: usize = 80;

/// All rows, or only those a reader must act on.
pub fn render(comparison: &Comparison, all: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", lines::headline(comparison));
    side(&mut out, "base", &comparison.base);
    side(&mut out, "head", &comparison.head);
    let shown: Vec<&Row> = comparison
        .rows
        .iter()
        .filter(|r| all || lines::is_notable(r) || matches!(r.subject, Subject::Geomean { .. }))
        .collect();
    rows(&mut out, &shown);
    let hidden = comparison.rows.len() - shown.len();
    if hidden > 0 {
        let _ = writeln!(out, "\n{} not shown (--all shows them)", text::count(hidden, "row"));
    }
    goals(&mut out, comparison);
    noise(&mut out, comparison);
    for note in &comparison.notes {
        out.push_str(&text::paragraph("note: ", &text::plain(note), WIDTH));
    }
    out
}

fn side(out: &mut String, name: &str, side: &SideInfo) {
    let label = text::shorten(&text::plain(&side.label), 30);
    let device = text::shorten(&text::plain(&side.device_name), 26);
    let _ = writeln!(out, "  {name} {label}: {}, {device}", text::count(side.runs, "run"));
}

fn rows(out: &mut String, rows: &[&Row]) {
    let mut case = "";
    for row in rows {
        if row.subject.case() != case {
            case = row.subject.case();
            let _ = writeln!(out, "\n{}", text::shorten(&text::plain(case), WIDTH));
        }
        if row.change.is_some() {
            numbers(out, row);
        } else {
            let title = row.subject.metric().map_or("case", Metric::title);
            let _ = writeln!(out, "  {title:<16} {}", row.verdict.word());
        }
        if lines::is_notable(row) {
            out.push_str(&text::paragraph("    ", &text::plain(&row.reason), WIDTH));
        }
    }
}

fn numbers(out: &mut String, row: &Row) {
    let title = row.subject.metric().map_or("", Metric::title);
    let verdict = if row.gates { row.verdict.word().to_owned() } else { "(shown only)".into() };
    let line = format!(
        "  {title:<16} {:>10} {:>10} {:>8} {:>16} {verdict}",
        lines::value(row, row.base),
        lines::value(row, row.head),
        lines::change(row, row.change),
        lines::interval(row),
    );
    let _ = writeln!(out, "{}", line.trim_end());
}

fn goals(out: &mut String, comparison: &Comparison) {
    let mut name = "";
    for goal in &comparison.goals {
        if goal.name != name {
            name = &goal.name;
            let _ = writeln!(out, "\ngoal: {}", text::shorten(&text::plain(name), WIDTH - 6));
        }
        let _ = writeln!(
            out,
            "  {:<7} {:<16} {:<16} {}",
            match goal.verdict {
                GoalVerdict::Inconclusive => "unsure",
                GoalVerdict::NotComparable => "no data",
                other => other.word(),
            },
            goal.metric.title(),
            goal.wanted,
            text::shorten(&text::plain(&goal.reason), 36)
        );
        let _ = writeln!(out, "          {}", text::shorten(&text::plain(&goal.case), WIDTH - 10));
    }
}

/// What these data could have shown: the A/A floor and the smallest sure catch, a metric.
fn noise(out: &mut String, comparison: &Comparison) {
    let mut by_metric: BTreeMap<Metric, (Vec<f64>, Vec<&Row>)> = BTreeMap::new();
    for row in comparison.rows.iter().filter(|r| r.gates && r.detectable.is_some()) {
        if let Subject::Metric { metric, .. } = &row.subject {
            let entry = by_metric.entry(*metric).or_default();
            entry.0.extend(row.noise_percent);
            entry.1.push(row);
        }
    }
    if by_metric.is_empty() {
        return;
    }
    out.push_str("\nWhat these data can show\n");
    let _ = writeln!(
        out,
        "  {:<16} {:>22} {:>38}",
        "", "noise between runs", "smallest regression caught 19 in 20"
    );
    for (metric, (noise, rows)) in by_metric {
        let assumed = rows.iter().any(|r| r.design == Some(crate::compare::Design::SingleRun));
        let floor = match spread(&noise) {
            None => "-".to_owned(),
            Some((low, high)) if high - low < 0.05 => format!("{low:.1} %"),
            Some((low, high)) => format!("{low:.1} to {high:.1} %"),
        };
        let floor = if assumed { format!("{floor} (assumed)") } else { floor };
        let caught: Vec<f64> = rows.iter().filter_map(|r| r.detectable).collect();
        let by_size = |r: &&&Row| r.detectable.map_or(0, |d| (d.abs() * 1e6) as i64);
        let best = rows.iter().min_by_key(by_size).map(|r| lines::change(r, r.detectable));
        let worst = rows.iter().max_by_key(by_size).map(|r| lines::change(r, r.detectable));
        let range = match (best, worst) {
            (Some(b), Some(w)) if caught.len() > 1 && b != w => format!("{b} to {w}"),
            (Some(b), _) => b,
            _ => "-".into(),
        };
        let _ = writeln!(out, "  {:<16} {floor:>22} {range:>38}", metric.title());
    }
}

fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    Some((low, high))
}

//! A comparison as Markdown: a GitHub comment, a step summary, a merge-request note.

use std::fmt::Write;

use super::lines;
use crate::compare::{Comparison, Row, Subject};
use crate::report::text;

/// Rows in the folded table of everything; a comment may have 65,536 characters.
const MAX_ROWS: usize = 200;

pub fn render(comparison: &Comparison) -> String {
    let mut out = format!("## edge-advisor gate: {}\n\n", lines::headline(comparison));
    let (b, h) = (&comparison.base, &comparison.head);
    let side = |s: &crate::compare::SideInfo| {
        format!("{} ({})", text::markdown(&s.label), text::count(s.runs, "run"))
    };
    let _ =
        writeln!(out, "Base {} · head {} · {}\n", side(b), side(h), text::markdown(&h.device_name));
    let notable: Vec<&Row> = comparison.rows.iter().filter(|r| lines::is_notable(r)).collect();
    table(&mut out, &notable);
    goals(&mut out, comparison);
    let others: Vec<&Row> = comparison.rows.iter().filter(|r| !lines::is_notable(r)).collect();
    if !others.is_empty() {
        let _ = writeln!(
            out,
            "<details><summary>{}</summary>\n",
            text::count(others.len(), "row") + " without a finding"
        );
        table(&mut out, &others);
        out.push_str("</details>\n\n");
    }
    for note in &comparison.notes {
        let _ = writeln!(out, "> {}\n", text::markdown(note));
    }
    out
}

fn table(out: &mut String, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "| Verdict | Case | Metric | Base | Head | Change (95 %) | Limit | Noise | Caught from |\n",
    );
    out.push_str("|---|---|---|--:|--:|--:|--:|--:|--:|\n");
    for row in rows.iter().take(MAX_ROWS) {
        let case = match &row.subject {
            Subject::Geomean { cases, .. } => format!("geometric mean of {cases}"),
            other => text::markdown(other.case()),
        };
        let verdict = if row.gates { row.verdict.word() } else { "shown only" };
        let change = match row.change {
            Some(_) => format!("{} {}", lines::change(row, row.change), lines::interval(row)),
            None => text::markdown(&row.reason),
        };
        let noise = row.noise_percent.map_or("-".into(), |n| format!("{n:.1} %"));
        let _ = writeln!(
            out,
            "| {verdict} | {case} | {} | {} | {} | {} | {} | {noise} | {} |",
            row.subject.metric_key(),
            lines::value(row, row.base),
            lines::value(row, row.head),
            change.trim_end(),
            lines::change(row, row.limit),
            lines::change(row, row.detectable),
        );
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(out, "\n{} more rows are in the JSON output.", rows.len() - MAX_ROWS);
    }
    out.push('\n');
}

fn goals(out: &mut String, comparison: &Comparison) {
    if comparison.goals.is_empty() {
        return;
    }
    out.push_str(
        "| Goal | Verdict | Case | Metric | Wanted | Found |\n|---|---|---|---|---|---|\n",
    );
    for goal in comparison.goals.iter().take(MAX_ROWS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            text::markdown(&goal.name),
            goal.verdict.word(),
            text::markdown(&goal.case),
            goal.metric,
            goal.wanted,
            text::markdown(&goal.reason)
        );
    }
    out.push('\n');
}

//! GitLab: a code-quality report for the merge request, and a metrics report (OpenMetrics text).

use std::fmt::Write;

use serde_json::{Value, json};

use super::lines;
use crate::compare::{Comparison, GoalVerdict, Overall, Subject, Verdict};
use crate::report::text;

/// The code-quality artifact: a JSON array of findings.
pub fn code_quality(comparison: &Comparison, artifact: &str) -> String {
    let mut findings: Vec<Value> = Vec::new();
    let mut add = |check: &str, severity: &str, message: String, key: &str| {
        findings.push(json!({
            "description": text::plain(&message),
            "check_name": format!("edge-advisor/{check}"),
            "fingerprint": super::fingerprint(&[check, key]),
            "severity": severity,
            "location": { "path": artifact, "lines": { "begin": 1 } },
        }));
    };
    for row in comparison.rows.iter().filter(|r| r.gates) {
        let severity = match row.verdict {
            Verdict::Regressed | Verdict::Lost => "critical",
            Verdict::Inconclusive | Verdict::NotComparable => "minor",
            _ => continue,
        };
        let key = format!("{}/{}", row.subject.case(), row.subject.metric_key());
        add(row.verdict.word(), severity, lines::sentence(row), &key);
    }
    for goal in comparison.goals.iter().filter(|g| g.verdict != GoalVerdict::Met) {
        let severity = if goal.verdict == GoalVerdict::Missed { "critical" } else { "minor" };
        let message = format!(
            "{}: {} of {}: wanted {}, found {}",
            goal.name, goal.metric, goal.case, goal.wanted, goal.reason
        );
        let key = format!("{}/{}/{}", goal.name, goal.case, goal.metric);
        add("goal", severity, message, &key);
    }
    if comparison.rows.is_empty() && comparison.overall != Overall::Pass {
        add("not comparable", "critical", comparison.notes.join("; "), "sides");
    }
    format!("{:#}\n", Value::Array(findings))
}

/// Head's values as OpenMetrics; GitLab shows how they differ from the target branch.
pub fn metrics(comparison: &Comparison) -> String {
    let mut out = String::new();
    for row in &comparison.rows {
        if let (Subject::Metric { case, metric }, Some(value)) = (&row.subject, row.head) {
            let case = text::plain(case).replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(out, "edge_advisor_{metric}{{case=\"{case}\"}} {value}");
        }
    }
    out.push_str("# EOF\n");
    out
}

//! GitHub Actions workflow commands: one annotation a finding.

use std::fmt::Write;

use super::lines;
use crate::compare::{Comparison, GoalVerdict, Verdict};
use crate::report::text;

/// GitHub shows ten annotations of a level a step; the summary has the rest.
const MAX_ANNOTATIONS: usize = 10;

pub fn annotations(comparison: &Comparison) -> String {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    for row in comparison.rows.iter().filter(|r| r.gates) {
        let title = format!("{}: {}", row.verdict.word(), lines::subject(row));
        match row.verdict {
            Verdict::Regressed | Verdict::Lost => errors.push((title, lines::sentence(row))),
            Verdict::Inconclusive | Verdict::NotComparable => {
                warnings.push((title, lines::sentence(row)));
            }
            _ => {}
        }
    }
    for goal in &comparison.goals {
        let title = text::plain(&format!("goal {}: {}", goal.verdict.word(), goal.name));
        let message = text::plain(&format!(
            "{} of {}: wanted {}, found {}",
            goal.metric, goal.case, goal.wanted, goal.reason
        ));
        match goal.verdict {
            GoalVerdict::Met => {}
            GoalVerdict::Missed => errors.push((title, message)),
            _ => warnings.push((title, message)),
        }
    }
    if comparison.rows.is_empty() && comparison.overall != crate::compare::Overall::Pass {
        errors.push(("not comparable".into(), text::plain(&comparison.notes.join("; "))));
    }
    let mut out = String::new();
    for (level, list) in [("error", errors), ("warning", warnings)] {
        for (title, message) in list.into_iter().take(MAX_ANNOTATIONS) {
            let _ = writeln!(out, "::{level} title={}::{}", property(&title), data(&message));
        }
    }
    out
}

/// Escapes as the runner's toolkit does, so that data cannot start a command of its own.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

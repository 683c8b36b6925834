//! SARIF 2.1.0, as code-scanning pages read it: a rule a verdict, a result a finding.

use serde::Serialize;
use serde_json::{Value, json};

use super::lines;
use crate::compare::{Comparison, GoalVerdict, Row, Verdict};
use crate::report::text;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: &'static str,
    level: &'static str,
    message: Value,
    locations: Value,
    partial_fingerprints: Value,
}

/// `artifact` is the file that results point at: the policy, or the record.
pub fn render(comparison: &Comparison, artifact: &str) -> String {
    let rows = comparison.rows.iter().filter(|r| r.gates).filter_map(|r| finding(r, artifact));
    let goals = comparison.goals.iter().filter_map(|g| {
        let (rule, level) = match g.verdict {
            GoalVerdict::Met => return None,
            GoalVerdict::Missed => ("goal-missed", "error"),
            GoalVerdict::Inconclusive => ("inconclusive", "warning"),
            GoalVerdict::NotComparable => ("not-comparable", "warning"),
        };
        let key = format!("{}/{}/{}", g.name, g.case, g.metric);
        let message = format!(
            "{}: {} of {}: wanted {}, found {}",
            g.name, g.metric, g.case, g.wanted, g.reason
        );
        Some(build(rule, level, &message, &key, artifact))
    });
    let mut results: Vec<Finding> = rows.chain(goals).collect();
    if comparison.rows.is_empty() && comparison.overall != crate::compare::Overall::Pass {
        let message = comparison.notes.join("; ");
        results.push(build("not-comparable", "error", &message, "sides", artifact));
    }
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "edge-advisor",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

const RULES: [(&str, &str); 5] = [
    ("regressed", "A metric got worse than the policy allows, beyond chance"),
    ("lost", "A case or metric that base measured has no valid numbers in head"),
    ("goal-missed", "A goal of the policy is not reached"),
    ("inconclusive", "The data allow neither pass nor regressed"),
    ("not-comparable", "There is nothing sound to compare with"),
];

fn rules() -> Vec<Value> {
    RULES
        .iter()
        .map(|(id, text)| json!({ "id": id, "shortDescription": { "text": text } }))
        .collect()
}

fn finding(row: &Row, artifact: &str) -> Option<Finding> {
    let (rule, level) = match row.verdict {
        Verdict::Regressed => ("regressed", "error"),
        Verdict::Lost => ("lost", "error"),
        Verdict::Inconclusive => ("inconclusive", "warning"),
        Verdict::NotComparable => ("not-comparable", "warning"),
        _ => return None,
    };
    let key = format!("{}/{}", row.subject.case(), row.subject.metric_key());
    Some(build(rule, level, &lines::sentence(row), &key, artifact))
}

fn build(
    rule_id: &'static str,
    level: &'static str,
    message: &str,
    key: &str,
    artifact: &str,
) -> Finding {
    Finding {
        rule_id,
        level,
        message: json!({ "text": text::plain(message) }),
        locations: json!([{ "physicalLocation": {
            "artifactLocation": { "uri": uri(artifact) },
            "region": { "startLine": 1 },
        }}]),
        partial_fingerprints: json!({ "edgeAdvisor/v1": super::fingerprint(&[rule_id, key]) }),
    }
}

/// A relative path as a URI reference: forward slashes, other characters percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

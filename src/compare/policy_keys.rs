//! Which keys a policy may have, checked before its values so that a typo gets a suggestion.

use super::policy::PolicyError;

const TOP: &[&str] = &[
    "version",
    "false_alarm_percent",
    "on_inconclusive",
    "allow_different_devices",
    "runs",
    "max_runs",
    "session_noise_percent",
    "rule",
    "goal",
];
const RULE: &[&str] =
    &["metrics", "cases", "gate", "max_regression_percent", "max_change", "noise_percent"];
const GOAL: &[&str] = &[
    "name",
    "metrics",
    "cases",
    "reference_bits",
    "ratio_at_least",
    "ratio_at_most",
    "at_least",
    "at_most",
];

pub(super) fn check(policy: &toml::Table) -> Result<(), PolicyError> {
    check_table(policy, TOP, "the top level")?;
    for (name, known) in [("rule", RULE), ("goal", GOAL)] {
        let Some(entries) = policy.get(name).and_then(toml::Value::as_array) else { continue };
        for (i, entry) in entries.iter().enumerate() {
            if let Some(table) = entry.as_table() {
                check_table(table, known, &format!("[[{name}]] {}", i + 1))?;
            }
        }
    }
    Ok(())
}

fn check_table(
    table: &toml::Table,
    known: &[&'static str],
    place: &str,
) -> Result<(), PolicyError> {
    match table.keys().find(|k| !known.contains(&k.as_str())) {
        None => Ok(()),
        Some(key) => Err(PolicyError::UnknownKey {
            key: key.clone(),
            place: place.to_owned(),
            suggestion: closest(key, known.iter().copied()),
        }),
    }
}

/// The most similar known word, if one is similar at all.
pub(super) fn closest(
    word: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    known
        .map(|k| (strsim::jaro_winkler(word, k), k))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

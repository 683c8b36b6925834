//! The gate's policy: a TOML file over built-in defaults. Unknown keys and globs that match nothing are errors.

use std::fmt;

use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Deserializer, Serialize};

use super::metrics::{is_absolute, worse_sign};
use super::policy_keys;
use crate::model::Metric;

const DEFAULT: &str = include_str!("../../policies/default.toml");
/// A policy is written by hand; a larger file is something else.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("not a policy: {0}")]
    Syntax(String),
    #[error("unknown key `{key}` in {place}")]
    UnknownKey { key: String, place: String, suggestion: Option<&'static str> },
    #[error("{place}: {why}")]
    Value { place: String, why: String },
    #[error("{place}: `{pattern}` matches no metric")]
    NoMetric { place: String, pattern: String, suggestion: Option<&'static str> },
}

impl PolicyError {
    /// What the user probably meant.
    pub fn suggestion(&self) -> Option<&'static str> {
        match self {
            PolicyError::UnknownKey { suggestion, .. }
            | PolicyError::NoMetric { suggestion, .. } => *suggestion,
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    Fail,
    Warn,
}

/// A glob with its text.
#[derive(Clone)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let glob = Glob::new(&text).map_err(serde::de::Error::custom)?;
        Ok(Self { matcher: glob.compile_matcher(), text })
    }
}

fn everything() -> Vec<Pattern> {
    Glob::new("*")
        .map(|g| vec![Pattern { text: "*".into(), matcher: g.compile_matcher() }])
        .unwrap_or_default()
}

fn any_matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|p| p.matcher.is_match(text))
}

/// One `[[rule]]`: keys it does not give are left as earlier rules set them.
#[derive(Debug, Clone, Deserialize)]
struct Rule {
    #[serde(default = "everything")]
    metrics: Vec<Pattern>,
    #[serde(default = "everything")]
    cases: Vec<Pattern>,
    gate: Option<bool>,
    max_regression_percent: Option<f64>,
    max_change: Option<f64>,
    noise_percent: Option<f64>,
}

/// One `[[goal]]`: judged on head alone, against a wider precision of the same case or an absolute bound.
#[derive(Debug, Clone, Deserialize)]
pub struct GoalRule {
    pub name: String,
    metrics: Vec<Pattern>,
    #[serde(default = "everything")]
    cases: Vec<Pattern>,
    /// Bits of the reference precision that ratios are taken to: 16 or 32.
    #[serde(default = "sixteen")]
    pub reference_bits: u32,
    pub ratio_at_least: Option<f64>,
    pub ratio_at_most: Option<f64>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

fn sixteen() -> u32 {
    16
}

impl GoalRule {
    pub(crate) fn applies(&self, metric: Metric, case: &str) -> bool {
        any_matches(&self.metrics, metric.key()) && any_matches(&self.cases, case)
    }

    pub(crate) fn is_ratio(&self) -> bool {
        self.ratio_at_least.is_some() || self.ratio_at_most.is_some()
    }
}

/// The whole file; every key optional, since the defaults come first.
#[derive(Debug, Default, Deserialize)]
struct File {
    version: Option<u32>,
    false_alarm_percent: Option<f64>,
    on_inconclusive: Option<OnInconclusive>,
    allow_different_devices: Option<bool>,
    runs: Option<u32>,
    max_runs: Option<u32>,
    session_noise_percent: Option<f64>,
    #[serde(default)]
    rule: Vec<Rule>,
    #[serde(default)]
    goal: Vec<GoalRule>,
}

/// A checked policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub false_alarm_percent: f64,
    pub on_inconclusive: OnInconclusive,
    pub allow_different_devices: bool,
    /// Runs a side that `gate --live` starts with.
    pub runs: u32,
    /// And the most it goes to.
    pub max_runs: u32,
    pub session_noise_percent: f64,
    rules: Vec<Rule>,
    pub goals: Vec<GoalRule>,
}

/// What the policy says of one metric of one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RuleFor {
    pub gates: bool,
    /// Largest change for the worse: percent, or a difference for metrics on an absolute scale. Positive.
    pub limit: f64,
    /// True where the limit is a difference in the metric's unit.
    pub absolute: bool,
    /// Spread between process runs in percent, assumed where a side has one.
    pub noise_percent: f64,
}

impl RuleFor {
    /// The limit as a distance on the scale of comparison (logarithms, or plain differences).
    pub(crate) fn limit_on_scale(&self, metric: Metric) -> f64 {
        if self.absolute {
            self.limit
        } else if worse_sign(metric) > 0.0 {
            (self.limit / 100.0).ln_1p()
        } else {
            -(-self.limit / 100.0).ln_1p()
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        match Self::build(&[DEFAULT]) {
            Ok(policy) => policy,
            // The built-in file is read by every test of this module.
            Err(e) => unreachable!("policies/default.toml: {e}"),
        }
    }
}

impl Policy {
    /// Reads a policy over the built-in defaults.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        Self::build(&[DEFAULT, text])
    }

    fn build(layers: &[&str]) -> Result<Self, PolicyError> {
        let mut all = File::default();
        for text in layers {
            all.overlay(File::read(text)?);
        }
        let missing = || PolicyError::Syntax("the defaults are incomplete".into());
        let policy = Self {
            false_alarm_percent: all.false_alarm_percent.ok_or_else(missing)?,
            on_inconclusive: all.on_inconclusive.ok_or_else(missing)?,
            allow_different_devices: all.allow_different_devices.ok_or_else(missing)?,
            runs: all.runs.ok_or_else(missing)?,
            max_runs: all.max_runs.ok_or_else(missing)?,
            session_noise_percent: all.session_noise_percent.ok_or_else(missing)?,
            rules: all.rule,
            goals: all.goal,
        };
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let top = "the top level";
        in_range(top, "false_alarm_percent", self.false_alarm_percent, 0.0001, 20.0)?;
        in_range(top, "session_noise_percent", self.session_noise_percent, 0.0, 50.0)?;
        in_range(top, "runs", f64::from(self.runs), 2.0, 1000.0)?;
        in_range(top, "max_runs", f64::from(self.max_runs), f64::from(self.runs), 1000.0)?;
        for (i, rule) in self.rules.iter().enumerate() {
            let place = format!("rule {}", i + 1);
            check_metrics(&place, &rule.metrics)?;
            for (key, value, most) in [
                ("max_regression_percent", rule.max_regression_percent, 99.0),
                ("max_change", rule.max_change, f64::MAX),
                ("noise_percent", rule.noise_percent, 100.0),
            ] {
                in_range(&place, key, value.unwrap_or(0.0), 0.0, most)?;
            }
        }
        for goal in &self.goals {
            let place = format!("goal `{}`", goal.name);
            check_metrics(&place, &goal.metrics)?;
            let bounds = [goal.ratio_at_least, goal.ratio_at_most, goal.at_least, goal.at_most];
            let given: Vec<f64> = bounds.into_iter().flatten().collect();
            if given.len() != 1 || !given[0].is_finite() {
                let why = "give exactly one of ratio_at_least, ratio_at_most, at_least, at_most";
                return Err(PolicyError::Value { place, why: why.into() });
            }
            if goal.is_ratio() && given[0] <= 0.0 {
                let why = "a ratio must be above 0".into();
                return Err(PolicyError::Value { place, why });
            }
            if ![16, 32].contains(&goal.reference_bits) {
                let why = "reference_bits must be 16 or 32".into();
                return Err(PolicyError::Value { place, why });
            }
        }
        Ok(())
    }

    /// The effective rule for a metric of a case: every matching rule in order, later ones over earlier ones.
    pub fn rule_for(&self, metric: Metric, case: &str) -> RuleFor {
        let mut gates = true;
        let (mut percent, mut change, mut noise) = (0.0, 0.0, 0.0);
        for rule in &self.rules {
            if any_matches(&rule.metrics, metric.key()) && any_matches(&rule.cases, case) {
                gates = rule.gate.unwrap_or(gates);
                percent = rule.max_regression_percent.unwrap_or(percent);
                change = rule.max_change.unwrap_or(change);
                noise = rule.noise_percent.unwrap_or(noise);
            }
        }
        let absolute = is_absolute(metric);
        let limit = if absolute { change } else { percent };
        RuleFor { gates, limit, absolute, noise_percent: noise }
    }

    /// Case globs that match none of `cases`: a rule written for a case that does not exist guards nothing.
    pub fn unmatched_cases<'a>(&'a self, cases: &[&str]) -> Vec<&'a str> {
        let globs = self.rules.iter().flat_map(|r| &r.cases);
        let globs = globs.chain(self.goals.iter().flat_map(|g| &g.cases));
        globs
            .filter(|p| !cases.iter().any(|c| p.matcher.is_match(c)))
            .map(|p| p.text.as_str())
            .collect()
    }
}

impl File {
    fn read(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_BYTES {
            return Err(PolicyError::Syntax(format!("larger than {MAX_BYTES} bytes")));
        }
        let syntax = |e: toml::de::Error| PolicyError::Syntax(e.to_string().trim_end().to_owned());
        let table: toml::Table = text.parse().map_err(syntax)?;
        policy_keys::check(&table)?;
        let file: File = toml::from_str(text).map_err(syntax)?;
        match file.version {
            Some(1) => Ok(file),
            Some(v) => Err(PolicyError::Value {
                place: "version".into(),
                why: format!("{v} is not known to this build, which reads version 1"),
            }),
            None => Err(PolicyError::Value {
                place: "version".into(),
                why: "missing; start the file with `version = 1`".into(),
            }),
        }
    }

    /// Lays `other` over this: its keys win, its rules come later.
    fn overlay(&mut self, other: File) {
        self.false_alarm_percent = other.false_alarm_percent.or(self.false_alarm_percent);
        self.on_inconclusive = other.on_inconclusive.or(self.on_inconclusive);
        self.allow_different_devices =
            other.allow_different_devices.or(self.allow_different_devices);
        self.runs = other.runs.or(self.runs);
        // A file that only raises `runs` means at least that many.
        self.max_runs = other.max_runs.or(self.max_runs.max(other.runs));
        self.session_noise_percent = other.session_noise_percent.or(self.session_noise_percent);
        self.rule.extend(other.rule);
        self.goal.extend(other.goal);
    }
}

fn in_range(place: &str, key: &str, value: f64, low: f64, high: f64) -> Result<(), PolicyError> {
    if value.is_finite() && (low..=high).contains(&value) {
        return Ok(());
    }
    let why = if high == f64::MAX {
        format!("{key} is {value}, it must be a number of at least {low}")
    } else {
        format!("{key} is {value}, it must lie in {low} to {high}")
    };
    Err(PolicyError::Value { place: place.to_owned(), why })
}

fn check_metrics(place: &str, patterns: &[Pattern]) -> Result<(), PolicyError> {
    if patterns.is_empty() {
        let why = "metrics is empty".to_owned();
        return Err(PolicyError::Value { place: place.to_owned(), why });
    }
    for pattern in patterns {
        if !Metric::ALL.iter().any(|m| pattern.matcher.is_match(m.key())) {
            return Err(PolicyError::NoMetric {
                place: place.to_owned(),
                pattern: pattern.text.clone(),
                suggestion: policy_keys::closest(
                    &pattern.text,
                    Metric::ALL.iter().map(|m| m.key()),
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_cover_every_metric() {
        let policy = Policy::default();
        for &metric in Metric::ALL {
            let rule = policy.rule_for(metric, "any/case");
            assert!(rule.limit > 0.0 && rule.noise_percent > 0.0, "{metric}");
        }
        assert!(!policy.rule_for(Metric::CpuTimeNs, "x").gates);
    }

    #[test]
    fn a_later_rule_overrides_key_by_key() {
        let text = "version = 1\n[[rule]]\nmetrics = [\"decode_*\"]\ncases = [\"*/Q4_K_M/*\"]\n\
                    max_regression_percent = 2\n";
        let policy = Policy::parse(text).unwrap();
        let hit = policy.rule_for(Metric::DecodeTokS, "m/Q4_K_M/candle/cpu/pp1+tg1/t1");
        assert_eq!((hit.limit, hit.noise_percent), (2.0, 3.0));
        let miss = policy.rule_for(Metric::DecodeTokS, "m/Q8_0/candle/cpu/pp1+tg1/t1");
        assert_eq!(miss.limit, 5.0);
        assert_eq!(policy.unmatched_cases(&["m/Q8_0/c"]), ["*/Q4_K_M/*"]);
    }

    #[test]
    fn limits_are_percent_of_the_metric_itself() {
        let rule = RuleFor { gates: true, limit: 20.0, absolute: false, noise_percent: 1.0 };
        assert!((rule.limit_on_scale(Metric::DecodeTokS) - (1.0f64 / 0.8).ln()).abs() < 1e-12);
        assert!((rule.limit_on_scale(Metric::LatencyNs) - 1.2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_typo_is_an_error_with_a_suggestion() {
        let wrong = |text: &str| Policy::parse(&format!("version = 1\n{text}")).unwrap_err();
        let e = wrong("[[rule]]\nmax_regresion_percent = 3\n");
        assert_eq!(e.to_string(), "unknown key `max_regresion_percent` in [[rule]] 1");
        assert_eq!(e.suggestion(), Some("max_regression_percent"));
        let e = wrong("[[rule]]\nmetrics = [\"decode_toks\"]\n");
        assert_eq!(e.suggestion(), Some("decode_tok_s"));
        assert!(wrong("runs = 1\n").to_string().contains("must lie in 2"));
        assert!(wrong("false_alarm_percent = nan\n").to_string().contains("must lie in"));
        assert!(
            wrong("[[goal]]\nname = \"g\"\nmetrics = [\"*\"]\n")
                .to_string()
                .contains("exactly one")
        );
        assert!(Policy::parse("").unwrap_err().to_string().contains("version"));
        assert!(Policy::parse("version = 9\n").unwrap_err().to_string().contains("version 1"));
    }
}

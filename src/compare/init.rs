//! Writes a policy whose thresholds fit the noise that a run measured.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::metrics::{centre, is_quality};
use super::policy::Policy;
use super::side::Side;
use crate::model::Metric;
use crate::stats;

/// A limit below this share of noise would be inconclusive for ever: with 10 runs a side the standard error of a ratio
/// is 0.45 of the spread between runs, and ruling a limit out takes 1.7 of those on top of the estimate's own luck.
const LIMIT_PER_NOISE: f64 = 1.5;

/// A policy file for this side's cases: one rule a metric with its measured spread between runs. Metrics measured in
/// one run only keep the defaults, said so in a comment.
pub fn policy_from_noise(side: &Side) -> String {
    let defaults = Policy::default();
    let mut out = format!(
        "# Written by `edge-advisor gate init` from {} ({} runs a case, device {}).\n\
         # Keys left out keep the defaults; `edge-advisor gate check` validates and lists what is in force.\n\
         version = 1\nfalse_alarm_percent = {}\non_inconclusive = \"fail\"\nruns = {}\nmax_runs = {}\n",
        one_line(&side.info.label),
        side.info.runs,
        one_line(&side.info.device),
        defaults.false_alarm_percent,
        defaults.runs,
        defaults.max_runs
    );
    for (metric, noise) in measured_noise(side) {
        let rule = defaults.rule_for(metric, "");
        let _ = match noise {
            Some(noise) => {
                let limit = (noise * LIMIT_PER_NOISE).max(rule.limit).ceil().min(99.0);
                write!(
                    out,
                    "\n# Spread between runs: {noise:.2} % in the noisiest case.\n[[rule]]\n\
                     metrics = [\"{metric}\"]\nmax_regression_percent = {limit}\n\
                     noise_percent = {:.2}\n",
                    noise.max(0.1)
                )
            }
            None => write!(
                out,
                "\n# {metric}: one run a case, so its noise is not known. The default limit is {} %.\n",
                rule.limit
            ),
        };
    }
    out.push_str(GOALS);
    out
}

const GOALS: &str = "
# Goals judge the new run alone. Take the comment signs away to use them.
# [[goal]]
# name = \"twice as fast as 16 bit\"
# metrics = [\"decode_tok_s\"]
# ratio_at_least = 2.0
#
# [[goal]]
# name = \"half the memory of 16 bit\"
# metrics = [\"peak_rss_bytes\"]
# ratio_at_most = 0.5
#
# [[goal]]
# name = \"keeps 95 % of the reference's choices\"
# metrics = [\"top1_agreement\"]
# at_least = 0.95
";

/// The largest spread between runs over all cases, percent, a metric; `None` where no case has two runs.
fn measured_noise(side: &Side) -> BTreeMap<Metric, Option<f64>> {
    let mut noise: BTreeMap<Metric, Option<f64>> = BTreeMap::new();
    for case in side.cases.values() {
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        for run in &case.runs {
            for (&metric, samples) in run.samples.iter().filter(|(m, _)| !is_quality(**m)) {
                let logs = centre(metric, samples).filter(|v| *v > 0.0).map(f64::ln);
                values.entry(metric).or_default().extend(logs);
            }
        }
        for (metric, values) in values {
            let percent = stats::standard_deviation(&values).map(|sd| sd * 100.0);
            let entry = noise.entry(metric).or_default();
            *entry = match (*entry, percent) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
        }
    }
    noise
}

/// Text for a TOML comment: no control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

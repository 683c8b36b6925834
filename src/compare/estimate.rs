//! How much one metric of one case changed, and how well the data know it.

use super::comparison::Design;
use super::metrics::{centre, is_quality, to_scale};
use super::policy::RuleFor;
use super::side::{Run, SideCase};
use crate::model::{Metric, Unit};
use crate::stats::{self, Estimate};

/// Spread between runs that is never believed to be smaller: timers, page rounding. On the log scale.
const RESOLUTION: f64 = 0.001;

/// An estimate on the metric's scale of comparison, head - base.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub estimate: Estimate,
    pub design: Design,
    /// Medians over runs in the metric's unit.
    pub base: f64,
    pub head: f64,
    pub runs_base: usize,
    pub runs_head: usize,
    /// Spread between runs of one side, as a fraction, where it was measured.
    pub noise: Option<f64>,
    /// Runs' values on the scale of comparison, in order of time; empty for quality.
    pub values: Values,
}

/// What an estimate was made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values {
    pub base: Vec<f64>,
    pub head: Vec<f64>,
    /// ABBA blocks, where the sides alternated in time.
    pub blocks: Option<Vec<(Vec<f64>, Vec<f64>)>>,
}

/// Why there is no estimate.
#[derive(Debug, Clone)]
pub(crate) enum NoChange {
    /// Head has no usable value where base has one.
    Lost(String),
    New,
    NotComparable(String),
}

/// What the sides' shift against each other is assumed to be beyond the spread of runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assumed {
    /// Standard deviation between runs, as a fraction; stands in where a side has one run.
    pub run_noise: f64,
    /// Standard deviation between sessions, as a fraction; 0 within one session.
    pub session_noise: f64,
}

impl Assumed {
    pub(crate) fn new(rule: &RuleFor, session_noise_percent: f64) -> Self {
        Self { run_noise: rule.noise_percent / 100.0, session_noise: session_noise_percent / 100.0 }
    }
}

/// Estimates the change of `metric` between two sides of a case.
pub(crate) fn change(
    metric: Metric,
    base: &SideCase,
    head: &SideCase,
    assumed: Assumed,
    seed: u64,
) -> Result<Change, NoChange> {
    let base_runs = samples(metric, &base.runs);
    let head_runs = samples(metric, &head.runs);
    check(metric, &base_runs, &head_runs)?;
    if metric.unit() == Unit::Joules && base.energy_scopes != head.energy_scopes {
        let list = |s: &SideCase| s.energy_scopes.iter().cloned().collect::<Vec<_>>().join(", ");
        let why = format!("energy of {} in base, of {} in head", list(base), list(head));
        return Err(NoChange::NotComparable(why));
    }
    let base_values = values(metric, &base_runs);
    let head_values = values(metric, &head_runs);
    let middle = |v: &[f64]| stats::median(v).unwrap_or(f64::NAN);
    let (base_middle, head_middle) = (middle(&base_values), middle(&head_values));
    let change = |estimate, design, noise, values| Change {
        estimate,
        design,
        base: base_middle,
        head: head_middle,
        runs_base: base_runs.len(),
        runs_head: head_runs.len(),
        noise,
        values,
    };
    if base_runs == head_runs {
        let none = Estimate { difference: 0.0, standard_error: 0.0, df: f64::INFINITY };
        return Ok(change(none, Design::Identical, None, Values::default()));
    }
    if is_quality(metric) {
        let estimate = over_chunks(metric, &base_runs, &head_runs).ok_or_else(no_scale)?;
        return Ok(change(estimate, Design::PairedChunks, None, Values::default()));
    }
    let on_scale = |v: &[f64]| v.iter().map(|x| to_scale(metric, *x)).collect::<Option<Vec<_>>>();
    let values = Values {
        base: on_scale(&base_values).ok_or_else(no_scale)?,
        head: on_scale(&head_values).ok_or_else(no_scale)?,
        blocks: blocks(metric, &base.runs, &head.runs),
    };
    let within = [within_run(&base_runs, seed), within_run(&head_runs, seed ^ 1)];
    let (estimate, design, noise) = of_values(&values, within, assumed);
    Ok(change(estimate, design, noise, values))
}

fn no_scale() -> NoChange {
    NoChange::NotComparable("a value is zero or negative: no ratio can be formed".into())
}

/// Samples of the runs that measured the metric.
fn samples(metric: Metric, runs: &[Run]) -> Vec<&[f64]> {
    runs.iter().filter_map(|r| r.samples.get(&metric).map(Vec::as_slice)).collect()
}

fn values(metric: Metric, runs: &[&[f64]]) -> Vec<f64> {
    runs.iter().filter_map(|s| centre(metric, s)).collect()
}

fn check(metric: Metric, base: &[&[f64]], head: &[&[f64]]) -> Result<(), NoChange> {
    let broken = |runs: &[&[f64]]| {
        runs.iter().find_map(|s| match centre(metric, s) {
            _ if s.is_empty() => Some("no samples"),
            _ if s.iter().any(|v| !v.is_finite()) => Some("NaN or infinite samples"),
            Some(_) => None,
            None => Some("no finite value"),
        })
    };
    let zero =
        |runs: &[&[f64]]| values(metric, runs).iter().any(|v| to_scale(metric, *v).is_none());
    match (base.is_empty(), head.is_empty()) {
        (true, _) => return Err(NoChange::New),
        (false, true) => return Err(NoChange::Lost("not measured in head".into())),
        _ => {}
    }
    if let Some(why) = broken(base) {
        return Err(NoChange::NotComparable(format!("base has {why}")));
    }
    if let Some(why) = broken(head) {
        return Err(NoChange::Lost(format!("head has {why}")));
    }
    match (zero(base), zero(head)) {
        (true, _) if base != head => {
            Err(NoChange::NotComparable("base is zero or negative: no ratio can be formed".into()))
        }
        (false, true) => Err(NoChange::Lost("head is zero or negative".into())),
        _ => Ok(()),
    }
}

/// The estimate of a set of run values: by blocks where interleaved, else each side's own variance of its mean.
pub(crate) fn of_values(
    values: &Values,
    within: [f64; 2],
    assumed: Assumed,
) -> (Estimate, Design, Option<f64>) {
    let resolution = |n: usize| 2.0 * RESOLUTION.powi(2) / n as f64;
    if let Some(estimate) = values.blocks.as_deref().and_then(stats::blocked_difference) {
        let n = values.base.len();
        let noise = estimate.standard_error * (n as f64 / 2.0).sqrt();
        let estimate = estimate.plus_known_variance(resolution(n));
        return (estimate, Design::Interleaved, Some(noise));
    }
    let session = 2.0 * assumed.session_noise.powi(2);
    if let Some(estimate) = stats::mean_difference(&values.base, &values.head) {
        let n = values.base.len().min(values.head.len());
        let estimate = estimate.plus_known_variance(session + resolution(n));
        let sd = |v: &[f64]| stats::standard_deviation(v).unwrap_or(0.0);
        let noise = (sd(&values.base).powi(2) + sd(&values.head).powi(2)) / 2.0;
        return (estimate, Design::Separate, Some(noise.sqrt()));
    }
    let side = |v: &[f64], within: f64| match stats::standard_deviation(v) {
        Some(sd) => (sd.powi(2) / v.len() as f64, 0.0, (v.len() - 1) as f64),
        // One run: its samples say how well they know this run, the policy how far runs lie apart.
        None => (within.powi(2), assumed.run_noise.powi(2), f64::INFINITY),
    };
    let (b, h) = (side(&values.base, within[0]), side(&values.head, within[1]));
    let own = b.0 + h.0;
    let share = |(v, _, df): (f64, f64, f64)| if v > 0.0 { v.powi(2) / df } else { 0.0 };
    let df = own.powi(2) / (share(b) + share(h)).max(f64::MIN_POSITIVE);
    let difference = stats::mean(&values.head).unwrap_or(f64::NAN)
        - stats::mean(&values.base).unwrap_or(f64::NAN);
    let estimate = Estimate { difference, standard_error: own.sqrt(), df }
        .plus_known_variance(b.1 + h.1 + session + resolution(1));
    (estimate, Design::SingleRun, None)
}

/// Standard error of the median of the only run, on the log scale, from its samples; 0 where there are more runs.
fn within_run(runs: &[&[f64]], seed: u64) -> f64 {
    let [only] = runs else { return 0.0 };
    let logs: Vec<f64> = only.iter().filter(|v| **v > 0.0).map(|v| v.ln()).collect();
    stats::median_standard_error(&logs, seed).unwrap_or(0.0)
}

/// Quality: each chunk's mean over runs, paired with the same chunk of the other side where both have as many.
fn over_chunks(metric: Metric, base: &[&[f64]], head: &[&[f64]]) -> Option<Estimate> {
    let chunks = |runs: &[&[f64]]| -> Option<Vec<f64>> {
        let n = runs.first()?.len();
        let same: Vec<&&[f64]> = runs.iter().filter(|r| r.len() == n).collect();
        let mean = |i: usize| same.iter().map(|r| r[i]).sum::<f64>() / same.len() as f64;
        (0..n).map(|i| to_scale(metric, mean(i))).collect()
    };
    let (base, head) = (chunks(base)?, chunks(head)?);
    let paired = stats::paired_difference(&base, &head);
    paired.or_else(|| stats::mean_difference(&base, &head)).or_else(|| {
        // One value a side: the text is the same, so the difference is exact, but says nothing of other texts.
        let difference = stats::mean(&head)? - stats::mean(&base)?;
        Some(Estimate { difference, standard_error: 0.0, df: f64::INFINITY })
    })
}

/// Runs of both sides in blocks of four (two at the end) by start time, if every block holds as many of each side.
fn blocks(metric: Metric, base: &[Run], head: &[Run]) -> Option<Vec<(Vec<f64>, Vec<f64>)>> {
    let mut timeline = Vec::new();
    for (runs, is_head) in [(base, false), (head, true)] {
        for run in runs {
            let value = to_scale(metric, centre(metric, run.samples.get(&metric)?)?)?;
            timeline.push((run.started?, is_head, value));
        }
    }
    timeline.sort_by_key(|(started, is_head, _)| (*started, *is_head));
    if timeline.len() < 4 || timeline.windows(2).any(|w| w[0].0 == w[1].0) {
        return None;
    }
    timeline
        .chunks(4)
        .map(|chunk| {
            let pick = |side: bool| -> Vec<f64> {
                chunk.iter().filter(|r| r.1 == side).map(|r| r.2).collect()
            };
            let (base, head) = (pick(false), pick(true));
            (base.len() == head.len()).then_some((base, head))
        })
        .collect()
}

//! From two sides to verdicts: match, estimate, share noise, correct for many metrics, decide.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Comparison, Design, GoalVerdict, Overall, Row, Subject, Verdict};
use super::estimate::{Assumed, Change, NoChange, Values, change, of_values};
use super::goals;
use super::metrics::{is_quality, to_change, worse_sign};
use super::policy::{OnInconclusive, Policy, RuleFor};
use super::side::{Side, SideCase};
use crate::model::{Metric, Unit};
use crate::stats::{self, Estimate, Variance, student_quantile};

/// Chance of calling a regression of exactly the limit's size a pass.
const MISS: f64 = 0.05;

/// The error budget of one look at the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judging {
    /// Chance of any false alarm when nothing changed.
    pub false_alarm: f64,
    /// Chance of passing a regression of exactly the limit's size.
    pub miss: f64,
}

impl Judging {
    /// All of the policy's budget: one look.
    pub fn once(policy: &Policy) -> Self {
        Self::share(policy, 1.0)
    }

    /// A share of the budget, for one of several looks.
    pub fn share(policy: &Policy, share: f64) -> Self {
        Self { false_alarm: policy.false_alarm_percent / 100.0 * share, miss: MISS * share }
    }
}

/// A change that waits for its verdict.
struct Pending {
    subject: Subject,
    metric: Metric,
    rule: RuleFor,
    change: Change,
}

impl Pending {
    /// The estimate with the sign turned so that positive is worse.
    fn worse(&self) -> Estimate {
        let e = self.change.estimate;
        Estimate { difference: worse_sign(self.metric) * e.difference, ..e }
    }
}

/// Judges head against base.
pub fn compare(base: &Side, head: &Side, policy: &Policy, judging: Judging) -> Comparison {
    let mut comparison = Comparison {
        schema_version: Comparison::SCHEMA_VERSION,
        overall: Overall::NotComparable,
        base: base.info.clone(),
        head: head.info.clone(),
        rows: Vec::new(),
        goals: Vec::new(),
        notes: [base.notes.as_slice(), head.notes.as_slice()].concat(),
    };
    let blockers = blockers(base, head, policy);
    if !blockers.is_empty() {
        comparison.notes.splice(0..0, blockers);
        return comparison;
    }
    comparison.notes.extend(cautions(base, head, policy));
    let (mut rows, mut pending) = collect(base, head, policy);
    share_noise(&mut pending);
    pending.extend(geomeans(&pending, policy));
    rows.extend(decide(&pending, judging));
    rows.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    comparison.rows = rows;
    comparison.goals = goals::judge(head, policy);
    comparison.overall = overall(&comparison, policy);
    comparison
}

fn sort_key(row: &Row) -> (bool, &str, Verdict, Option<Metric>) {
    let geomean = matches!(row.subject, Subject::Geomean { .. });
    (geomean, row.subject.case(), row.verdict, row.subject.metric())
}

/// What makes every number of the two sides incomparable.
fn blockers(base: &Side, head: &Side, policy: &Policy) -> Vec<String> {
    let mut blockers = Vec::new();
    let (b, h) = (&base.info, &head.info);
    if b.device != h.device && !policy.allow_different_devices {
        blockers.push(format!(
            "different devices: base is {} ({}), head is {} ({}); numbers of one say nothing of \
             the other's software",
            b.device_name, b.device, h.device_name, h.device
        ));
    }
    if base.profiles != head.profiles {
        let list = |s: &BTreeSet<String>| s.iter().cloned().collect::<Vec<_>>().join(" and ");
        blockers.push(format!(
            "different builds: base was measured with a {} build, head with a {} build",
            list(&base.profiles),
            list(&head.profiles)
        ));
    }
    blockers
}

fn cautions(base: &Side, head: &Side, policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if base.info.device != head.info.device {
        notes.push("the devices differ; the policy allows it".to_owned());
    }
    let single = |s: &Side| s.info.runs == 1;
    if single(base) || single(head) {
        notes.push(
            "one process run on a side: samples of one run are not independent, so the spread \
             between runs is assumed (policy: noise_percent), not measured"
                .to_owned(),
        );
    }
    let ids: Vec<&str> = base.cases.keys().chain(head.cases.keys()).map(String::as_str).collect();
    for glob in policy.unmatched_cases(&[ids.as_slice(), &["geomean"]].concat()) {
        notes.push(format!("the policy's case glob `{glob}` matches no case"));
    }
    notes
}

/// Rows that are decided without numbers, and the changes that are not.
fn collect(base: &Side, head: &Side, policy: &Policy) -> (Vec<Row>, Vec<Pending>) {
    let mut rows = Vec::new();
    let mut pending = Vec::new();
    let ids: BTreeSet<&String> = base.cases.keys().chain(head.cases.keys()).collect();
    for id in ids {
        let (b, h) = (base.cases.get(id), head.cases.get(id));
        if let Some((verdict, reason)) = case_verdict(b, h) {
            rows.push(case_row(id, verdict, reason, b, h));
        }
        let (Some(b), Some(h)) = (b, h) else { continue };
        if b.runs.is_empty() || h.runs.is_empty() {
            continue;
        }
        let measured = |c: &SideCase| -> BTreeSet<Metric> {
            c.runs.iter().flat_map(|r| r.samples.keys().copied()).collect()
        };
        for metric in measured(b).union(&measured(h)).copied() {
            let rule = policy.rule_for(metric, id);
            let subject = Subject::Metric { case: id.clone(), metric };
            let assumed = Assumed::new(&rule, policy.session_noise_percent);
            match change(metric, b, h, assumed, base.seed) {
                Ok(change) => pending.push(Pending { subject, metric, rule, change }),
                Err(why) => rows.push(no_change_row(subject, rule, why)),
            }
        }
    }
    (rows, pending)
}

/// The verdict on a case as a whole, where it needs one.
fn case_verdict(base: Option<&SideCase>, head: Option<&SideCase>) -> Option<(Verdict, String)> {
    let last = |v: &[String]| v.last().cloned().unwrap_or_default();
    match (base, head) {
        (Some(b), None) if b.runs.is_empty() => {
            Some((Verdict::NotRun, format!("in base only, without numbers: {}", why(b))))
        }
        (Some(_), None) => Some((Verdict::Lost, "measured in base, missing in head".into())),
        (None, Some(h)) if h.runs.is_empty() => {
            Some((Verdict::NotRun, format!("in head only, without numbers: {}", why(h))))
        }
        (None, Some(_)) => Some((Verdict::New, "in head only".into())),
        (Some(b), Some(h)) => match (b.runs.is_empty(), h.runs.is_empty()) {
            (false, true) => Some((Verdict::Lost, format!("head {}", why(h)))),
            (true, false) if b.failures.is_empty() => {
                Some((Verdict::New, format!("base {}", why(b))))
            }
            (true, false) => Some((Verdict::NotComparable, format!("base {}", why(b)))),
            (true, true) if b.failures.is_empty() && h.failures.is_empty() => {
                Some((Verdict::NotRun, why(h)))
            }
            (true, true) if b.failures.is_empty() => {
                Some((Verdict::Lost, format!("head {}", why(h))))
            }
            (true, true) => Some((Verdict::NotComparable, format!("both sides: {}", why(h)))),
            (false, false) if b.failures.is_empty() && !h.failures.is_empty() => {
                let (n, all) = (h.failures.len(), h.failures.len() + h.runs.len());
                let reason = format!("{n} of {all} head runs {}", last(&h.failures));
                Some((Verdict::Lost, reason))
            }
            (false, false) => None,
        },
        (None, None) => None,
    }
}

fn why(case: &SideCase) -> String {
    case.failures.last().or(case.limits.last()).cloned().unwrap_or_default()
}

fn empty_row(subject: Subject, verdict: Verdict, reason: String) -> Row {
    Row {
        subject,
        verdict,
        reason,
        gates: true,
        design: None,
        runs_base: 0,
        runs_head: 0,
        base: None,
        head: None,
        absolute: false,
        change: None,
        change_low: None,
        change_high: None,
        p_adjusted: None,
        limit: None,
        noise_percent: None,
        detectable: None,
    }
}

fn case_row(
    id: &str,
    verdict: Verdict,
    reason: String,
    base: Option<&SideCase>,
    head: Option<&SideCase>,
) -> Row {
    Row {
        runs_base: base.map_or(0, |c| c.runs.len()),
        runs_head: head.map_or(0, |c| c.runs.len()),
        ..empty_row(Subject::Case { case: id.to_owned() }, verdict, reason)
    }
}

fn no_change_row(subject: Subject, rule: RuleFor, why: NoChange) -> Row {
    let (verdict, reason) = match why {
        NoChange::Lost(why) => (Verdict::Lost, why),
        NoChange::New => (Verdict::New, "measured in head only".to_owned()),
        NoChange::NotComparable(why) => (Verdict::NotComparable, why),
    };
    Row { gates: rule.gates, ..empty_row(subject, verdict, reason) }
}

/// Lets interleaved metrics of a kind learn the noise from each other (see docs/statistics.md).
fn share_noise(pending: &mut [Pending]) {
    let mut groups: BTreeMap<(bool, bool), Vec<&mut Change>> = BTreeMap::new();
    for p in pending.iter_mut().filter(|p| p.change.design == Design::Interleaved) {
        let kind = (p.metric.unit() == Unit::Bytes, p.metric.once_per_run());
        groups.entry(kind).or_default().push(&mut p.change);
    }
    // The variance of a difference of means is twice that of a run over the number of runs a side.
    let scale = |c: &Change| c.runs_base as f64 / 2.0;
    for mut group in groups.into_values() {
        let variance = |c: &Change| Variance {
            value: c.estimate.standard_error.powi(2) * scale(c),
            df: c.estimate.df,
        };
        let own: Vec<Variance> = group.iter().map(|c| variance(c)).collect();
        for (change, shared) in group.iter_mut().zip(stats::moderate(&own)) {
            let standard_error = (shared.value / scale(change)).sqrt();
            change.estimate = Estimate { standard_error, df: shared.df, ..change.estimate };
        }
    }
}

/// One more change a metric: the mean over its cases on the log scale.
fn geomeans(pending: &[Pending], policy: &Policy) -> Vec<Pending> {
    let mut by_metric: BTreeMap<Metric, Vec<&Pending>> = BTreeMap::new();
    for p in pending.iter().filter(|p| !is_quality(p.metric) && p.rule.gates) {
        by_metric.entry(p.metric).or_default().push(p);
    }
    by_metric
        .into_iter()
        .filter(|(_, rows)| rows.len() > 1)
        .map(|(metric, rows)| {
            let rule = policy.rule_for(metric, "geomean");
            let change = geomean(metric, &rows, Assumed::new(&rule, policy.session_noise_percent));
            let subject = Subject::Geomean { metric, cases: rows.len() };
            Pending { subject, metric, rule, change }
        })
        .collect()
}

fn geomean(metric: Metric, rows: &[&Pending], assumed: Assumed) -> Change {
    let mean = |pick: &dyn Fn(&Change) -> f64| {
        rows.iter().map(|p| pick(&p.change)).sum::<f64>() / rows.len() as f64
    };
    let first = &rows[0].change;
    let (estimate, design, noise) = match mean_values(rows) {
        Some(values) => of_values(&values, [0.0; 2], assumed),
        // Runs that cannot be lined up: the mean standard error is the most that correlated cases can have.
        None => {
            let df = rows.iter().map(|p| p.change.estimate.df).fold(f64::INFINITY, f64::min);
            let difference = mean(&|c| c.estimate.difference);
            let standard_error = mean(&|c| c.estimate.standard_error);
            (Estimate { difference, standard_error, df }, first.design, None)
        }
    };
    debug_assert!(!is_quality(metric));
    Change {
        estimate,
        design,
        base: mean(&|c| c.base.ln()).exp(),
        head: mean(&|c| c.head.ln()).exp(),
        runs_base: rows.iter().map(|p| p.change.runs_base).min().unwrap_or(0),
        runs_head: rows.iter().map(|p| p.change.runs_head).min().unwrap_or(0),
        noise,
        values: Values::default(),
    }
}

/// Run by run, the mean over cases, so that noise shared by all cases of a run is counted once.
fn mean_values(rows: &[&Pending]) -> Option<Values> {
    let first = &rows[0].change.values;
    let shape = |v: &Values| {
        let blocks = v.blocks.as_ref().map(|b| b.iter().map(|(b, _)| b.len()).collect::<Vec<_>>());
        (v.base.len(), v.head.len(), blocks)
    };
    let enough = first.base.len() > 1 && first.head.len() > 1;
    if !enough || rows.iter().any(|p| shape(&p.change.values) != shape(first)) {
        return None;
    }
    let n = rows.len() as f64;
    let mean = |pick: &dyn Fn(&Values) -> &[f64]| -> Vec<f64> {
        (0..pick(first).len())
            .map(|i| rows.iter().map(|p| pick(&p.change.values)[i]).sum::<f64>() / n)
            .collect()
    };
    fn block(v: &Values, i: usize) -> &(Vec<f64>, Vec<f64>) {
        static EMPTY: (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        v.blocks.as_ref().map_or(&EMPTY, |b| &b[i])
    }
    let blocks = first.blocks.as_ref().map(|blocks| {
        (0..blocks.len()).map(|i| (mean(&|v| &block(v, i).0), mean(&|v| &block(v, i).1))).collect()
    });
    Some(Values { base: mean(&|v| &v.base), head: mean(&|v| &v.head), blocks })
}

/// Turns changes into rows. Metrics that do not gate are judged too, but take no part in the correction.
fn decide(pending: &[Pending], judging: Judging) -> Vec<Row> {
    let gating: Vec<&Pending> = pending.iter().filter(|p| p.rule.gates).collect();
    let family = gating.len().max(1);
    let p_worse: Vec<f64> = gating.iter().map(|p| p.worse().p_above(0.0)).collect();
    let p_better: Vec<f64> = gating.iter().map(|p| 1.0 - p.worse().p_above(0.0)).collect();
    let worse = stats::benjamini_hochberg(&p_worse);
    let better = stats::benjamini_hochberg(&p_better);
    let mut adjusted = worse.into_iter().zip(better);
    pending
        .iter()
        .map(|p| {
            let own = p.worse().p_above(0.0);
            let (worse, better) = match p.rule.gates {
                true => adjusted.next().unwrap_or((1.0, 1.0)),
                false => (own, 1.0 - own),
            };
            row(p, worse, better, judging, family)
        })
        .collect()
}

fn row(p: &Pending, p_worse: f64, p_better: f64, judging: Judging, family: usize) -> Row {
    let worse = p.worse();
    let limit = p.rule.limit_on_scale(p.metric);
    let identical = p.change.design == Design::Identical;
    let bound = |tail: f64| student_quantile(1.0 - tail, worse.df) * worse.standard_error;
    let ruled_out = worse.difference + bound(judging.miss) < limit;
    let verdict = if identical {
        Verdict::Pass
    } else if p_worse <= judging.false_alarm && worse.difference > limit {
        Verdict::Regressed
    } else if p_better <= judging.false_alarm && worse.difference < -limit {
        Verdict::Improved
    } else if ruled_out {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let sign = worse_sign(p.metric);
    let shown = |worse_by: f64| to_change(p.metric, sign * worse_by);
    let alone = bound(judging.false_alarm / family as f64);
    let detectable = alone.max(limit) + bound(MISS);
    let (low, high) = p.change.estimate.interval(0.95);
    let noise = p.change.noise.map(|n| n * 100.0);
    let assumed = (p.change.design == Design::SingleRun).then_some(p.rule.noise_percent);
    let mut row = empty_row(p.subject.clone(), verdict, String::new());
    row.gates = p.rule.gates;
    row.design = Some(p.change.design);
    row.runs_base = p.change.runs_base;
    row.runs_head = p.change.runs_head;
    row.base = Some(p.change.base);
    row.head = Some(p.change.head);
    row.absolute = super::metrics::is_absolute(p.metric);
    row.change = Some(to_change(p.metric, p.change.estimate.difference));
    row.change_low = Some(to_change(p.metric, low));
    row.change_high = Some(to_change(p.metric, high));
    row.p_adjusted = (!identical).then_some(p_worse);
    row.limit = Some(shown(limit));
    row.noise_percent = noise.or(assumed);
    row.detectable = (!identical).then(|| shown(detectable));
    row.reason = reason(&row, p_worse <= judging.false_alarm);
    row
}

fn reason(row: &Row, significant: bool) -> String {
    let unit = if row.absolute { "" } else { " %" };
    let number = |v: Option<f64>| {
        let v = v.unwrap_or(f64::NAN);
        if row.absolute { format!("{v:+.4}") } else { format!("{v:+.1}{unit}") }
    };
    let (limit, change) = (number(row.limit), number(row.change));
    match row.verdict {
        Verdict::Regressed => format!("{change} is beyond the limit of {limit} and beyond chance"),
        Verdict::Improved => format!("{change} is better by more than chance"),
        Verdict::Pass if row.design == Some(Design::Identical) => {
            "both sides hold the same numbers".to_owned()
        }
        Verdict::Pass if significant => format!("{change} is worse, within the limit of {limit}"),
        Verdict::Pass => format!("a change of {limit} is ruled out"),
        Verdict::Inconclusive if row.design == Some(Design::SingleRun) => format!(
            "{change} with one run a side: the limit of {limit} can be neither met nor broken; \
             measure several runs"
        ),
        Verdict::Inconclusive => format!(
            "{change} with these runs allows both no change and {limit}; the smallest sure catch \
             is {}",
            number(row.detectable)
        ),
        _ => String::new(),
    }
}

fn overall(comparison: &Comparison, policy: &Policy) -> Overall {
    let gating = || comparison.rows.iter().filter(|r| r.gates);
    let any = |v: Verdict| gating().any(|r| r.verdict == v);
    let goal = |v: GoalVerdict| comparison.goals.iter().any(|g| g.verdict == v);
    let judged = gating().any(|r| r.change.is_some()) || !comparison.goals.is_empty();
    if gating().any(|r| r.verdict.is_failure()) || goal(GoalVerdict::Missed) {
        Overall::Regressed
    } else if any(Verdict::NotComparable) || goal(GoalVerdict::NotComparable) || !judged {
        Overall::NotComparable
    } else if policy.on_inconclusive == OnInconclusive::Fail
        && (any(Verdict::Inconclusive) || goal(GoalVerdict::Inconclusive))
    {
        Overall::Inconclusive
    } else {
        Overall::Pass
    }
}

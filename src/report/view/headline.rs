//! The headline table: one row a framework x quantization, measured values beside the field's claims.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Metric, Precision};
use crate::report::text;

use super::frameworks::{FIELD, Framework};
use super::types::{CaseView, Chip, Estimate, HeadlineRow, Judged, RunView, SustainedCurve};

/// Rows in table order; a framework of the field with no case comes last, saying so.
pub(crate) fn rows(
    cases: &[CaseView],
    runs: &[RunView],
    curves: &[SustainedCurve],
) -> Vec<HeadlineRow> {
    let varied = Varied::of(cases);
    let one = |index: usize| {
        let mut row = row(index, &cases[index]);
        row.apart = varied.apart(&cases[index]);
        row.beside = beside(&cases[index], curves.iter().find(|c| c.case == index));
        if varied.models {
            row.scope.push(row.model.clone());
        }
        if runs.len() > 1 {
            row.scope.push(runs[cases[index].run].name.clone());
        }
        row
    };
    let mut rows: Vec<HeadlineRow> = chosen(cases).into_iter().map(one).collect();
    for framework in &FIELD.framework {
        if !cases.iter().any(|c| c.backend == framework.id) {
            rows.push(absent(&FIELD.framework(&framework.id)));
        }
    }
    rows
}

/// What differs between the cases of a backend, and so must be told.
struct Varied<'a> {
    models: bool,
    devices: BTreeSet<&'a str>,
    threads: BTreeSet<&'a str>,
}

impl<'a> Varied<'a> {
    fn of(cases: &'a [CaseView]) -> Self {
        let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut threads: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for c in cases {
            devices.entry(&c.backend).or_default().insert(&c.device);
            threads.entry(&c.backend).or_default().insert(c.threads);
        }
        let models: BTreeSet<&str> = cases.iter().map(|c| c.model.as_str()).collect();
        Self {
            models: models.len() > 1,
            devices: devices.into_iter().filter(|(_, v)| v.len() > 1).map(|(k, _)| k).collect(),
            threads: threads.into_iter().filter(|(_, v)| v.len() > 1).map(|(k, _)| k).collect(),
        }
    }

    fn apart(&self, c: &CaseView) -> Vec<String> {
        let mut apart = Vec::new();
        if self.devices.contains(c.backend.as_str()) {
            apart.push(format!("on {}", c.device));
        }
        if self.threads.contains(c.backend.as_str()) {
            apart.push(text::count(c.threads as usize, "thread"));
        }
        apart.extend(c.options.iter().cloned());
        apart
    }
}

/// Of cases that differ in workload only, the one with the workload most cases of that model have.
fn chosen(cases: &[CaseView]) -> Vec<usize> {
    let mut frequency: BTreeMap<(usize, &str, &str), usize> = BTreeMap::new();
    for c in cases {
        *frequency.entry((c.run, &c.model, &c.workload)).or_insert(0) += 1;
    }
    let mut best: BTreeMap<String, usize> = BTreeMap::new();
    for (index, c) in cases.iter().enumerate() {
        let rank = |c: &CaseView| {
            // Ties go to the plainest workload: the shortest name, then the first.
            let common = frequency[&(c.run, c.model.as_str(), c.workload.as_str())];
            (common, std::cmp::Reverse(c.workload.len()), std::cmp::Reverse(c.workload.clone()))
        };
        let key = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n{:?}",
            c.run, c.model, c.backend, c.device, c.precision, c.threads, c.options
        );
        let entry = best.entry(key).or_insert(index);
        if rank(c) > rank(&cases[*entry]) {
            *entry = index;
        }
    }
    let mut chosen: Vec<usize> = best.into_values().collect();
    chosen.sort_unstable();
    chosen
}

/// Said of an engine that is not at home on the processor it ran on.
const REFERENCE: &str = "functional reference here: speed does not count";

fn row(index: usize, c: &CaseView) -> HeadlineRow {
    let framework = FIELD.framework(&c.backend);
    let precision: Option<Precision> = c.precision.parse().ok();
    let claim = framework.claim.as_ref().filter(|k| precision.is_some_and(|p| k.covers(p)));
    let speed = |metric: Metric| c.speedups.iter().find(|s| s.metric == metric.key());
    let graph = metric(c, Metric::DecodeTokS).is_none() && metric(c, Metric::LatencyNs).is_some();
    let main = speed(if graph { Metric::LatencyNs } else { Metric::DecodeTokS });
    let ratio = |s: Option<&super::types::Speedup>| s.map(|s| s.ratio.clone());
    let why = why_not(c);
    let less = c.memory.as_ref().and_then(|m| m.less_than_16_percent);
    let less = less.map(|value| Estimate { value, low: None, high: None });
    let memory_claim = claim.and_then(|k| k.memory_percent);
    let speed_claim = claim.map(|k| k.speedup);
    let judge_speed = |measured: Option<Estimate>| {
        let judged = judge(measured, speed_claim, c, &why);
        match c.functional_reference && judged.claim.is_some() {
            true => Judged { chip: Chip::NotMeasured, why: REFERENCE.to_owned(), ..judged },
            false => judged,
        }
    };
    let (throughput, unit) = if graph {
        (metric(c, Metric::ThroughputPerS).map(|m| m.median.clone()), "1/s")
    } else {
        (metric(c, Metric::DecodeTokS).map(|m| m.median.clone()), "tok/s")
    };
    let completed = c.outcome == "completed";
    HeadlineRow {
        run: Some(c.run),
        case: Some(index),
        backend: c.backend.clone(),
        framework: c.framework.clone(),
        quantization: c.precision.clone(),
        apart: Vec::new(),
        scope: Vec::new(),
        model: c.model.clone(),
        device: c.device.clone(),
        workload: c.workload.clone(),
        peak_bytes: c.memory.as_ref().map(|m| m.peak.clone()),
        memory_less: judge(less, memory_claim, c, &why),
        memory_less_than_32: c.memory.as_ref().and_then(|m| m.less_than_32_percent),
        memory_claim_text: claim.map_or(String::new(), |k| k.memory_text.clone()),
        decode: judge_speed(ratio(main)),
        prefill: judge_speed(ratio(speed(Metric::PrefillTokS))),
        speed: throughput.filter(|_| completed),
        speed_unit: unit.into(),
        baseline: c.baseline_precision.clone(),
        beside: Vec::new(),
        quality: quality(c),
        use_case: use_case(&framework, precision),
        problem: if completed { String::new() } else { format!("{}: {}", c.outcome, c.reason) },
    }
}

pub(crate) fn metric(c: &CaseView, metric: Metric) -> Option<&super::types::MetricView> {
    c.metrics.iter().find(|m| m.metric == metric.key())
}

fn why_not(c: &CaseView) -> String {
    if c.outcome != "completed" {
        return format!("{}: {}", c.outcome, c.reason);
    }
    match c.baseline_precision.as_str() {
        "F32" if c.precision != "F32" => "no 16-bit baseline completed".into(),
        "" => "no 16-bit or 32-bit baseline of this framework completed".into(),
        own if own == c.precision => "this is the baseline".into(),
        _ => "not measured".into(),
    }
}

/// The verdict by where the interval lies; a claim against 16-bit is not judged by a 32-bit baseline.
fn judge(measured: Option<Estimate>, claim: Option<[f64; 2]>, c: &CaseView, why: &str) -> Judged {
    let against_full = c.baseline_precision == "F32";
    let (chip, why) = match (&measured, claim) {
        (None, _) => (Chip::NotMeasured, why.to_owned()),
        (Some(_), None) => (Chip::NoClaim, String::new()),
        (Some(_), Some(_)) if against_full => {
            (Chip::NotMeasured, "no 16-bit baseline completed".to_owned())
        }
        (Some(m), Some([low, high])) => {
            let chip = if m.high.unwrap_or(m.value) < low {
                Chip::Below
            } else if m.low.unwrap_or(m.value) > high {
                Chip::Above
            } else {
                Chip::Within
            };
            (chip, String::new())
        }
    };
    Judged { measured, claim, chip, why }
}

/// What was measured beside speed and memory, a line each.
fn beside(c: &CaseView, curve: Option<&SustainedCurve>) -> Vec<String> {
    let energies = [(Metric::EnergyPerTokenJ, "token"), (Metric::EnergyPerInferenceJ, "inference")];
    let energy = energies.into_iter().find_map(|(m, item)| {
        let (joules, e) = (metric(c, m)?.median.value, c.energy.as_ref()?);
        Some(format!("{} J a {item} ({})", text::significant(joules), e.scope))
    });
    let plateau = curve.and_then(|s| Some((s.plateau.as_ref()?, &s.unit)));
    let sustained = plateau.map(|(p, unit)| {
        let kept = p.level / p.start * 100.0;
        let still = if p.settled { "" } else { ", still changing" };
        format!("sustains {kept:.0} %: {} {unit}{still}", text::significant(p.level))
    });
    let reference = c.functional_reference.then(|| REFERENCE.to_owned());
    energy.into_iter().chain(sustained).chain(reference).collect()
}

/// Quality in words; a source that was itself quantized is named with it.
pub(crate) fn quality(c: &CaseView) -> String {
    const SHOWN: [(Metric, &str); 7] = [
        (Metric::Top1Agreement, "top-1"),
        (Metric::KlDivergence, "KLD"),
        (Metric::PerplexityRatio, "PPL x"),
        (Metric::CosineToReference, "cosine"),
        (Metric::RankAgreement, "rank"),
        (Metric::Top5Agreement, "top-5"),
        (Metric::OutputSnrDb, "SNR dB"),
    ];
    let one = |(m, name): (Metric, &str)| {
        let value = metric(c, m)?.median.value;
        let shown = match m {
            Metric::Top1Agreement | Metric::Top5Agreement => {
                format!("{} %", text::significant(value * 100.0))
            }
            _ => text::significant(value),
        };
        Some(format!("{name} {shown}"))
    };
    let parts: Vec<String> = SHOWN.into_iter().filter_map(one).take(2).collect();
    if parts.is_empty() {
        return "not measured".into();
    }
    let source = match &c.variant {
        Some(v) if v.source_quantized => format!(" (relative to a {} source)", v.source_type),
        _ => String::new(),
    };
    format!("{}{source}", parts.join(", "))
}

fn use_case(framework: &Framework, precision: Option<Precision>) -> String {
    let of_precision = precision.map_or("", |p| FIELD.use_of(p));
    match (framework.use_case.as_str(), of_precision) {
        ("", p) => p.to_owned(),
        (f, "") => f.to_owned(),
        (f, p) if f == p => f.to_owned(),
        (f, p) => format!("{f}. {p}"),
    }
}

fn absent(framework: &Framework) -> HeadlineRow {
    let why = "no case of this framework in this report".to_owned();
    let judged = |claim: Option<[f64; 2]>| Judged {
        measured: None,
        claim,
        chip: Chip::NotMeasured,
        why: why.clone(),
    };
    let claim = framework.claim.as_ref();
    HeadlineRow {
        run: None,
        case: None,
        backend: framework.id.clone(),
        framework: framework.name.clone(),
        quantization: claim.map_or(String::new(), |c| c.about.clone()),
        apart: Vec::new(),
        scope: Vec::new(),
        model: String::new(),
        device: String::new(),
        workload: String::new(),
        peak_bytes: None,
        memory_less: judged(claim.and_then(|c| c.memory_percent)),
        memory_less_than_32: None,
        memory_claim_text: claim.map_or(String::new(), |c| c.memory_text.clone()),
        decode: judged(claim.map(|c| c.speedup)),
        prefill: judged(claim.map(|c| c.speedup)),
        speed: None,
        speed_unit: String::new(),
        baseline: String::new(),
        beside: Vec::new(),
        quality: "not measured".into(),
        use_case: framework.use_case.clone(),
        problem: why,
    }
}

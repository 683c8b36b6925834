//! What was measured on this device: records of `bench` as evidence that outranks any prediction.

use serde::Serialize;

use super::candidate::Candidate;
use super::quality::Quality;
use crate::model::{CaseOutcome, Metric, Precision, ProcessorKind};
use crate::predict::{Estimate, Rung};
use crate::record::{CaseRecord, RunRecord};

/// One model, framework, place and precision as measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    pub model: String,
    pub backend: String,
    pub device: String,
    pub precision: Precision,
    pub decode_tok_s: Option<Estimate>,
    pub prefill_tok_s: Option<Estimate>,
    pub ttft_s: Option<Estimate>,
    pub latency_s: Option<Estimate>,
    pub load_s: Option<Estimate>,
    pub load_cold_s: Option<Estimate>,
    pub energy_j_per_token: Option<Estimate>,
    pub memory_bytes: Option<Estimate>,
    pub quality: Option<Quality>,
    /// Why it did not run, where it did not.
    pub failed: Option<String>,
    /// Coefficient of variation of the speed, percent.
    pub variation_percent: f64,
}

/// All evidence about this device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    pub rows: Vec<Measured>,
}

impl Evidence {
    /// Reads the records that were made on the device; the latest measurement of a case wins.
    pub fn from_records(records: &[RunRecord], device_id: &str) -> Self {
        let mut rows: Vec<Measured> = Vec::new();
        let mut here: Vec<&RunRecord> =
            records.iter().filter(|r| r.header.device.id == device_id).collect();
        here.sort_by(|a, b| a.header.created.cmp(&b.header.created));
        for record in here {
            for case in record.cases.iter().filter(|c| c.run == 0) {
                let same = record.cases.iter().filter(|c| c.case.id() == case.case.id());
                let all: Vec<&CaseRecord> = same.filter(|c| tells(c)).collect();
                if all.is_empty() {
                    continue;
                }
                let row = measured(case, &all, &record.header.run_id);
                rows.retain(|r| !same_place(r, &row));
                rows.push(row);
            }
        }
        Self { rows }
    }

    /// Whether anything of the model was measured.
    pub fn about(&self, model: &str) -> bool {
        self.rows.iter().any(|r| r.model.eq_ignore_ascii_case(model) && r.failed.is_none())
    }

    pub(super) fn find(&self, model: &str, c: &Candidate) -> Option<&Measured> {
        self.rows.iter().find(|r| {
            r.backend == c.framework
                && r.precision == c.precision
                && r.model.eq_ignore_ascii_case(model)
                && place_matches(&r.device, c)
        })
    }
}

/// Whether a run says anything of what was run: not where it was skipped, or spoiled by its host.
fn tells(run: &CaseRecord) -> bool {
    let mut findings = run.findings.iter().chain(&run.session.findings);
    match run.outcome {
        CaseOutcome::Skipped { .. } => false,
        CaseOutcome::Invalid { .. } => findings.any(|f| f.invalidates && !f.kind.is_of_the_host()),
        _ => true,
    }
}

fn same_place(a: &Measured, b: &Measured) -> bool {
    a.model == b.model
        && a.backend == b.backend
        && a.device == b.device
        && a.precision == b.precision
}

/// Backends name devices their own way: `cpu`, `CUDA0`, `GPU`, `Vulkan0`, `NPU`, `Metal`.
fn place_matches(device: &str, c: &Candidate) -> bool {
    let d = device.to_lowercase();
    match c.processor_kind {
        ProcessorKind::Cpu => d.starts_with("cpu"),
        ProcessorKind::Npu => d.contains("npu") || d.contains("htp"),
        _ if d.starts_with("gpu") => true,
        _ => d.starts_with(&super::candidate::api_word(c.api).replace('_', "")),
    }
}

fn measured(first: &CaseRecord, runs: &[&CaseRecord], run_id: &str) -> Measured {
    let of = |metric| estimate(runs, metric, 1.0, run_id);
    let seconds = |metric| estimate(runs, metric, 1e-9, run_id);
    let speed = samples(runs, Metric::DecodeTokS);
    let failed = runs.iter().all(|r| !r.outcome.is_completed());
    Measured {
        model: first.case.model.clone(),
        backend: first.case.backend.clone(),
        device: first.case.device.clone(),
        precision: first.case.precision,
        decode_tok_s: of(Metric::DecodeTokS),
        prefill_tok_s: of(Metric::PrefillTokS),
        ttft_s: seconds(Metric::TtftNs),
        latency_s: seconds(Metric::LatencyNs),
        load_s: seconds(Metric::LoadNs),
        load_cold_s: seconds(Metric::LoadColdNs),
        energy_j_per_token: of(Metric::EnergyPerTokenJ),
        memory_bytes: of(Metric::PeakRssBytes),
        quality: quality(runs, run_id),
        failed: failed
            .then(|| format!("ran here and did not complete: {}", runs[0].outcome.reason())),
        variation_percent: variation(&speed),
    }
}

/// Samples of the runs that completed; an invalid run's numbers are no evidence.
fn samples(runs: &[&CaseRecord], metric: Metric) -> Vec<f64> {
    runs.iter()
        .filter(|r| r.outcome.is_completed())
        .flat_map(|r| r.samples(metric).iter().copied())
        .filter(|v| v.is_finite() && *v > 0.0)
        .collect()
}

fn estimate(runs: &[&CaseRecord], metric: Metric, scale: f64, run_id: &str) -> Option<Estimate> {
    let mut v = samples(runs, metric);
    if v.is_empty() {
        return None;
    }
    v.sort_by(f64::total_cmp);
    let at = |q: f64| v[((v.len() - 1) as f64 * q).round() as usize] * scale;
    Some(Estimate {
        value: at(0.5),
        low: at(0.05),
        high: at(0.95),
        rung: Rung::MeasuredHere,
        basis: format!("median of {} samples, run {run_id}", v.len()),
    })
}

fn quality(runs: &[&CaseRecord], run_id: &str) -> Option<Quality> {
    let mut ratio = samples(runs, Metric::PerplexityRatio);
    ratio.sort_by(f64::total_cmp);
    let mid = *ratio.get(ratio.len() / 2)?;
    let kept = |r: f64| (100.0 / r).clamp(0.0, 100.0);
    Some(Quality {
        kept: kept(mid),
        low: kept(ratio[ratio.len() - 1]),
        high: kept(ratio[0]),
        basis: format!("measured here: perplexity ratio, run {run_id}"),
    })
}

fn variation(v: &[f64]) -> f64 {
    if v.len() < 2 {
        return 0.0;
    }
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (v.len() - 1) as f64;
    100.0 * var.sqrt() / mean
}

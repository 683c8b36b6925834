//! Anchors measured on this device, and the correction they put on its predictions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::estimate::{Prediction, Query};
use super::memory::KvPrecision;
use super::observation::Task;
use super::predictor::{Predictor, api_key};
use crate::model::{
    ComputeApi, Device, Metric, ModelSpec, Precision, Processor, ProcessorKind, Workload,
};
use crate::record::{CaseRecord, RunRecord};
use crate::stats::median;

/// One measured speed against what the class model says of the same case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Registry id of the backend.
    pub framework: String,
    /// Id of the processor in the device.
    pub processor: String,
    pub model: String,
    pub precision: Precision,
    /// `decode` or `prefill`.
    pub task: String,
    /// Measured over predicted speed.
    pub ratio: f64,
    /// The run it was measured in.
    pub run: String,
}

/// Everything known of one device; the latest anchor of a case counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Fingerprint id of the device.
    pub device: String,
    pub anchors: Vec<Anchor>,
}

impl Calibration {
    /// Compares every completed generation case of `records` that ran on `device_id` with the class model.
    ///
    /// `spec_of` finds the shape of a case's model; a case without one is left out.
    pub fn from_records(
        records: &[RunRecord],
        device_id: &str,
        spec_of: impl Fn(&CaseRecord) -> Option<ModelSpec>,
    ) -> Self {
        let mut latest: BTreeMap<(String, String, String, String, Precision), Anchor> =
            BTreeMap::new();
        let mut here: Vec<&RunRecord> =
            records.iter().filter(|r| r.header.device.id == device_id).collect();
        here.sort_by(|a, b| a.header.created.cmp(&b.header.created));
        for record in here {
            for case in record.cases.iter().filter(|c| c.outcome.is_completed()) {
                let Some(spec) = spec_of(case) else { continue };
                for a in anchors(case, &record.header.device, &spec, &record.header.run_id) {
                    let key = (
                        a.framework.clone(),
                        a.processor.clone(),
                        a.task.clone(),
                        a.model.clone(),
                        a.precision,
                    );
                    latest.insert(key, a);
                }
            }
        }
        Self { device: device_id.to_owned(), anchors: latest.into_values().collect() }
    }

    /// Adds another calibration's anchors; they win over the same cases here.
    pub fn merge(&mut self, newer: Calibration) {
        for a in newer.anchors {
            self.anchors.retain(|b| {
                (&b.framework, &b.processor, &b.task, &b.model, b.precision)
                    != (&a.framework, &a.processor, &a.task, &a.model, a.precision)
            });
            self.anchors.push(a);
        }
    }

    /// Median ratio of the anchors that apply, and how many: of the same precision where there are any.
    pub(super) fn correction(&self, q: &Query<'_>, task: Task) -> Option<(f64, usize)> {
        if self.device != q.device.id {
            return None;
        }
        let place: Vec<&Anchor> = self
            .anchors
            .iter()
            .filter(|a| a.framework == q.framework && a.processor == q.processor.id)
            .filter(|a| a.task == task.name() && a.ratio.is_finite() && a.ratio > 0.0)
            .collect();
        let same: Vec<f64> =
            place.iter().filter(|a| a.precision == q.precision).map(|a| a.ratio).collect();
        let all: Vec<f64> = place.iter().map(|a| a.ratio).collect();
        let ratios = if same.is_empty() { all } else { same };
        median(&ratios).map(|m| (m, ratios.len()))
    }
}

/// Decode and prefill anchors of one case; none where it is not a plain generation case on a known processor.
fn anchors(case: &CaseRecord, device: &Device, spec: &ModelSpec, run: &str) -> Vec<Anchor> {
    let Workload::Generate { prompt, depth: 0, .. } = case.case.workload else {
        return Vec::new();
    };
    let Some((processor, api)) = place(device, &case.case.device) else { return Vec::new() };
    let query = Query {
        device,
        processor,
        api,
        framework: &case.case.backend,
        model: spec,
        precision: case.case.precision,
        context: u64::from(prompt),
        prompt,
        threads: (case.case.threads > 0).then_some(case.case.threads),
        kv_precision: KvPrecision::F16,
        gpu_layers: None,
    };
    let Ok(class) = Predictor::embedded().predict(&query) else { return Vec::new() };
    let anchor = |task: Task, ratio: f64| Anchor {
        framework: case.case.backend.clone(),
        processor: processor.id.clone(),
        model: case.case.model.clone(),
        precision: case.case.precision,
        task: task.name().to_owned(),
        ratio,
        run: run.to_owned(),
    };
    [(Task::Decode, Metric::DecodeTokS), (Task::Prefill, Metric::PrefillTokS)]
        .into_iter()
        .filter_map(|(task, metric)| {
            let measured = median(case.samples(metric))?;
            let predicted = speed(&class, task)?;
            Some(anchor(task, measured / predicted))
        })
        .filter(|a| a.ratio.is_finite() && a.ratio > 0.0)
        .collect()
}

fn speed(p: &Prediction, task: Task) -> Option<f64> {
    match task {
        Task::Decode => p.decode_tok_s.as_ref(),
        Task::Prefill => p.prefill_tok_s.as_ref(),
    }
    .map(|e| e.value)
}

/// The processor behind a backend's device name (`cpu`, `CUDA0`, `vulkan:1`, `NPU`).
fn place<'a>(device: &'a Device, name: &str) -> Option<(&'a Processor, ComputeApi)> {
    let name = name.to_ascii_lowercase();
    if name == "cpu" {
        return device.cpu_processor().map(|p| (p, ComputeApi::Cpu));
    }
    let others = device.processors.iter().filter(|p| p.kind != ProcessorKind::Cpu);
    others.flat_map(|p| p.apis.iter().map(move |a| (p, *a))).find(|(p, api)| {
        name.starts_with(&api_key(*api))
            || (name.starts_with("npu") && p.kind == ProcessorKind::Npu)
            || (name.starts_with("gpu") && p.kind != ProcessorKind::Npu)
    })
}

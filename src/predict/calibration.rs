//! Anchors measured on this device, and the correction they put on its predictions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::estimate::Query;
use super::memory::KvPrecision;
use super::observation::{Observation, Task};
use super::params::{Params, SpeedParams};
use super::predictor::{api_key, observe};
use crate::model::{
    ComputeApi, Device, Metric, ModelSpec, Precision, Processor, ProcessorKind, Workload,
};
use crate::record::{CaseRecord, RunRecord};
use crate::stats::median;

/// One measured speed and the question it answers, so that any later predictor can be held against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Registry id of the backend.
    pub framework: String,
    /// Id of the processor in the device.
    pub processor: String,
    pub model: String,
    pub precision: Precision,
    /// Measured tokens a second.
    pub tok_s: f64,
    /// The case in the fit's terms, with the device's rates as they were known then.
    pub(super) case: Observation,
    /// The run it was measured in.
    pub run: String,
}

impl Anchor {
    /// `decode` or `prefill`.
    pub fn task(&self) -> &'static str {
        self.case.task.name()
    }

    /// Measured over predicted speed, of the predictor in the binary.
    pub fn ratio(&self) -> f64 {
        self.tok_s / Params::embedded().task(self.case.task).speed(&self.case)
    }
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
        let mut latest: BTreeMap<(String, String, &str, String, Precision), Anchor> =
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
                        a.task(),
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
                (&b.framework, &b.processor, b.task(), &b.model, b.precision)
                    != (&a.framework, &a.processor, a.task(), &a.model, a.precision)
            });
            self.anchors.push(a);
        }
    }
}

/// A calibration with the predictor's answer to each anchor worked out.
#[derive(Debug, Clone, Default)]
pub(super) struct Corrections {
    device: String,
    anchors: Vec<(Anchor, f64)>,
}

impl From<Calibration> for Corrections {
    fn from(c: Calibration) -> Self {
        let sound = |r: &f64| r.is_finite() && *r > 0.0;
        let anchors = c.anchors.into_iter().map(|a| (a.ratio(), a));
        Self {
            device: c.device,
            anchors: anchors.filter(|(r, _)| sound(r)).map(|(r, a)| (a, r)).collect(),
        }
    }
}

impl Corrections {
    /// The class model's speed times what the anchors measured of it, and how many anchors apply: of the same precision
    /// where there are any. An anchor corrects the prediction for the rates it was made with, so that a later reading
    /// of the bandwidth does not move a calibrated prediction.
    pub fn apply(
        &self,
        q: &Query<'_>,
        o: &Observation,
        task: &SpeedParams,
    ) -> Option<(f64, usize)> {
        if self.device != q.device.id {
            return None;
        }
        let applies = |a: &&(Anchor, f64)| {
            a.0.framework == q.framework
                && a.0.processor == q.processor.id
                && a.0.case.task == o.task
        };
        let mut place: Vec<&(Anchor, f64)> = self.anchors.iter().filter(applies).collect();
        if place.iter().any(|a| a.0.precision == q.precision) {
            place.retain(|a| a.0.precision == q.precision);
        }
        let mut class: Vec<([u64; 3], f64)> = Vec::new();
        let mut speeds = Vec::with_capacity(place.len());
        for (anchor, ratio) in &place {
            let rates = anchor.case.rates();
            let key = rates.map(f64::to_bits);
            let known = class.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
            let speed = known.unwrap_or_else(|| {
                let speed = task.speed(&o.with_rates(rates));
                class.push((key, speed));
                speed
            });
            speeds.push(speed * ratio);
        }
        median(&speeds).map(|m| (m, speeds.len()))
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
    [(Task::Decode, Metric::DecodeTokS), (Task::Prefill, Metric::PrefillTokS)]
        .into_iter()
        .filter_map(|(task, metric)| {
            Some(Anchor {
                framework: case.case.backend.clone(),
                processor: processor.id.clone(),
                model: case.case.model.clone(),
                precision: case.case.precision,
                tok_s: median(case.samples(metric)).filter(|v| v.is_finite() && *v > 0.0)?,
                case: Observation { task, ..observe(&query).ok()? },
                run: run.to_owned(),
            })
        })
        .collect()
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

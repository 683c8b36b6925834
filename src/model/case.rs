//! One cell of a plan: a variant on a backend's device under a workload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Precision;

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Workload {
    /// Text generation: `pp<prompt>` and `tg<decode>` at a context depth, as llama-bench names them.
    Generate {
        prompt: u32,
        decode: u32,
        #[serde(default)]
        depth: u32,
    },
    /// One forward pass of a graph: embedding, vision, speech.
    Infer {
        batch: u32,
        /// Tokens or frames where the input is a sequence; 0 where the shape is fixed.
        #[serde(default)]
        length: u32,
    },
}

impl Workload {
    /// `pp512+tg128`, `pp512+tg128@d4096`, `b1`, `b1x128`.
    pub fn key(&self) -> String {
        match *self {
            Workload::Generate { prompt, decode, depth: 0 } => format!("pp{prompt}+tg{decode}"),
            Workload::Generate { prompt, decode, depth } => {
                format!("pp{prompt}+tg{decode}@d{depth}")
            }
            Workload::Infer { batch, length: 0 } => format!("b{batch}"),
            Workload::Infer { batch, length } => format!("b{batch}x{length}"),
        }
    }
}

/// One thing to measure. Equal cases have equal [`Case::id`]s, across runs and releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub model: String,
    pub precision: Precision,
    /// Registry id of the backend.
    pub backend: String,
    /// Device as the backend names it: `cpu`, `cuda:0`, `NPU`.
    pub device: String,
    pub workload: Workload,
    pub threads: u32,
    /// Backend options that change results (`kv=q8_0`, `ngl=20`), sorted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Case {
    /// Stable identity: `model/precision/backend/device/workload/tN[/k=v...]`.
    pub fn id(&self) -> String {
        let mut id = format!(
            "{}/{}/{}/{}/{}/t{}",
            self.model,
            self.precision,
            self.backend,
            self.device,
            self.workload.key(),
            self.threads
        );
        for (k, v) in &self.options {
            id.push_str(&format!("/{k}={v}"));
        }
        id
    }
}

/// How a case is sampled. Both minima must be met; either cap ends it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protocol {
    /// Fewest warm-up iterations; more follow until the slope over a window is flat.
    pub warmup_min: u32,
    pub warmup_max: u32,
    pub samples_min: u32,
    pub samples_max: u32,
    /// Measured time to reach, in seconds.
    pub seconds_min: f64,
    /// Measured time to stop at, in seconds.
    pub seconds_max: f64,
    /// Deadline of load and of any single iteration, in seconds.
    pub deadline_s: f64,
    /// CPU time of other processes, beyond the cores a case leaves free, above which it is invalid; in CPUs.
    pub foreign_cpus_max: f64,
    /// Longest wait before a case for the temperature to fall back to where the run began, in seconds.
    pub cooldown_s: f64,
    /// Length of the idle baseline that energy figures are relative to, in seconds; 0 measures no energy.
    pub idle_s: f64,
    /// Longest extra load for an energy counter that is too coarse for the samples, in seconds.
    pub energy_s: f64,
    /// Time of the sustained measurement after the samples, in seconds; 0 for none.
    pub sustain_s: f64,
    /// Also loads once with the variant's files out of the page cache, as after a boot.
    pub cold_load: bool,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            warmup_min: 2,
            warmup_max: 10,
            samples_min: 10,
            samples_max: 200,
            seconds_min: 10.0,
            seconds_max: 60.0,
            deadline_s: 300.0,
            foreign_cpus_max: 0.25,
            cooldown_s: 30.0,
            idle_s: 1.0,
            energy_s: 10.0,
            sustain_s: 0.0,
            cold_load: false,
        }
    }
}

impl Protocol {
    /// `--quick`: fewer samples, said so in every report.
    pub fn quick() -> Self {
        Self {
            warmup_min: 1,
            warmup_max: 3,
            samples_min: 3,
            samples_max: 10,
            seconds_min: 1.0,
            seconds_max: 10.0,
            deadline_s: 120.0,
            cooldown_s: 5.0,
            idle_s: 0.5,
            energy_s: 2.0,
            ..Self::default()
        }
    }
}

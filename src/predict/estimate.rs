//! The question a prediction answers, and its answer.

use serde::{Deserialize, Serialize};

use super::{KvPrecision, MemoryPlan};
use crate::model::{ComputeApi, Device, ModelSpec, Precision, Processor};

/// Evidence ladder, strongest first. A number never shows without its rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The same artefact ran on this device with this runtime.
    MeasuredHere,
    /// The class model corrected by anchors that ran on this device.
    CalibratedHere,
    /// This device's measured bandwidth and compute rate times the class efficiency.
    MeasuredProbe,
    /// The published specification times the class efficiency.
    Profile,
}

impl Rung {
    /// The tag tables print beside a number.
    pub fn tag(self) -> &'static str {
        match self {
            Rung::MeasuredHere => "measured here",
            Rung::CalibratedHere => "calibrated here",
            Rung::MeasuredProbe => "predicted from probe",
            Rung::Profile => "predicted from profile",
        }
    }
}

/// One number with its 90 % interval, its rung and the formula or source behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub rung: Rung,
    /// One line: the formula with its numbers, or the source.
    pub basis: String,
}

/// What limits the speed that was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    MemoryBandwidth,
    Compute,
    /// Fixed cost per layer and token: the model is small for this device.
    Overhead,
    /// The plan exceeds the memory of the processor.
    Capacity,
}

/// One candidate on one device.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    pub device: &'a Device,
    pub processor: &'a Processor,
    pub api: ComputeApi,
    /// Registry id of the backend.
    pub framework: &'a str,
    pub model: &'a ModelSpec,
    pub precision: Precision,
    /// Positions the KV cache is sized for.
    pub context: u64,
    /// Prompt tokens of the prefill and TTFT figures.
    pub prompt: u32,
    pub threads: Option<u32>,
    pub kv_precision: KvPrecision,
    /// Layers on the processor, the rest on the CPU; `None` for all of them.
    pub gpu_layers: Option<u32>,
}

/// Everything predicted of one candidate. `None` where it does not apply or is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Tokens a second at an empty context.
    pub decode_tok_s: Option<Estimate>,
    /// Tokens a second at a full context.
    pub decode_full_context_tok_s: Option<Estimate>,
    pub prefill_tok_s: Option<Estimate>,
    /// Warm time to first token in seconds: prefill and one decode step.
    pub ttft_s: Option<Estimate>,
    /// One inference of an encoder or vision model, seconds.
    pub latency_s: Option<Estimate>,
    /// Until the model is ready, in seconds, with its file in the page cache.
    pub load_s: Option<Estimate>,
    /// The same with the file on a disk whose rate is known.
    pub load_cold_s: Option<Estimate>,
    pub peak_memory_bytes: Estimate,
    /// Of the processor that decodes, where its power limit is known.
    pub energy_j_per_token: Option<Estimate>,
    pub memory: MemoryPlan,
    pub bottleneck: Bottleneck,
}

/// Why there is no prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrediction {
    #[error("the memory bandwidth of `{0}` is not known")]
    NoBandwidth(String),
    #[error("`{0}` has no tensors to read")]
    EmptyModel(String),
    #[error("no public measurement covers {0}")]
    NoCoverage(String),
}

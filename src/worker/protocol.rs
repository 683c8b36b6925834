//! The messages: one request line in, event lines out, then the worker exits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::{BackendDevice, BackendError, OpenRequest};
use crate::model::{
    EnergyFacts, Finding, HeatPoint, Metric, ModelKind, Phase, Precision, Protocol, Variant,
};
use crate::record::SessionFacts;

/// Both sides are the same binary; a mismatch means a foreign program answered.
pub const PROTOCOL_VERSION: u32 = 1;
/// Of this program: its worker is of the same.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a worker is asked to do, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// List the backend's devices.
    Devices { backend: String },
    /// Make a variant, or find it in the cache.
    Prepare(PrepareTask),
    /// Open a variant and measure it.
    Measure(Box<MeasureRequest>),
    /// Open a variant and keep its distributions as the reference of `quality`.
    Reference { backend: String, open: Box<OpenRequest>, quality: QualityTask },
    /// Open a graph and keep its outputs as the reference of `graph`.
    GraphReference { backend: String, open: Box<OpenRequest>, graph: GraphTask },
}

/// What a graph is fed, and the outputs it is compared with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GraphTask {
    pub kind: ModelKind,
    /// An input set: the first sample is timed, all are scored.
    pub inputs: PathBuf,
    /// FP32 outputs of every sample; `None` where quality is not measured.
    pub reference: Option<PathBuf>,
    /// Leading samples that are documents, the others being queries that rank them.
    pub documents: usize,
}

/// The text quality is measured on, and the reference's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QualityTask {
    /// Token ids, a chunk each; the second half of a chunk is scored.
    pub chunks: Vec<Vec<u32>>,
    pub reference: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PrepareTask {
    pub backend: String,
    pub model: String,
    pub source: PathBuf,
    pub precision: Precision,
    pub cache: PathBuf,
    pub corpus: Option<PathBuf>,
    /// Calibration inputs of a graph.
    #[serde(default)]
    pub inputs: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeasureRequest {
    pub backend: String,
    pub open: OpenRequest,
    pub protocol: Protocol,
    /// Seed of the prompt's token ids.
    pub seed: u64,
    /// Scored after everything else, where present.
    pub quality: Option<QualityTask>,
    /// What a graph needs; `None` for text.
    #[serde(default)]
    pub graph: Option<GraphTask>,
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Hello {
        protocol_version: u32,
        /// Of the program.
        #[serde(default)]
        version: String,
    },
    /// A phase began; its deadline starts anew.
    Phase {
        phase: Phase,
    },
    /// Still alive: restarts the phase's deadline.
    Progress {
        fraction: f64,
        step: String,
    },
    Devices {
        devices: Vec<BackendDevice>,
    },
    Variant {
        variant: Box<Variant>,
    },
    Facts {
        facts: Box<SessionFacts>,
    },
    /// `value` is `null` where it is not finite.
    Sample {
        metric: Metric,
        value: Option<f64>,
        warmup: bool,
    },
    Finding {
        finding: Finding,
    },
    /// Temperature and clock at the start or end of measuring; of the sustained part where it has a speed.
    Heat {
        point: HeatPoint,
    },
    Energy {
        facts: Box<EnergyFacts>,
    },
    Done,
    Error {
        error: WireError,
    },
}

/// A [`BackendError`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "message", rename_all = "snake_case")]
pub enum WireError {
    Unsupported(String),
    NotInstalled(String),
    OutOfMemory(String),
    Failed(String),
}

impl From<BackendError> for WireError {
    fn from(e: BackendError) -> Self {
        match e {
            BackendError::Unsupported(m) => WireError::Unsupported(m),
            BackendError::NotInstalled { hint } => WireError::NotInstalled(hint),
            BackendError::OutOfMemory(m) => WireError::OutOfMemory(m),
            BackendError::Failed(m) => WireError::Failed(m),
        }
    }
}

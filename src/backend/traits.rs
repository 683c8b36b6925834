//! What a framework must offer to be measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Metric, ModelKind, Precision, ProcessorKind, Tensor, Variant, Workload};
use crate::record::SessionFacts;
use crate::runtime::{ChildError, ScriptError};

/// The field's claim about a framework, shown beside what was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// Precisions the claim is about.
    pub about: &'static str,
    /// Memory saved against 16-bit, percent, low and high.
    pub memory_percent: (f64, f64),
    /// Speed-up against 16-bit, low and high.
    pub speedup: (f64, f64),
}

/// What is fixed about a backend.
#[derive(Debug)]
pub struct BackendInfo {
    /// Registry key, as typed on the command line.
    pub id: &'static str,
    /// Name in tables.
    pub framework: &'static str,
    pub homepage: &'static str,
    /// One phrase for the table's last column.
    pub use_case: &'static str,
    /// What it can make and run, widest first.
    pub precisions: &'static [Precision],
    pub kinds: &'static [ModelKind],
    pub claim: Option<Claim>,
    /// Command that installs it, for hints.
    pub install: &'static str,
    /// False for harness-only backends, which no recommendation or `all` includes.
    pub listed: bool,
}

/// Whether a backend can run here. A backend that cannot is listed all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    Ready { version: String },
    NotInstalled { hint: String },
    NotCompiled { feature: &'static str },
    Unsupported { reason: String },
}

impl Availability {
    pub fn is_ready(&self) -> bool {
        matches!(self, Availability::Ready { .. })
    }
}

/// A device as the framework itself lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendDevice {
    /// The framework's own id: `cpu`, `CUDA0`, `NPU`.
    pub id: String,
    pub kind: ProcessorKind,
    pub name: String,
    pub memory_total_bytes: Option<u64>,
    pub memory_free_bytes: Option<u64>,
    /// Why it cannot be used although the framework knows it (missing driver), empty otherwise.
    pub problem: String,
    /// Stands for others of the list, chosen by the framework: `all` leaves it out.
    #[serde(default)]
    pub alias: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A limit of the framework, not a defect: architecture, precision or operator it does not do.
    #[error("{0}")]
    Unsupported(String),
    #[error("not installed: {hint}")]
    NotInstalled { hint: String },
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    #[error("{0}")]
    Failed(String),
}

impl BackendError {
    /// Any error as a [`BackendError::Failed`], with its chain.
    pub fn failed(context: &str, error: impl std::error::Error) -> Self {
        let mut text = format!("{context}: {error}");
        let mut source = error.source();
        while let Some(e) = source {
            text.push_str(&format!(": {e}"));
            source = e.source();
        }
        BackendError::Failed(text)
    }

    /// How one of our Python scripts ended.
    pub fn of_script(error: ScriptError) -> Self {
        match error {
            ScriptError::Unsupported(why) => BackendError::Unsupported(why),
            ScriptError::OutOfMemory(why) => BackendError::OutOfMemory(why),
            other => BackendError::Failed(other.to_string()),
        }
    }
}

impl From<ChildError> for BackendError {
    fn from(e: ChildError) -> Self {
        match e {
            ChildError::Unsupported(why) => BackendError::Unsupported(why),
            ChildError::OutOfMemory(what) => BackendError::OutOfMemory(what),
            other => BackendError::Failed(other.to_string()),
        }
    }
}

/// Makes one variant of a source model.
pub struct PrepareRequest<'a> {
    pub model: &'a str,
    /// The source: a GGUF file, an ONNX file, or a directory.
    pub source: &'a Path,
    pub precision: Precision,
    /// Root of the content-addressed variant cache.
    pub cache: &'a Path,
    /// Calibration or importance text, where the precision needs one.
    pub corpus: Option<&'a Path>,
    /// Calibration inputs of a graph ([`crate::inputs::InputSet`]), where there are any.
    pub inputs: Option<&'a Path>,
    /// Called with a fraction in 0..=1 and the step's name.
    pub progress: &'a mut dyn FnMut(f64, &str),
}

/// Opens a variant for measuring.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenRequest {
    pub variant: Variant,
    pub device: String,
    pub threads: u32,
    pub workload: Workload,
    /// Most tokens that will be in context at once; 0 for graph workloads.
    pub context: u32,
    pub options: BTreeMap<String, String>,
}

/// A framework.
pub trait Backend: Send + Sync {
    fn info(&self) -> &'static BackendInfo;

    /// Of [`BackendInfo::precisions`] those it can make for this kind of work.
    fn precisions(&self, _: &Workload) -> &'static [Precision] {
        self.info().precisions
    }

    /// What `all` stands for: everything, unless speed is not what the engine is here for.
    fn usual_precisions(&self, workload: &Workload) -> &'static [Precision] {
        self.precisions(workload)
    }

    /// Cheap and safe in the main process: looks for files, loads no native code.
    fn availability(&self) -> Availability;

    /// Devices the framework offers. May load native code: called inside a worker.
    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError>;

    /// Makes the variant or finds it in the cache. Called inside a worker.
    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError>;

    /// Loads a variant; the harness times this call as load time. Called inside a worker.
    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError>;

    /// Files a machine needs for this backend to be ready, for `runtime list`.
    fn library(&self) -> Option<PathBuf> {
        None
    }
}

/// An opened model.
pub enum Session {
    Text(Box<dyn TextSession>),
    Graph(Box<dyn GraphSession>),
    Tool(Box<dyn ToolSession>),
}

/// Autoregressive text generation over token ids. Every call returns when the device is done.
pub trait TextSession {
    fn facts(&self) -> SessionFacts;

    fn vocabulary(&self) -> u32;

    /// Set where the engine is here for its answers rather than its speed: no warm-up, and no sample is begun
    /// after this time.
    fn time_box(&self) -> Option<Duration> {
        None
    }

    /// Forgets all context.
    fn reset(&mut self) -> Result<(), BackendError>;

    /// Appends `tokens` to the context and returns the greedy next token. Only last-position logits are computed.
    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError>;

    /// Appends one token and returns the greedy next one.
    fn decode(&mut self, token: u32) -> Result<u32, BackendError>;

    /// Appends `tokens`, teacher-forced, and hands each position's logits (`vocabulary` floats) to `sink` in order.
    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError>;
}

/// One-shot inference of a graph: embedding, vision, speech. Inputs are set once, then run repeatedly.
pub trait GraphSession {
    fn facts(&self) -> SessionFacts;

    /// Takes one inference's inputs, one tensor for each of the graph's; shapes may differ from call to call where the
    /// graph's axes are free.
    fn set_inputs(&mut self, inputs: &[Tensor]) -> Result<(), BackendError>;

    /// One inference of the batch.
    fn run(&mut self) -> Result<(), BackendError>;

    /// The last run's first floating-point output, flattened.
    fn output(&self) -> Result<Vec<f32>, BackendError>;

    /// Its axes, outermost first; `None` where the session does not know them.
    fn output_shape(&self) -> Option<Vec<usize>> {
        None
    }
}

/// A framework's own benchmark program, for a build that cannot be loaded as a library. It times itself, so its
/// facts say path `tool`.
pub trait ToolSession {
    /// Version and findings are complete after [`ToolSession::run`].
    fn facts(&self) -> SessionFacts;

    /// Runs the workload `repetitions` times and hands over each value it reports.
    fn run(
        &mut self,
        repetitions: u32,
        sink: &mut dyn FnMut(Metric, f64),
    ) -> Result<(), BackendError>;
}

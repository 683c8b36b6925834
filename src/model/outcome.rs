//! How a case can end, and what can be wrong with it: the whole error space as data.

use serde::{Deserialize, Serialize};

/// The step of a case that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Spawn,
    Prepare,
    Load,
    Warmup,
    Measure,
    Sustain,
    Quality,
    Teardown,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Phase::Spawn => "spawn",
            Phase::Prepare => "prepare",
            Phase::Load => "load",
            Phase::Warmup => "warm-up",
            Phase::Measure => "measure",
            Phase::Sustain => "sustain",
            Phase::Quality => "quality",
            Phase::Teardown => "teardown",
        };
        f.pad(name)
    }
}

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CaseOutcome {
    /// Measured, and every validity check passed.
    Completed,
    /// Measured, but a finding says the numbers do not count.
    Invalid { why: String },
    /// The backend cannot do this (architecture, precision, device).
    Unsupported { reason: String },
    /// The backend returned an error.
    Failed { error: String },
    /// The deadline of a phase passed; the worker was killed.
    TimedOut { phase: Phase },
    /// The worker died.
    Crashed { signal: Option<i32>, code: Option<i32> },
    /// The worker or its device ran out of memory.
    OutOfMemory { detail: String },
    /// The worker said something that is not the protocol.
    ProtocolError { detail: String },
    /// Not run; the reason says why (not installed, would not fit, interrupted).
    Skipped { reason: String },
}

impl CaseOutcome {
    pub fn is_completed(&self) -> bool {
        matches!(self, CaseOutcome::Completed)
    }

    /// True for ends that are a defect of the run rather than a known limit.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            CaseOutcome::Invalid { .. }
                | CaseOutcome::Failed { .. }
                | CaseOutcome::TimedOut { .. }
                | CaseOutcome::Crashed { .. }
                | CaseOutcome::OutOfMemory { .. }
                | CaseOutcome::ProtocolError { .. }
        )
    }

    /// The stable word used in tables and CSV.
    pub fn word(&self) -> &'static str {
        match self {
            CaseOutcome::Completed => "completed",
            CaseOutcome::Invalid { .. } => "invalid",
            CaseOutcome::Unsupported { .. } => "unsupported",
            CaseOutcome::Failed { .. } => "failed",
            CaseOutcome::TimedOut { .. } => "timed_out",
            CaseOutcome::Crashed { .. } => "crashed",
            CaseOutcome::OutOfMemory { .. } => "out_of_memory",
            CaseOutcome::ProtocolError { .. } => "protocol_error",
            CaseOutcome::Skipped { .. } => "skipped",
        }
    }

    /// The free text, where it has some.
    pub fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            CaseOutcome::Invalid { why: text }
            | CaseOutcome::Unsupported { reason: text }
            | CaseOutcome::Failed { error: text }
            | CaseOutcome::OutOfMemory { detail: text }
            | CaseOutcome::ProtocolError { detail: text }
            | CaseOutcome::Skipped { reason: text } => Some(text),
            CaseOutcome::Completed | CaseOutcome::TimedOut { .. } | CaseOutcome::Crashed { .. } => {
                None
            }
        }
    }

    /// One line for a reader: why, where there is a why.
    pub fn reason(&self) -> String {
        match self {
            CaseOutcome::Completed => String::new(),
            CaseOutcome::Invalid { why } => why.clone(),
            CaseOutcome::Unsupported { reason } | CaseOutcome::Skipped { reason } => reason.clone(),
            CaseOutcome::Failed { error } => error.clone(),
            CaseOutcome::TimedOut { phase } => format!("deadline passed during {phase}"),
            CaseOutcome::Crashed { signal: Some(s), .. } => format!("worker killed by signal {s}"),
            CaseOutcome::Crashed { code: Some(c), .. } => format!("worker exited with code {c}"),
            CaseOutcome::Crashed { .. } => "worker died".to_owned(),
            CaseOutcome::OutOfMemory { detail } | CaseOutcome::ProtocolError { detail } => {
                detail.clone()
            }
        }
    }
}

/// What a validity check or a backend noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    EmptyOutput,
    NonFiniteOutput,
    GarbageOutput,
    Throttled,
    StartedHot,
    OnBattery,
    ForeignLoad,
    WrongDevice,
    CpuFallback,
    Swapping,
    BeyondRoofline,
    Unstable,
    DebugBuild,
    MissingIsa,
    ScalarKernel,
    TooFewSamples,
    TensorFallback,
    Simulated,
    FunctionalReference,
    QualityReferenceBiased,
    Note,
}

impl FindingKind {
    /// True for what the machine did meanwhile: it says nothing of what was measured, and may be gone the next time.
    pub fn is_of_the_host(self) -> bool {
        use FindingKind as K;
        matches!(self, K::Throttled | K::StartedHot | K::OnBattery | K::ForeignLoad | K::Unstable)
    }
}

/// One typed finding with a hint a reader can act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// True where the finding makes the case's numbers invalid.
    pub invalidates: bool,
    pub detail: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Finding {
    pub fn note(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, invalidates: false, detail: detail.into(), hint: String::new() }
    }
    pub fn invalid(kind: FindingKind, detail: impl Into<String>) -> Self {
        Self { kind, invalidates: true, detail: detail.into(), hint: String::new() }
    }
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

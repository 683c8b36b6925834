//! What the user asks for, and the contradictions that can be seen before looking at any candidate.

use serde::{Deserialize, Serialize};

use crate::model::ModelKind;
use crate::predict::KvPrecision;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    Speed,
    Quality,
    Memory,
    /// Joules for each token.
    Energy,
    #[default]
    Balanced,
}

impl Objective {
    pub fn name(self) -> &'static str {
        match self {
            Objective::Speed => "speed",
            Objective::Quality => "quality",
            Objective::Memory => "memory",
            Objective::Energy => "energy",
            Objective::Balanced => "balanced",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workflow {
    Prototyping,
    Production,
}

/// Constraints and wishes. Bytes are bytes, quality is percent of the 16-bit model's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    pub workload: Option<ModelKind>,
    pub objective: Objective,
    /// Positions the KV cache must hold.
    pub context: u64,
    pub prompt: u32,
    pub max_memory_bytes: Option<u64>,
    pub max_disk_bytes: Option<u64>,
    pub min_decode_tok_s: Option<f64>,
    pub max_ttft_s: Option<f64>,
    pub min_quality: Option<f64>,
    pub workflow: Option<Workflow>,
    /// `linux`, `windows`, `macos`, `android`, `ios`, or `cross` for several.
    pub platform: Option<String>,
    pub enterprise: bool,
    pub offline: bool,
    pub open_licence: bool,
    pub low_power: bool,
    pub kv: KvPrecision,
    pub threads: Option<u32>,
    /// Only this framework.
    pub framework: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            workload: None,
            objective: Objective::Balanced,
            context: 4096,
            prompt: 512,
            max_memory_bytes: None,
            max_disk_bytes: None,
            min_decode_tok_s: None,
            max_ttft_s: None,
            min_quality: None,
            workflow: None,
            platform: None,
            enterprise: false,
            offline: false,
            open_licence: false,
            low_power: false,
            kv: KvPrecision::F16,
            threads: None,
            framework: None,
        }
    }
}

/// The request contradicts itself or the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct RequestError {
    pub what: String,
    pub hint: String,
}

impl Request {
    /// Contradictions that no candidate could satisfy.
    ///
    /// # Errors
    /// What contradicts what, and what to change.
    pub fn check(&self, model: &crate::model::ModelSpec) -> Result<(), RequestError> {
        let error = |what: String, hint: &str| Err(RequestError { what, hint: hint.to_owned() });
        if let Some(kind) = self.workload.filter(|k| *k != model.kind) {
            return error(
                format!(
                    "--workload {} contradicts `{}`, which is {}",
                    kind_name(kind),
                    model.name,
                    kind_name(model.kind)
                ),
                "leave --workload out where a model is named",
            );
        }
        if self.min_quality.is_some_and(|q| !(0.0..=100.0).contains(&q)) {
            return error(
                "--min-quality is a percentage of the 16-bit model's quality".to_owned(),
                "95 keeps nearly everything, 75 is rough",
            );
        }
        // One inference of an embedding, vision or speech model keeps no context.
        let generates = model.kind.generates();
        if generates && model.context_length > 0 && self.context > model.context_length {
            return error(
                format!(
                    "--context {} is longer than the {} tokens `{}` was made for",
                    self.context, model.context_length, model.name
                ),
                "give at most the model's own context",
            );
        }
        if self.min_quality.is_some_and(|q| q > 99.5) && self.objective == Objective::Memory {
            return error(
                "--objective memory contradicts a quality floor above 99.5 %".to_owned(),
                "use --objective balanced, or a floor of 95 or less",
            );
        }
        if self.platform.as_deref() == Some("cross") && self.framework.as_deref() == Some("mlx") {
            return error(
                "--platform cross contradicts --framework mlx: MLX runs on Apple silicon only"
                    .to_owned(),
                "drop one of the two",
            );
        }
        Ok(())
    }
}

pub(super) fn kind_name(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Llm => "llm",
        ModelKind::Embedding => "embedding",
        ModelKind::Vision => "vision",
        ModelKind::Speech => "speech",
        ModelKind::Multimodal => "multimodal",
    }
}

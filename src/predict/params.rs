//! The fitted-parameter file: every number the predictor uses, with the command that made it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Fitted on public rows, embedded in the binary.
const EMBEDDED: &str = include_str!("../../profiles/predictor.toml");

#[derive(Debug, thiserror::Error)]
#[error("predictor parameters: {0}")]
pub struct ParamsError(String);

/// Buffers a backend allocates beside weights and cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryParams {
    /// Tokens computed at once in prefill.
    pub micro_batch: u64,
    /// Whether logits of the whole micro-batch are reserved.
    pub logits_for_batch: bool,
    /// Whether attention scores of the whole micro-batch exist at once.
    pub materialises_scores: bool,
    /// Resident bytes of the process with nothing loaded.
    pub runtime_bytes: u64,
    /// Where the figures come from.
    pub source: String,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// By backend id; `default` must exist.
    pub memory: BTreeMap<String, MemoryParams>,
    /// Efficiency, fixed cost and residual spread by compute API.
    pub decode: BTreeMap<String, ClassParams>,
    pub prefill: BTreeMap<String, ClassParams>,
}

/// `t = work / (efficiency * rate) + layers * tau_s`, log-residual quantiles 5 % and 95 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassParams {
    pub efficiency: f64,
    pub tau_s: f64,
    pub residual_low: f64,
    pub residual_high: f64,
}

impl Params {
    /// The parameters in the binary.
    pub fn embedded() -> &'static Params {
        static PARAMS: OnceLock<Params> = OnceLock::new();
        PARAMS.get_or_init(|| {
            Params::parse(EMBEDDED).expect("the embedded parameters are checked by a test")
        })
    }

    /// Reads a parameter file.
    pub fn parse(text: &str) -> Result<Params, ParamsError> {
        let params: Params = toml::from_str(text).map_err(|e| ParamsError(e.to_string()))?;
        for (section, has) in [
            ("memory", params.memory.contains_key("default")),
            ("decode", params.decode.contains_key("default")),
            ("prefill", params.prefill.contains_key("default")),
        ] {
            if !has {
                return Err(ParamsError(format!("[{section}] has no `default`")));
            }
        }
        Ok(params)
    }

    pub(super) fn memory(&self, backend: &str) -> &MemoryParams {
        self.memory.get(backend).unwrap_or_else(|| &self.memory["default"])
    }
}

//! The fitted-parameter file: every coefficient and interval, with the command that made it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::load::LoadParams;
use super::observation::{Observation, Task};

/// Fitted on public rows, embedded in the binary.
const EMBEDDED: &str = include_str!("../../profiles/predictor.toml");

#[derive(Debug, thiserror::Error)]
#[error("predictor parameters: {0}")]
pub struct ParamsError(String);

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    pub meta: Meta,
    pub decode: SpeedParams,
    pub prefill: SpeedParams,
    /// By backend.
    #[serde(default)]
    pub load: BTreeMap<String, LoadParams>,
}

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// The command line that wrote the file.
    pub command: String,
    pub rows: usize,
    pub devices: usize,
}

/// One task's model: `time = sum over parts of ideal time * exp(sum of coefficients * values)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedParams {
    pub overhead_s: f64,
    pub bandwidth: BTreeMap<String, f64>,
    pub compute: BTreeMap<String, f64>,
    pub overhead: BTreeMap<String, f64>,
    /// 5 % and 95 % quantile of measured / predicted time on devices left out, by backend; `default` for the others.
    pub interval: BTreeMap<String, Interval>,
    /// The same for other models on a device that rows were fitted for.
    #[serde(default)]
    pub known: BTreeMap<String, Interval>,
    /// The same once one anchor of the device and backend corrects the prediction.
    pub calibrated: Interval,
}

/// Factors on a predicted speed that hold 90 % of devices left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// Devices behind it.
    pub devices: usize,
}

/// Seconds by part: bandwidth, compute, overhead; for one token (decode) or the prompt (prefill).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parts {
    pub seconds: [f64; 3],
    /// Ideal seconds at full rate, before effects.
    pub ideal: [f64; 3],
}

impl Parts {
    pub fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }
}

impl Params {
    /// The parameters in the binary.
    pub fn embedded() -> &'static Params {
        static PARAMS: OnceLock<Params> = OnceLock::new();
        PARAMS.get_or_init(|| Params::parse(EMBEDDED).expect("embedded parameters, read by a test"))
    }

    /// Reads a parameter file.
    pub fn parse(text: &str) -> Result<Params, ParamsError> {
        let params: Params = toml::from_str(text).map_err(|e| ParamsError(e.to_string()))?;
        for task in [&params.decode, &params.prefill] {
            let known = task.known.is_empty() || task.known.contains_key("default");
            if !task.interval.contains_key("default") || !known {
                return Err(ParamsError("no default interval".to_owned()));
            }
        }
        Ok(params)
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).unwrap_or_default();
        format!("# Made by the command below from public rows; do not edit.\n\n{body}")
    }

    pub(super) fn task(&self, task: Task) -> &SpeedParams {
        match task {
            Task::Decode => &self.decode,
            Task::Prefill => &self.prefill,
        }
    }
}

impl SpeedParams {
    /// Predicted time by part. An effect without a coefficient counts as zero: the general ones carry it.
    pub(super) fn parts(&self, o: &Observation) -> Parts {
        let ideal = o.ideal(self.overhead_s);
        let mut ln = ideal.map(f64::ln);
        let tables = [&self.bandwidth, &self.compute, &self.overhead];
        for e in o.effects() {
            let part = e.part as usize;
            if let Some(c) = tables[part].get(&e.name) {
                ln[part] += c * e.value;
            }
        }
        Parts { seconds: ln.map(f64::exp), ideal }
    }

    /// Predicted tokens a second.
    pub(super) fn speed(&self, o: &Observation) -> f64 {
        o.tokens() / self.parts(o).total()
    }

    pub(super) fn interval(&self, o: &Observation) -> &Interval {
        let table =
            if self.knows(o) && !self.known.is_empty() { &self.known } else { &self.interval };
        table.get(o.group()).unwrap_or_else(|| &table["default"])
    }

    /// True where rows of this device and backend were fitted.
    pub(super) fn knows(&self, o: &Observation) -> bool {
        let tables = [&self.bandwidth, &self.compute];
        o.of_device().is_some_and(|name| tables.iter().any(|t| t.contains_key(&name)))
    }
}

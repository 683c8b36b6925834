//! What changes from minute to minute on a host, kept apart from the fingerprint.

use serde::{Deserialize, Serialize};

/// A snapshot taken before and after a case; `None` where the host does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostState {
    /// CPU time used by processes other than ours since the last snapshot, in CPUs (1.0 = one full core).
    pub foreign_cpus: Option<f64>,
    /// Current clock of the fastest allowed core in MHz.
    pub clock_mhz: Option<f64>,
    /// Hottest CPU or package sensor in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Throttle events since boot, all sources added.
    pub throttle_events: Option<u64>,
    pub governor: Option<String>,
    pub on_battery: Option<bool>,
    pub memory_available_bytes: Option<u64>,
    /// Pages swapped in since boot.
    pub swapped_in_pages: Option<u64>,
    /// GPU load by other processes, percent.
    pub gpu_foreign_percent: Option<f64>,
}

/// Speed, temperature and clock at one moment of a case, under the case's own load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatPoint {
    /// Since the first point of its list.
    pub seconds: f64,
    /// Tokens or inferences a second over the window that ends here; `None` where none was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Of the processor that runs the case: its hottest sensor.
    pub temperature_c: Option<f64>,
    pub clock_mhz: Option<f64>,
    /// Reasons that slow the processor down now, as the driver or firmware names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<String>,
}

/// The wait before a case for the device to be as cool as at the start of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cooldown {
    pub waited_s: f64,
    /// When the wait ended.
    pub temperature_c: f64,
    /// At the start of the run.
    pub target_c: f64,
    /// True where the longest wait passed first.
    pub still_hot: bool,
}

/// Where a case's energy figures come from, or why there are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnergyFacts {
    /// Counters that were read, `RAPL package-0`; empty where none could be.
    pub source: String,
    /// What they cover: `CPU package`, `GPU board`, `board`, `whole device`.
    pub scope: String,
    /// Power of the idle machine just before the case, in watts: subtracted from every figure.
    pub idle_w: Option<f64>,
    /// Energy of the measured spans, the idle share included, in joules.
    pub total_j: f64,
    /// Length of those spans.
    pub total_s: f64,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub missing: String,
    /// What permission or setting would help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

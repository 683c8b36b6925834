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

//! Everything the probe finds, each fact with its source. [`ProbeReport::device`] is the compact view of it.

use serde::{Deserialize, Serialize};

use super::capability::Measured;
use super::host::{Access, Loader};
use crate::model::{ComputeApi, DeviceClass, DeviceProblem, Fact, Isa};

/// A fact, or nothing where the host does not tell.
pub type Known<T> = Option<Fact<T>>;

/// What is here, what it can do, what this process may use of it, and what is odd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProbeReport {
    /// Stable over reboots and idle probes; see docs/fingerprint.md.
    pub fingerprint: String,
    pub system: System,
    pub cpu: Cpu,
    pub memory: Memory,
    pub allowed: Allowed,
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    #[serde(default)]
    pub npus: Vec<Npu>,
    /// Compute libraries that were looked for.
    #[serde(default)]
    pub apis: Vec<ApiState>,
    pub power: Power,
    /// Present after `--measure`, or from the cache of an equal fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    #[serde(default)]
    pub problems: Vec<DeviceProblem>,
    /// Facts that only root may read here.
    #[serde(default)]
    pub root_would_add: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct System {
    pub os: String,
    pub arch: String,
    pub kernel: Known<String>,
    pub distribution: Known<String>,
    /// Board or computer, as its maker names it.
    pub machine: Known<String>,
    /// Device-tree `compatible` strings, most specific first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compatible: Vec<String>,
    /// System on chip, by device tree, soc0 or sysctl.
    pub soc: Known<String>,
    pub class: Known<DeviceClass>,
    pub hypervisor: Known<String>,
    pub container: Known<String>,
    pub wsl: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CoreKind {
    #[default]
    Performance,
    Efficiency,
}

/// Cores of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CoreGroup {
    pub kind: CoreKind,
    /// `Cortex-A76`, `zen5c`; empty where the host does not tell.
    pub name: String,
    pub cores: u32,
    /// Logical CPUs as a list, `0-7`.
    pub cpus: String,
    pub max_mhz: Option<f64>,
    /// The rule or file that told them apart.
    pub by: String,
}

/// Caches of one level and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Cache {
    pub level: u32,
    /// `data`, `instruction`, `unified`.
    pub kind: String,
    pub bytes: u64,
    pub instances: u32,
    /// Logical CPUs that share one.
    pub shared_by: u32,
    pub line_bytes: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct NumaNode {
    pub id: u32,
    pub cpus: String,
    pub memory_bytes: Option<u64>,
}

/// A kernel mitigation that costs speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mitigation {
    pub name: String,
    pub state: String,
    pub costs: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Cpu {
    pub vendor: Known<String>,
    pub model: Known<String>,
    pub microarchitecture: Known<String>,
    pub sockets: Known<u32>,
    pub cores: Known<u32>,
    pub threads: Known<u32>,
    pub groups: Vec<CoreGroup>,
    pub base_mhz: Known<f64>,
    pub max_mhz: Known<f64>,
    pub caches: Vec<Cache>,
    pub numa: Vec<NumaNode>,
    pub isa: Known<Vec<Isa>>,
    pub smt: Known<bool>,
    pub governor: Known<String>,
    /// Energy-performance preference, where the driver has one.
    pub energy_preference: Known<String>,
    pub mitigations: Vec<Mitigation>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Memory {
    pub total_bytes: Known<u64>,
    pub available_bytes: Known<u64>,
    pub swap_bytes: Known<u64>,
    pub swap_free_bytes: Known<u64>,
    /// `DDR5`, `LPDDR5X`.
    pub kind: Known<String>,
    pub speed_mts: Known<u32>,
    /// Memory sticks or packages that are fitted.
    pub modules: Known<u32>,
    /// Peak bandwidth in GB/s that follows from the modules' width and speed, or from a part table.
    pub peak_gbs: Known<f64>,
    pub huge_page_bytes: Known<u64>,
    pub huge_pages: Known<u64>,
    /// `always`, `madvise`, `never`.
    pub transparent_huge_pages: Known<String>,
    /// True where CPU and GPU compute from the same memory.
    pub unified: Known<bool>,
}

/// What this process may use, the tightest of host, cgroups, affinity and user limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Allowed {
    /// CPU time a second of wall time.
    pub cpus: Known<f64>,
    /// Logical CPUs it may run on.
    pub cpu_list: Known<String>,
    /// Threads worth starting.
    pub threads: u32,
    pub memory_bytes: Known<u64>,
    pub memory_available_bytes: Known<u64>,
    /// `v1`, `v2`, `hybrid`.
    pub cgroup: Known<String>,
    pub cgroup_cpus: Known<f64>,
    pub cgroup_memory_bytes: Known<u64>,
    pub cgroup_memory_used_bytes: Known<u64>,
    pub cgroup_swap_bytes: Known<u64>,
    pub address_space_bytes: Known<u64>,
    pub locked_memory_bytes: Known<u64>,
    pub open_files: Known<u64>,
    pub disk_free_bytes: Known<u64>,
    /// Periods in which the quota stopped this group, since it was made.
    pub throttled_periods: Known<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GpuKind {
    Integrated,
    Discrete,
    Virtual,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gpu {
    pub kind: Fact<GpuKind>,
    pub vendor: String,
    pub name: Fact<String>,
    /// `ada`, `rdna3.5`, `xe2`, `adreno-7`.
    #[serde(default)]
    pub architecture: Known<String>,
    /// True for a laptop part, whose clocks and power differ from its desktop namesake.
    #[serde(default)]
    pub laptop_part: Known<bool>,
    /// `0000:01:00.0`, or the node it hangs on.
    pub bus: String,
    /// `10de:2684`; empty off PCI.
    #[serde(default)]
    pub pci_id: String,
    #[serde(default)]
    pub driver: Known<String>,
    /// Driver of the kernel bound to it, and whether its node can be opened.
    #[serde(default)]
    pub node: Option<(String, Access)>,
    /// Memory of its own; a carve-out of system memory is not counted here.
    #[serde(default)]
    pub memory_bytes: Known<u64>,
    #[serde(default)]
    pub memory_free_bytes: Known<u64>,
    /// System memory it may map (GTT), integrated parts.
    #[serde(default)]
    pub shared_memory_bytes: Known<u64>,
    #[serde(default)]
    pub unified: bool,
    #[serde(default)]
    pub bandwidth_gbs: Known<f64>,
    #[serde(default)]
    pub fp32_tflops: Known<f64>,
    #[serde(default)]
    pub fp16_tflops: Known<f64>,
    #[serde(default)]
    pub cores: Known<u32>,
    /// CUDA compute capability, `8.9`.
    #[serde(default)]
    pub compute_capability: Known<String>,
    #[serde(default)]
    pub cuda: Known<String>,
    #[serde(default)]
    pub pcie_gen: Known<u32>,
    #[serde(default)]
    pub pcie_gen_max: Known<u32>,
    #[serde(default)]
    pub pcie_width: Known<u32>,
    #[serde(default)]
    pub pcie_width_max: Known<u32>,
    #[serde(default)]
    pub clock_mhz: Known<u32>,
    #[serde(default)]
    pub clock_max_mhz: Known<u32>,
    #[serde(default)]
    pub power_limit_w: Known<f64>,
    #[serde(default)]
    pub temperature_c: Known<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttle: Vec<String>,
    #[serde(default)]
    pub mig: Known<bool>,
    #[serde(default)]
    pub ecc: Known<bool>,
    #[serde(default)]
    pub load_percent: Known<u32>,
    #[serde(default)]
    pub foreign_processes: Known<u32>,
    pub apis: Vec<ComputeApi>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Npu {
    pub vendor: String,
    pub name: Fact<String>,
    /// `npu3720`, `xdna2`, `hexagon-v75`.
    #[serde(default)]
    pub generation: String,
    /// PCI id or device-tree string it was known by.
    pub id: String,
    #[serde(default)]
    pub driver: Known<String>,
    #[serde(default)]
    pub node: Option<(String, Access)>,
    /// Dense INT8, as published.
    #[serde(default)]
    pub int8_tops: Known<f64>,
    #[serde(default)]
    pub busy_us: Known<u64>,
    pub apis: Vec<ComputeApi>,
}

/// A compute library and what loading it told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiState {
    pub api: ComputeApi,
    pub library: String,
    pub state: Loader,
    /// Drivers registered with the loader (Vulkan and OpenCL ICD files).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Power {
    pub on_battery: Known<bool>,
    pub battery_percent: Known<u32>,
    /// `performance`, `balanced`, `low-power`.
    pub profile: Known<String>,
    pub thermal: Vec<Thermal>,
    pub throttle_events: Known<u64>,
    /// Reasons that slow the machine down now.
    pub throttled_now: Vec<String>,
    pub energy: Vec<EnergyCounter>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Thermal {
    pub name: String,
    pub celsius: f64,
    /// Trip point at which the kernel slows the device down.
    pub passive_celsius: Option<f64>,
    pub critical_celsius: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EnergyCounter {
    /// `package-0`, `VDD_IN`, `gpu0`.
    pub name: String,
    pub path: String,
    pub readable: bool,
}

//! What NVIDIA's management library says, as plain data: read on a thread with a deadline, because drivers can hang.

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml, error::NvmlError};
use serde::{Deserialize, Serialize};

/// The library's answer; also the form in which recordings keep it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NvmlSnapshot {
    /// The library is not installed.
    #[default]
    Absent,
    /// It is installed and does not initialise.
    Broken { why: String },
    /// It did not answer in time.
    TimedOut,
    Ready {
        driver: String,
        /// CUDA version the driver supports, `12.4`.
        cuda: String,
        #[serde(default)]
        gpus: Vec<NvmlGpu>,
    },
}

/// One GPU as NVML sees it. No UUID or serial number is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NvmlGpu {
    pub name: String,
    /// PCI address, `0000:01:00.0`.
    pub pci: String,
    /// PCI device id, e.g. 0x2684.
    pub device_id: u32,
    pub compute_major: i32,
    pub compute_minor: i32,
    pub architecture: String,
    pub memory_total: Option<u64>,
    pub memory_free: Option<u64>,
    pub memory_bus_bits: Option<u32>,
    pub cores: Option<u32>,
    pub pcie_gen: Option<u32>,
    pub pcie_gen_max: Option<u32>,
    pub pcie_width: Option<u32>,
    pub pcie_width_max: Option<u32>,
    pub clock_mhz: Option<u32>,
    pub clock_max_mhz: Option<u32>,
    pub memory_clock_max_mhz: Option<u32>,
    pub power_limit_mw: Option<u32>,
    pub power_default_mw: Option<u32>,
    pub energy_mj: Option<u64>,
    pub temperature_c: Option<u32>,
    /// Reasons that slow the GPU down now; idling is not one.
    pub throttle: Vec<String>,
    pub mig: Option<bool>,
    pub ecc: Option<bool>,
    pub utilization_percent: Option<u32>,
    /// SM load by processes other than ours, percent.
    pub foreign_percent: Option<u32>,
    /// Processes of others that hold memory on it.
    pub foreign_processes: Option<u32>,
}

/// Reads everything; the caller sets the deadline.
pub(crate) fn read() -> NvmlSnapshot {
    let nvml = match open() {
        Ok(nvml) => nvml,
        Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => {
            return NvmlSnapshot::Absent;
        }
        Err(e) => return NvmlSnapshot::Broken { why: e.to_string() },
    };
    let count = nvml.device_count().unwrap_or(0).min(64);
    let gpus = (0..count).filter_map(|i| nvml.device_by_index(i).ok()).map(|d| gpu(&d)).collect();
    let cuda = nvml.sys_cuda_driver_version().map_or_else(
        |_| String::new(),
        |v| {
            let major = nvml_wrapper::cuda_driver_version_major(v);
            format!("{major}.{}", nvml_wrapper::cuda_driver_version_minor(v))
        },
    );
    let driver = nvml.sys_driver_version().unwrap_or_default();
    NvmlSnapshot::Ready { driver, cuda, gpus }
}

/// What changes from moment to moment on one GPU.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NvmlNow {
    /// Energy since the driver was loaded, millijoules.
    pub energy_mj: Option<u64>,
    pub temperature_c: Option<u32>,
    pub clock_mhz: Option<u32>,
    pub throttle: Vec<String>,
}

/// The library stays open between calls: opening it takes longer than a decode step.
pub(crate) fn now(index: u32) -> Option<NvmlNow> {
    static OPEN: std::sync::OnceLock<Option<Nvml>> = std::sync::OnceLock::new();
    let d = OPEN.get_or_init(|| open().ok()).as_ref()?.device_by_index(index).ok()?;
    Some(NvmlNow {
        energy_mj: d.total_energy_consumption().ok(),
        temperature_c: d.temperature(TemperatureSensor::Gpu).ok(),
        clock_mhz: d.clock_info(Clock::SM).ok(),
        throttle: throttle(&d),
    })
}

/// Which of NVIDIA's GPUs a backend's device name means: `cuda:1`, `CUDA0`, `gpu`. `None` without a driver.
pub(crate) fn index(host: &dyn super::Host, device: &str) -> Option<u32> {
    let device = device.to_lowercase();
    let driver = host.os() == "windows" || host.exists("/proc/driver/nvidia/version");
    if !driver || !(device.contains("cuda") || device.contains("gpu")) {
        return None;
    }
    let digits = device.trim_start_matches(|c: char| !c.is_ascii_digit());
    Some(digits.parse().unwrap_or(0))
}

/// Distributions without development packages have only the versioned name; WSL keeps it off the path.
fn open() -> Result<Nvml, NvmlError> {
    let mut result = Nvml::init();
    for path in ["libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"] {
        if cfg!(unix) && matches!(result, Err(NvmlError::LibloadingError(_))) {
            result = Nvml::builder().lib_path(path.as_ref()).init();
        }
    }
    result
}

fn gpu(d: &Device) -> NvmlGpu {
    let memory = d.memory_info().ok();
    let compute = d.cuda_compute_capability().ok();
    let pci = d.pci_info().ok();
    NvmlGpu {
        name: d.name().unwrap_or_default(),
        pci: pci.as_ref().map_or_else(String::new, |p| short_pci(&p.bus_id)),
        device_id: pci.map_or(0, |p| p.pci_device_id >> 16),
        compute_major: compute.as_ref().map_or(0, |c| c.major),
        compute_minor: compute.map_or(0, |c| c.minor),
        architecture: d.architecture().map_or_else(|_| String::new(), |a| format!("{a:?}")),
        memory_total: memory.as_ref().map(|m| m.total),
        memory_free: memory.map(|m| m.free),
        memory_bus_bits: d.memory_bus_width().ok(),
        cores: d.num_cores().ok(),
        pcie_gen: d.current_pcie_link_gen().ok(),
        pcie_gen_max: d.max_pcie_link_gen().ok(),
        pcie_width: d.current_pcie_link_width().ok(),
        pcie_width_max: d.max_pcie_link_width().ok(),
        clock_mhz: d.clock_info(Clock::SM).ok(),
        clock_max_mhz: d.max_clock_info(Clock::SM).ok(),
        memory_clock_max_mhz: d.max_clock_info(Clock::Memory).ok(),
        power_limit_mw: d.enforced_power_limit().ok(),
        power_default_mw: d.power_management_limit_default().ok(),
        energy_mj: d.total_energy_consumption().ok(),
        temperature_c: d.temperature(TemperatureSensor::Gpu).ok(),
        throttle: throttle(d),
        mig: d.mig_mode().ok().map(|m| m.current == 1),
        ecc: d.is_ecc_enabled().ok().map(|e| e.currently_enabled),
        utilization_percent: d.utilization_rates().ok().map(|u| u.gpu),
        foreign_percent: foreign_percent(d),
        foreign_processes: foreign_processes(d),
    }
}

fn throttle(d: &Device) -> Vec<String> {
    let Ok(reasons) = d.current_throttle_reasons() else { return Vec::new() };
    let names = reasons.iter_names().map(|(name, _)| name);
    names.filter(|n| !matches!(*n, "GPU_IDLE" | "NONE")).map(str::to_lowercase).collect()
}

fn foreign_percent(d: &Device) -> Option<u32> {
    let own = std::process::id();
    let samples = d.process_utilization_stats(None).ok()?;
    // The samples reach back some seconds: a worker that has ended is in them and loads nothing any more.
    let ended = |pid: u32| {
        cfg!(target_os = "linux") && !std::path::Path::new(&format!("/proc/{pid}")).exists()
    };
    let foreign = samples.iter().filter(|s| s.pid != own && !ended(s.pid));
    Some(foreign.map(|s| s.sm_util).sum::<u32>().min(100))
}

fn foreign_processes(d: &Device) -> Option<u32> {
    let own = std::process::id();
    let running = d.running_compute_processes().ok()?;
    u32::try_from(running.iter().filter(|p| p.pid != own).count()).ok()
}

/// NVML writes an eight-digit domain; the kernel four.
fn short_pci(bus_id: &str) -> String {
    let lower = bus_id.to_lowercase();
    lower.strip_prefix("0000").filter(|r| r.len() == 12).map_or(lower.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn pci_addresses_get_the_kernels_form() {
        assert_eq!(super::short_pci("00000000:01:00.0"), "0000:01:00.0");
        assert_eq!(super::short_pci("0000:C1:00.0"), "0000:c1:00.0");
        assert_eq!(super::short_pci("00010000:01:00.0"), "00010000:01:00.0");
    }
}

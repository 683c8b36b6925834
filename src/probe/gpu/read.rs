//! Collects GPUs of every vendor, each once.

use super::{bus, nvidia, soc};
use crate::model::{ComputeApi, DeviceProblem, Fact};
use crate::probe::host::{Access, Host};
use crate::probe::nvml::NvmlSnapshot;
use crate::probe::pci::PciDevice;
use crate::probe::report::{Gpu, GpuKind};
use crate::probe::{parse, windows};

pub(crate) fn read(
    host: &dyn Host,
    pci: &[PciDevice],
    problems: &mut Vec<DeviceProblem>,
) -> Vec<Gpu> {
    if host.os() == "windows" {
        return from_windows(host, problems);
    }
    let mut gpus = from_nvml(host, pci, problems);
    for device in pci.iter().filter(|d| bus::is_gpu(d)) {
        match gpus.iter_mut().find(|g| g.bus == device.address) {
            // NVML knows more; the kernel's link facts fill what it left out.
            Some(known) => {
                known.kind = match known.unified {
                    true => known.kind.clone(),
                    false => Fact::reported(GpuKind::Discrete, "NVML and PCI"),
                };
            }
            None => gpus.extend(bus::gpu(host, device)),
        }
    }
    // A SoC's GPU that NVML already named (Tegra, GB10) is not a second one.
    if !gpus.iter().any(|g| g.unified) {
        gpus.extend(soc::gpu(host));
    }
    gpus.sort_by_key(|g| g.kind.value != GpuKind::Discrete);
    gpus.truncate(64);
    for gpu in &gpus {
        report(gpu, problems);
    }
    gpus
}

fn from_nvml(host: &dyn Host, pci: &[PciDevice], problems: &mut Vec<DeviceProblem>) -> Vec<Gpu> {
    let here = pci.iter().any(|d| d.vendor() == "10de" && bus::is_gpu(d));
    let mut add = |what: String, hint: &str| {
        problems.push(DeviceProblem { what, hint: hint.to_owned() });
    };
    match host.nvml() {
        NvmlSnapshot::Ready { driver, cuda, gpus } => {
            return gpus.iter().take(64).map(|n| nvidia::gpu(n, &driver, &cuda)).collect();
        }
        NvmlSnapshot::Broken { why } => add(
            format!("NVML does not initialise: {}", parse::clean(&why)),
            "check that the NVIDIA driver is loaded and matches its library",
        ),
        NvmlSnapshot::TimedOut => add(
            "NVML did not answer in time".into(),
            "the NVIDIA driver may be stuck; `nvidia-smi` will hang as well",
        ),
        NvmlSnapshot::Absent if here => add(
            "an NVIDIA GPU without its driver's library (libnvidia-ml)".into(),
            "install the NVIDIA driver, or run the container with --gpus all",
        ),
        NvmlSnapshot::Absent => {}
    }
    Vec::new()
}

fn report(gpu: &Gpu, problems: &mut Vec<DeviceProblem>) {
    let name = &gpu.name.value;
    if let Some((path, Access::Denied)) = &gpu.node {
        problems.push(DeviceProblem {
            what: format!("{name} is present but {path} is not accessible to this user"),
            hint: "add the user to the `render` (or `video`) group and log in again".into(),
        });
    }
    if gpu.driver.is_none() && gpu.vendor != "NVIDIA" && !gpu.pci_id.is_empty() {
        problems.push(DeviceProblem {
            what: format!("{name} has no kernel driver"),
            hint: "install its driver, or use a newer kernel".into(),
        });
    }
    for reason in &gpu.throttle {
        problems.push(DeviceProblem {
            what: format!("{name} is slowed down now: {reason}"),
            hint: "check its cooling and power limit before measuring".into(),
        });
    }
    let narrow = gpu.pcie_width.as_ref().zip(gpu.pcie_width_max.as_ref());
    if let Some((now, most)) = narrow.filter(|(now, most)| now.value < most.value && !gpu.unified) {
        problems.push(DeviceProblem {
            what: format!("{name} runs on {} of {} PCIe lanes", now.value, most.value),
            hint: "loading a model takes longer; try the slot nearest the CPU".into(),
        });
    }
}

/// Windows lists adapters by name and PnP id; NVML adds what it knows of NVIDIA's.
fn from_windows(host: &dyn Host, problems: &mut Vec<DeviceProblem>) -> Vec<Gpu> {
    let mut gpus = from_nvml(host, &[], problems);
    let text = windows::text(host).unwrap_or_default();
    let class = "Win32_VideoController";
    for i in 0..16 {
        let Some(name) = windows::value(&text, class, i, "Name") else { break };
        let pnp = windows::value(&text, class, i, "PNPDeviceID").unwrap_or_default();
        let Some(id) = windows::pci_id(pnp) else {
            // An SoC's GPU hangs on ACPI, not PCI.
            if pnp.starts_with("ACPI") {
                gpus.extend(windows_soc(name));
            }
            continue;
        };
        if gpus.iter().any(|g| g.pci_id == id) {
            continue;
        }
        let device = PciDevice {
            address: format!("windows-{i}"),
            class: 0x0300,
            id,
            revision: 0,
            driver: Some("windows".into()),
        };
        let Some(mut gpu) = bus::gpu(host, &device) else { continue };
        gpu.name = Fact::reported(parse::clean(name), class);
        let version = windows::value(&text, class, i, "DriverVersion");
        gpu.driver = version.map(|v| Fact::reported(parse::clean(v), class));
        gpu.apis.push(ComputeApi::DirectMl);
        gpus.push(gpu);
    }
    gpus
}

fn windows_soc(name: &str) -> Option<Gpu> {
    let device =
        PciDevice { address: "soc".into(), class: 0, id: String::new(), revision: 0, driver: None };
    let name = parse::clean(name);
    let vendor = if name.contains("Adreno") { "Qualcomm" } else { "unknown" };
    let mut gpu = bus::empty(vendor, &device, None);
    gpu.name = Fact::reported(name, "Win32_VideoController");
    gpu.kind = Fact::inferred(GpuKind::Integrated, "on ACPI, not on PCI");
    gpu.unified = true;
    gpu.apis.push(ComputeApi::DirectMl);
    Some(gpu)
}

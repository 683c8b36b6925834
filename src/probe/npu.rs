//! NPUs, by driver and PCI or device-tree id: a bare `accel0` says nothing of what it is.

use super::host::{Access, Host};
use super::parts::{self, FoundSoc, NpuPart};
use super::pci::PciDevice;
use super::report::Npu;
use super::{parse, windows};
use crate::model::{ComputeApi, DeviceProblem, Fact};

pub(crate) fn read(
    host: &dyn Host,
    pci: &[PciDevice],
    problems: &mut Vec<DeviceProblem>,
) -> Vec<Npu> {
    let mut npus: Vec<Npu> = pci.iter().filter_map(|d| from_pci(host, d)).collect();
    npus.extend(from_windows(host));
    npus.extend(platform(host));
    if let Some(soc) = parts::soc_of(host) {
        // The table only adds what no driver showed.
        if !npus.iter().any(|n| Some(&n.generation) == soc.npu_generation.as_ref()) {
            npus.extend(from_soc(host, &soc));
        }
    }
    npus.truncate(16);
    for npu in &npus {
        report(host, npu, problems);
    }
    npus
}

fn from_pci(host: &dyn Host, device: &PciDevice) -> Option<Npu> {
    let part = parts::npu(&device.id, Some(device.revision))?;
    let mut npu = new(part, device.id.clone());
    npu.driver = device.driver.clone().map(|d| Fact::reported(d, device.path("driver")));
    let accel = host.list(&device.path("accel")).into_iter().find(|n| n.starts_with("accel"));
    let node = accel.map(|n| format!("/dev/accel/{n}")).or_else(|| class_node(host, device));
    npu.node = node.map(|path| (path.clone(), host.access(&path)));
    let busy = device.path("npu_busy_time_us");
    npu.busy_us = host.number(&busy).map(|v| Fact::reported(v, busy));
    Some(npu)
}

/// Drivers outside the accel subsystem make a class of their own.
fn class_node(host: &dyn Host, device: &PciDevice) -> Option<String> {
    ["hailo_chardev", "apex"].iter().find_map(|class| {
        let dir = format!("/sys/class/{class}");
        let here = |name: &String| {
            let links = [format!("{dir}/{name}/device"), format!("{dir}/{name}")];
            links
                .iter()
                .any(|l| host.link(l).is_some_and(|target| target.contains(&device.address)))
        };
        host.list(&dir).into_iter().find(here).map(|n| format!("/dev/{n}"))
    })
}

/// Device-tree NPUs: an accel node with a known `compatible`, or a device bound to a known driver.
fn platform(host: &dyn Host) -> Option<Npu> {
    let known = |dir: &str| {
        let names = host.strings(&format!("{dir}/of_node/compatible"));
        names.into_iter().find_map(|id| Some((parts::npu(&id, None)?, id)))
    };
    for name in host.list("/sys/class/accel") {
        let device = format!("/sys/class/accel/{name}/device");
        if let Some((part, id)) = known(&device) {
            let mut npu = new(part, id);
            let path = format!("{device}/driver");
            npu.driver = host.link_name(&path).map(|d| Fact::reported(d, path));
            let node = format!("/dev/accel/{name}");
            npu.node = Some((node.clone(), host.access(&node)));
            return Some(npu);
        }
    }
    for driver in parts::npu_drivers() {
        let dir = format!("/sys/bus/platform/drivers/{driver}");
        for device in host.list(&dir) {
            if let Some((part, id)) = known(&format!("/sys/bus/platform/devices/{device}")) {
                let mut npu = new(part, id);
                npu.driver = Some(Fact::reported(driver.to_owned(), dir));
                npu.node = drm_node_of(host, &device).map(|n| (n.clone(), host.access(&n)));
                return Some(npu);
            }
        }
    }
    None
}

/// Rockchip's own driver registers with DRM.
fn drm_node_of(host: &dyn Host, device: &str) -> Option<String> {
    let names = host.list(&format!("/sys/bus/platform/devices/{device}/drm"));
    names.into_iter().find(|n| n.starts_with("renderD")).map(|n| format!("/dev/dri/{n}"))
}

/// DSP nodes of Qualcomm's fastrpc driver, newest name first.
const FASTRPC: &[&str] = &[
    "/dev/fastrpc-cdsp",
    "/dev/fastrpc-cdsp-secure",
    "/dev/fastrpc-cdsp1",
    "/dev/cdsprpc-smd",
    "/dev/adsprpc-smd",
];

/// A block the SoC has by its data sheet; a driver is looked for, not assumed.
fn from_soc(host: &dyn Host, soc: &FoundSoc) -> Option<Npu> {
    let name = soc.npu.clone()?;
    let generation = soc.npu_generation.clone().unwrap_or_default();
    let source = format!("SoC table: {}", soc.source);
    let (node, driver, apis) = match soc.vendor.as_str() {
        "Qualcomm" => {
            let node = FASTRPC.iter().map(|p| ((*p).to_owned(), host.access(p)));
            let node = node.into_iter().find(|(_, access)| *access != Access::Absent);
            let driver = node
                .as_ref()
                .map(|(p, _)| Fact::inferred("fastrpc".to_owned(), format!("{p} exists")));
            (node, driver, vec![ComputeApi::Qnn])
        }
        // Core ML reaches it without a node; the system's own driver is always there.
        "Apple" => {
            let driver = Fact::inferred("AppleNeuralEngine".to_owned(), "part of macOS");
            (None, Some(driver), vec![ComputeApi::CoreMl])
        }
        "Rockchip" => (None, None, vec![ComputeApi::Rknn]),
        _ => (None, None, Vec::new()),
    };
    Some(Npu {
        vendor: soc.vendor.clone(),
        name: Fact::published(name, source.clone()),
        generation,
        id: soc.name.clone(),
        driver,
        node,
        int8_tops: soc.npu_int8_tops.map(|v| Fact::published(v, source)),
        busy_us: None,
        apis,
    })
}

/// Windows' device class ComputeAccelerator.
fn from_windows(host: &dyn Host) -> Vec<Npu> {
    if host.os() != "windows" {
        return Vec::new();
    }
    let text = windows::text(host).unwrap_or_default();
    let mut npus = Vec::new();
    for i in 0..8 {
        let Some(name) = windows::value(&text, "Npu", i, "Name") else { break };
        let pnp = windows::value(&text, "Npu", i, "PNPDeviceID").unwrap_or_default();
        let id = windows::pci_id(pnp).unwrap_or_else(|| parse::clean(pnp));
        let mut npu = match parts::npu(&id, None) {
            Some(part) => new(part, id),
            None => Npu {
                vendor: if pnp.contains("QCOM") { "Qualcomm" } else { "unknown" }.into(),
                name: Fact::reported(parse::clean(name), "ComputeAccelerator device class"),
                generation: String::new(),
                id,
                driver: None,
                node: None,
                int8_tops: None,
                busy_us: None,
                apis: if pnp.contains("QCOM") { vec![ComputeApi::Qnn] } else { Vec::new() },
            },
        };
        npu.driver = Some(Fact::reported("windows".to_owned(), "ComputeAccelerator device class"));
        npus.push(npu);
    }
    npus
}

fn new(part: &NpuPart, id: String) -> Npu {
    Npu {
        vendor: part.vendor.clone(),
        name: Fact::published(part.name.clone(), part.source.clone()),
        generation: part.generation.clone(),
        id,
        driver: None,
        node: None,
        int8_tops: part.int8_tops.map(|v| Fact::published(v, part.source.clone())),
        busy_us: None,
        apis: part.apis.clone(),
    }
}

/// Present is not usable: say which step is missing.
fn report(host: &dyn Host, npu: &Npu, problems: &mut Vec<DeviceProblem>) {
    let name = &npu.name.value;
    let nodeless = matches!(host.os().as_str(), "windows" | "macos");
    let (what, hint) = match (&npu.driver, &npu.node) {
        (None, _) => (
            format!("{name} is there and no driver for it was found"),
            "load or install its kernel driver; its vendor's runtime needs one".to_owned(),
        ),
        (Some(_), Some((path, Access::Denied))) => (
            format!("{name} is present but {path} is not accessible to this user"),
            "add the user to the group that owns the node (often `render`) and log in again"
                .to_owned(),
        ),
        (Some(driver), None | Some((_, Access::Absent))) if !nodeless => (
            format!("{name} has driver {} but no device node", driver.value),
            "in a container, pass the node through (--device)".to_owned(),
        ),
        _ => return,
    };
    problems.push(DeviceProblem { what, hint });
}

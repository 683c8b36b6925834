//! NPUs, by driver and PCI or device-tree id: a bare `accel0` says nothing of what it is.

use super::host::{Access, Host};
use super::parts::{self, NpuPart};
use super::pci::PciDevice;
use super::report::Npu;
use crate::model::{DeviceProblem, Fact};

pub(crate) fn read(
    host: &dyn Host,
    pci: &[PciDevice],
    problems: &mut Vec<DeviceProblem>,
) -> Vec<Npu> {
    let mut npus: Vec<Npu> = pci.iter().filter_map(|d| from_pci(host, d)).collect();
    for npu in &npus {
        report(npu, problems);
    }
    npus.truncate(16);
    npus
}

fn from_pci(host: &dyn Host, device: &PciDevice) -> Option<Npu> {
    let part = parts::npu(&device.id, Some(device.revision))?;
    let mut npu = new(part, device.id.clone());
    npu.driver = device.driver.clone().map(|d| Fact::reported(d, device.path("driver")));
    let accel =
        host.list(&device.path("accel")).into_iter().next().map(|n| format!("/dev/accel/{n}"));
    let node = accel.or_else(|| class_node(host, device));
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
            let link = host
                .link(&format!("{dir}/{name}/device"))
                .or_else(|| host.link(&format!("{dir}/{name}")));
            link.is_some_and(|l| l.contains(&device.address))
        };
        host.list(&dir).into_iter().find(here).map(|n| format!("/dev/{n}"))
    })
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
fn report(npu: &Npu, problems: &mut Vec<DeviceProblem>) {
    let name = &npu.name.value;
    let (what, hint) = match (&npu.driver, &npu.node) {
        (None, _) => (
            format!("{name} is there and no driver is bound to it"),
            "load or install its kernel driver".to_owned(),
        ),
        (Some(_), Some((path, Access::Denied))) => (
            format!("{name} is present but {path} is not accessible to this user"),
            "add the user to the group that owns the node (often `render`) and log in again"
                .to_owned(),
        ),
        (Some(driver), None | Some((_, Access::Absent))) => (
            format!("{name} has driver {} but no device node", driver.value),
            "in a container, pass the node through (--device)".to_owned(),
        ),
        (Some(_), Some((_, Access::Usable))) => return,
    };
    problems.push(DeviceProblem { what, hint });
}

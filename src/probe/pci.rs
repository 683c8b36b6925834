//! PCI devices as sysfs lists them.

use super::host::Host;
use super::parse;

pub(crate) const DEVICES: &str = "/sys/bus/pci/devices";

/// One PCI function.
#[derive(Debug, Clone)]
pub(crate) struct PciDevice {
    /// `0000:01:00.0`.
    pub address: String,
    /// Base class and subclass, e.g. 0x0300.
    pub class: u16,
    /// `10de:2684`.
    pub id: String,
    pub revision: u32,
    pub driver: Option<String>,
}

impl PciDevice {
    pub fn vendor(&self) -> &str {
        self.id.split(':').next().unwrap_or_default()
    }

    pub fn path(&self, file: &str) -> String {
        format!("{DEVICES}/{}/{file}", self.address)
    }
}

pub(crate) fn devices(host: &dyn Host) -> Vec<PciDevice> {
    host.list(DEVICES).into_iter().filter_map(|address| device(host, address)).collect()
}

fn device(host: &dyn Host, address: String) -> Option<PciDevice> {
    let read = |file: &str| parse::hex(&host.text(&format!("{DEVICES}/{address}/{file}"))?);
    let (vendor, device) = (read("vendor")?, read("device")?);
    Some(PciDevice {
        class: (read("class")? >> 8 & 0xffff) as u16,
        id: format!("{vendor:04x}:{device:04x}"),
        revision: read("revision").unwrap_or(0) as u32,
        driver: host.link_name(&format!("{DEVICES}/{address}/driver")).map(|d| parse::clean(&d)),
        address,
    })
}

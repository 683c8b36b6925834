//! Windows through one call of its management interface; the output's parser is testable anywhere.

use super::host::Host;
use super::parse;
use super::report::{Known, Memory};
use crate::model::Fact;

/// Prints `Class[i].Property=value` lines, and `Npu[i].*` for the compute-accelerator device class.
const SCRIPT: &str = "$q=[ordered]@{\
Win32_OperatingSystem='Caption','Version','TotalVisibleMemorySize','FreePhysicalMemory';\
Win32_ComputerSystem='Manufacturer','Model','PCSystemType','HypervisorPresent','TotalPhysicalMemory';\
Win32_Processor='Name','Manufacturer','NumberOfCores','NumberOfLogicalProcessors','MaxClockSpeed','L2CacheSize','L3CacheSize';\
Win32_PhysicalMemory='Capacity','SMBIOSMemoryType','ConfiguredClockSpeed','DataWidth';\
Win32_VideoController='Name','DriverVersion','PNPDeviceID';\
Win32_Battery='BatteryStatus','EstimatedChargeRemaining'};\
foreach($c in $q.Keys){$i=0;foreach($o in @(Get-CimInstance $c -ErrorAction SilentlyContinue)){\
foreach($p in $q[$c]){\"$c[$i].$p=$($o.$p)\"};$i++}};\
$i=0;foreach($o in @(Get-PnpDevice -Class ComputeAccelerator -PresentOnly -ErrorAction SilentlyContinue)){\
\"Npu[$i].Name=$($o.FriendlyName)\";\"Npu[$i].PNPDeviceID=$($o.InstanceId)\";$i++}";

pub(crate) fn text(host: &dyn Host) -> Option<String> {
    host.command("powershell", &["-NoProfile", "-NonInteractive", "-Command", SCRIPT]).ok()
}

/// Value of `class[index].property`; empty values are absent.
pub(crate) fn value<'a>(
    text: &'a str,
    class: &str,
    index: usize,
    property: &str,
) -> Option<&'a str> {
    let key = format!("{class}[{index}].{property}=");
    text.lines().find_map(|l| l.trim().strip_prefix(&key)).map(str::trim).filter(|v| !v.is_empty())
}

pub(crate) fn field(host: &dyn Host, property: &str, class: &str) -> Known<String> {
    let text = text(host)?;
    value(&text, class, 0, property).map(|v| Fact::reported(parse::clean(v), class))
}

pub(crate) fn memory(host: &dyn Host) -> Memory {
    let Some(text) = text(host) else { return Memory::default() };
    let os = "Win32_OperatingSystem";
    let kib = |p: &str| {
        let kib: u64 = value(&text, os, 0, p)?.parse().ok()?;
        Some(Fact::reported(kib.checked_mul(1024)?, os))
    };
    let mut memory = Memory {
        total_bytes: kib("TotalVisibleMemorySize"),
        available_bytes: kib("FreePhysicalMemory"),
        ..Memory::default()
    };
    let class = "Win32_PhysicalMemory";
    let count = (0..64).take_while(|&i| value(&text, class, i, "Capacity").is_some()).count();
    let number = |i, p: &str| value(&text, class, i, p)?.parse::<u32>().ok();
    memory.modules = u32::try_from(count).ok().filter(|&n| n > 0).map(|n| Fact::reported(n, class));
    memory.speed_mts = (0..count)
        .filter_map(|i| number(i, "ConfiguredClockSpeed"))
        .filter(|&s| s > 0)
        .min()
        .map(|s| Fact::reported(s, class));
    let kind = match number(0, "SMBIOSMemoryType") {
        Some(24) => "DDR3",
        Some(26) => "DDR4",
        Some(30) => "LPDDR4",
        Some(34) => "DDR5",
        Some(35) => "LPDDR5",
        _ => "",
    };
    memory.kind = (!kind.is_empty()).then(|| Fact::reported(kind.to_owned(), class));
    memory
}

/// `PCI\VEN_8086&DEV_643E&...` as `8086:643e`.
pub(crate) fn pci_id(pnp: &str) -> Option<String> {
    let upper = pnp.to_uppercase();
    let part = |key: &str| {
        let at = upper.find(key)? + key.len();
        upper.get(at..at + 4).filter(|s| s.chars().all(|c| c.is_ascii_hexdigit()))
    };
    Some(format!("{}:{}", part("VEN_")?, part("DEV_")?).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pnp_ids_become_pci_ids() {
        let id = pci_id(r"PCI\VEN_8086&DEV_643E&SUBSYS_0CBD1028&REV_04\3&11583659&0&58");
        assert_eq!(id.as_deref(), Some("8086:643e"));
        assert_eq!(pci_id(r"ROOT\BASICDISPLAY\0000"), None);
        assert_eq!(pci_id("VEN_12&DEV_"), None);
        assert_eq!(pci_id("VEN_é&DEV_12"), None);
    }

    #[test]
    fn empty_properties_are_absent() {
        let text = "A[0].X=\r\nA[0].Y= 3 \r\nA[1].X=q";
        assert_eq!(value(text, "A", 0, "X"), None);
        assert_eq!(value(text, "A", 0, "Y"), Some("3"));
        assert_eq!(value(text, "A", 1, "X"), Some("q"));
    }
}

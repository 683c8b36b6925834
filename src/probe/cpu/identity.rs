//! Vendor, model name and microarchitecture; names of Arm cores come from the part tables.

use crate::model::Fact;
use crate::probe::host::Host;
use crate::probe::parts::{self, CoreClass};
use crate::probe::report::{Cpu, Known};
use crate::probe::{apple, parse, windows};

pub(crate) fn fill(host: &dyn Host, cpuinfo: &str, cpu: &mut Cpu) {
    let by = "/proc/cpuinfo";
    match host.os().as_str() {
        "macos" => macos(host, cpu),
        "windows" => {
            cpu.vendor = windows::field(host, "Manufacturer", "Win32_Processor");
            cpu.model = windows::field(host, "Name", "Win32_Processor");
        }
        _ => {
            let get = |key| parse::field(cpuinfo, key).map(|v| Fact::reported(parse::clean(v), by));
            cpu.vendor = get("vendor_id");
            cpu.model =
                get("model name").or_else(|| arm_model(host, cpuinfo)).or_else(|| get("uarch"));
            if let Some(core) = arm_core(cpuinfo) {
                cpu.vendor = Some(Fact::inferred(core.vendor.clone(), "MIDR implementer"));
            }
        }
    }
    if cpu.model.is_none() {
        cpu.model = brand_string(host).map(|b| Fact::reported(b, "CPUID brand string"));
    }
    cpu.microarchitecture = x86_signature(host, cpuinfo).and_then(|(vendor, family, model)| {
        let name = parts::x86(&vendor, family, model)?;
        Some(Fact::inferred(name.to_owned(), format!("family {family} model {model}")))
    });
}

fn macos(host: &dyn Host, cpu: &mut Cpu) {
    let Some(text) = apple::sysctl_text(host) else { return };
    let get = |key: &str| {
        parse::sysctl(&text, key).map(|v| Fact::reported(parse::clean(v), format!("sysctl {key}")))
    };
    cpu.model = get("machdep.cpu.brand_string");
    cpu.vendor = get("machdep.cpu.vendor").or_else(|| {
        let apple = cpu.model.as_ref()?.value.starts_with("Apple");
        apple.then(|| Fact::inferred("Apple".to_owned(), "brand string"))
    });
}

/// The kernel names no model on Arm: the SoC or the board does.
fn arm_model(host: &dyn Host, cpuinfo: &str) -> Known<String> {
    if let Some(hardware) = parse::field(cpuinfo, "Hardware") {
        return Some(Fact::reported(parse::clean(hardware), "/proc/cpuinfo Hardware"));
    }
    let soc = parts::soc_of(host)?;
    Some(Fact { value: soc.name.clone(), source: soc.identified_by })
}

/// Core type from one processor's block.
pub(crate) struct Core {
    pub vendor: String,
    pub name: String,
    pub class: Option<CoreClass>,
}

pub(crate) fn arm_core(block: &str) -> Option<Core> {
    let implementer = parse::hex(parse::field(block, "CPU implementer")?)?;
    let part = parse::hex(parse::field(block, "CPU part")?)?;
    let vendor = parts::arm_vendor(implementer).unwrap_or("unknown").to_owned();
    let known = parts::arm_core(implementer, part);
    let name = known.map_or_else(|| format!("part {part:#x}"), |c| c.name.clone());
    Some(Core { vendor, name, class: known.and_then(|c| c.class) })
}

/// Vendor, family and model as /proc/cpuinfo or CPUID give them.
fn x86_signature(host: &dyn Host, cpuinfo: &str) -> Option<(String, u32, u32)> {
    let number = |key| parse::field(cpuinfo, key)?.parse::<u32>().ok();
    if let (Some(vendor), Some(family), Some(model)) =
        (parse::field(cpuinfo, "vendor_id"), number("cpu family"), number("model"))
    {
        return Some((vendor.to_owned(), family, model));
    }
    let [_, b, c, d] = host.cpuid(0, 0)?;
    let vendor: Vec<u8> = [b, d, c].iter().flat_map(|w| w.to_le_bytes()).collect();
    let a = host.cpuid(1, 0)?[0];
    let base = a >> 8 & 0xf;
    let family = if base == 0xf { base + (a >> 20 & 0xff) } else { base };
    let model = (a >> 4 & 0xf) | if base == 6 || base == 0xf { a >> 12 & 0xf0 } else { 0 };
    Some((String::from_utf8_lossy(&vendor).into_owned(), family, model))
}

fn brand_string(host: &dyn Host) -> Option<String> {
    if host.cpuid(0x8000_0000, 0)?[0] < 0x8000_0004 {
        return None;
    }
    let words = (0x8000_0002..=0x8000_0004).filter_map(|leaf| host.cpuid(leaf, 0)).flatten();
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).take_while(|&b| b != 0).collect();
    let name = parse::clean(&String::from_utf8_lossy(&bytes));
    (!name.is_empty()).then_some(name)
}

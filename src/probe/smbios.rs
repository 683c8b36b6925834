//! Memory modules from the SMBIOS table (DSP0134, type 17), which Linux lets only root read.

use super::host::{Host, ReadError};
use super::parse;
use super::report::Memory;
use crate::model::Fact;

const TABLE: &str = "/sys/firmware/dmi/tables/DMI";

/// One fitted memory device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Module {
    pub bytes: u64,
    pub kind: &'static str,
    /// Configured speed in MT/s, 0 where unknown.
    pub speed_mts: u32,
    /// Data width in bits, 0 where unknown.
    pub width_bits: u32,
    /// `Controller0-ChannelA`, as the firmware names it.
    pub bank: String,
}

pub(crate) fn fill(host: &dyn Host, memory: &mut Memory, root_would_add: &mut Vec<String>) {
    let table = match host.read(TABLE) {
        Ok(table) => table,
        Err(ReadError::Denied) => {
            root_would_add.push("memory type, speed and modules (SMBIOS table)".to_owned());
            return;
        }
        Err(_) => return,
    };
    let modules = modules(&table);
    let Some(first) = modules.first() else { return };
    // Virtual machines leave `RAM` or `Unknown`: not worth telling.
    if !first.kind.is_empty() {
        memory.kind = Some(Fact::reported(first.kind.to_owned(), "SMBIOS type 17"));
    }
    memory.modules = u32::try_from(modules.len()).ok().map(|n| Fact::reported(n, "SMBIOS type 17"));
    let slowest = modules.iter().map(|m| m.speed_mts).filter(|&s| s > 0).min();
    memory.speed_mts = slowest.map(|s| Fact::reported(s, "SMBIOS type 17"));
    memory.peak_gbs = peak_gbs(&modules)
        .map(|v| Fact::inferred(v, "SMBIOS width x speed of one module a channel"));
}

/// Two modules on one channel share its wires: a channel counts once.
fn peak_gbs(modules: &[Module]) -> Option<f64> {
    let mut channels: Vec<(&str, f64)> = Vec::new();
    for m in modules {
        if m.width_bits == 0 || m.speed_mts == 0 {
            return None;
        }
        let gbs = f64::from(m.width_bits) / 8.0 * f64::from(m.speed_mts) / 1000.0;
        // Firmware that does not name channels gives no way to count them.
        if m.bank.is_empty() {
            return None;
        }
        if !channels.iter().any(|(bank, _)| *bank == m.bank) {
            channels.push((&m.bank, gbs));
        }
    }
    let sum: f64 = channels.iter().map(|(_, g)| g).sum();
    (sum > 0.0).then_some(sum)
}

/// Fitted modules in table order. Every length comes from the table and is checked.
pub(crate) fn modules(table: &[u8]) -> Vec<Module> {
    let mut found = Vec::new();
    let mut rest = table;
    while rest.len() >= 4 && found.len() < 256 {
        let (kind, length) = (rest[0], rest[1] as usize);
        if length < 4 || length > rest.len() {
            break;
        }
        let (body, tail) = rest.split_at(length);
        // Strings follow until two NULs.
        let end = tail.windows(2).position(|w| w == [0, 0]).map_or(tail.len(), |i| i + 2);
        let strings = &tail[..end];
        if kind == 17 {
            found.extend(module(body, strings));
        }
        rest = &tail[end..];
        if kind == 127 {
            break;
        }
    }
    found
}

fn module(body: &[u8], strings: &[u8]) -> Option<Module> {
    let byte = |at: usize| body.get(at).copied();
    let word = |at: usize| Some(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
    let dword = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let bytes = match word(0x0c)? {
        0 | 0xffff => return None,
        // Sizes from 32 GiB - 1 MiB on are in the extended field, in MiB.
        0x7fff => u64::from(dword(0x1c)? & 0x7fff_ffff) << 20,
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff) << 10,
        mib => u64::from(mib) << 20,
    };
    let speed = word(0x20).filter(|&s| s != 0 && s != 0xffff).or_else(|| word(0x15));
    let speed_mts = match speed {
        Some(0xffff) => dword(0x58).unwrap_or(0),
        Some(s) => u32::from(s),
        None => 0,
    };
    let width = word(0x0a).filter(|&w| w != 0xffff).map_or(0, u32::from);
    Some(Module {
        bytes,
        kind: type_name(byte(0x12)?),
        speed_mts,
        width_bits: width,
        bank: bank(byte(0x11)?, byte(0x10)?, strings),
    })
}

/// Bank and slot name together, cut to the channel where it is named.
fn bank(bank_index: u8, slot_index: u8, strings: &[u8]) -> String {
    let string = |index: u8| {
        let nth = usize::from(index).checked_sub(1)?;
        let raw = strings.split(|&b| b == 0).nth(nth)?;
        Some(parse::clean(&String::from_utf8_lossy(raw)))
    };
    let slot = string(slot_index).unwrap_or_default();
    let bank = string(bank_index).unwrap_or_default();
    for text in [&slot, &bank] {
        let upper = text.to_uppercase();
        if let Some(at) = upper.find("CHANNEL") {
            let end = upper[at + 7..]
                .char_indices()
                .find(|(_, c)| c.is_ascii_alphanumeric())
                .map(|(i, _)| at + 8 + i);
            return upper.get(..end.unwrap_or(upper.len())).unwrap_or("").to_owned();
        }
    }
    String::new()
}

/// DSP0134 table 78.
fn type_name(code: u8) -> &'static str {
    match code {
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size_mib: u16, kind: u8, mts: u16, slot: &str) -> Vec<u8> {
        let mut body = vec![0u8; 0x28];
        (body[0], body[1]) = (17, 0x28);
        body[0x0a..0x0c].copy_from_slice(&64u16.to_le_bytes());
        body[0x0c..0x0e].copy_from_slice(&size_mib.to_le_bytes());
        body[0x10] = 1;
        body[0x12] = kind;
        body[0x20..0x22].copy_from_slice(&mts.to_le_bytes());
        body.extend(slot.bytes());
        body.extend([0, 0]);
        body
    }

    #[test]
    fn two_channels_add_and_two_modules_on_one_do_not() {
        let mut table = record(8192, 0x22, 5600, "Controller0-ChannelA-DIMM0");
        table.extend(record(8192, 0x22, 5600, "Controller0-ChannelA-DIMM1"));
        table.extend(record(0, 0x22, 0, "Controller0-ChannelB-DIMM0"));
        table.extend(record(8192, 0x22, 5600, "Controller1-ChannelA-DIMM0"));
        let modules = modules(&table);
        assert_eq!(modules.len(), 3);
        assert_eq!((modules[0].bytes, modules[0].kind), (8 << 30, "DDR5"));
        assert_eq!(modules[0].bank, "CONTROLLER0-CHANNELA");
        assert_eq!(peak_gbs(&modules), Some(89.6));
    }

    #[test]
    fn truncated_and_hostile_tables_end_quietly() {
        let whole = record(8192, 0x22, 5600, "DIMM0");
        for cut in 0..whole.len() {
            modules(&whole[..cut]);
        }
        assert_eq!(modules(&[17, 0, 0, 0, 17, 0]), []);
        assert_eq!(modules(&[17, 255, 0, 0]), []);
        modules(&[0xff; 4096]);
    }
}

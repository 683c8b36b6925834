//! System memory: how much, of what kind, and how it is paged.

use super::host::Host;
use super::parse;
use super::report::{Known, Memory};
use super::smbios;
use crate::model::Fact;

pub(crate) fn read(host: &dyn Host, root_would_add: &mut Vec<String>) -> Memory {
    match host.os().as_str() {
        "macos" => super::apple::memory(host),
        "windows" => super::windows::memory(host),
        _ => linux(host, root_would_add),
    }
}

fn linux(host: &dyn Host, root_would_add: &mut Vec<String>) -> Memory {
    let path = "/proc/meminfo";
    let text = host.text(path).unwrap_or_default();
    let get = |key: &str| parse::meminfo(&text, key).map(|v| Fact::reported(v, path));
    let mut memory = Memory {
        total_bytes: get("MemTotal"),
        available_bytes: get("MemAvailable").or_else(|| available_before_3_14(&text)),
        swap_bytes: get("SwapTotal"),
        swap_free_bytes: get("SwapFree"),
        huge_page_bytes: get("Hugepagesize"),
        huge_pages: get("HugePages_Total"),
        transparent_huge_pages: transparent(host),
        ..Memory::default()
    };
    smbios::fill(host, &mut memory, root_would_add);
    memory
}

/// Kernels before 3.14 have no `MemAvailable`.
fn available_before_3_14(text: &str) -> Known<u64> {
    let sum = ["MemFree", "Cached"].iter().map(|k| parse::meminfo(text, k)).sum::<Option<u64>>();
    sum.map(|v| Fact::inferred(v, "MemFree + Cached"))
}

/// The kernel marks the chosen word: `always [madvise] never`.
fn transparent(host: &dyn Host) -> Known<String> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = host.text(path)?;
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(Fact::reported(parse::clean(word), path))
}

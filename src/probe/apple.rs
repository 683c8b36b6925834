//! macOS: `sysctl` and `vm_stat` output.

use super::host::Host;
use super::parse;
use super::report::{Known, Memory};
use crate::model::{Fact, Isa};

/// The trees the probe reads, in one call.
pub(crate) fn sysctl_text(host: &dyn Host) -> Option<String> {
    host.command(
        "sysctl",
        &["hw", "machdep.cpu", "kern.osrelease", "kern.osproductversion", "vm.swapusage"],
    )
    .ok()
}

pub(crate) fn memory(host: &dyn Host) -> Memory {
    let Some(text) = sysctl_text(host) else { return Memory::default() };
    let number = |key: &str| parse::sysctl(&text, key)?.parse::<u64>().ok();
    let arm = parse::sysctl(&text, "hw.optional.arm64") == Some("1");
    Memory {
        total_bytes: number("hw.memsize").map(|v| Fact::reported(v, "sysctl hw.memsize")),
        available_bytes: host
            .command("vm_stat", &[])
            .ok()
            .and_then(|t| available(&t))
            .map(|v| Fact::inferred(v, "vm_stat free + inactive + purgeable + speculative")),
        swap_bytes: parse::sysctl(&text, "vm.swapusage")
            .and_then(swap_total)
            .map(|v| Fact::reported(v, "sysctl vm.swapusage")),
        unified: arm.then(|| Fact::inferred(true, "Apple silicon")),
        ..Memory::default()
    }
}

/// `Mach Virtual Memory Statistics: (page size of 16384 bytes)` and `Pages free: 123.` lines.
pub(crate) fn available(text: &str) -> Option<u64> {
    let page: u64 = text.split_once("page size of ")?.1.split_whitespace().next()?.parse().ok()?;
    let pages = |key: &str| {
        parse::field(text, key).and_then(|v| v.trim_end_matches('.').parse::<u64>().ok())
    };
    let mut sum = pages("Pages free")?;
    for key in ["Pages inactive", "Pages purgeable", "Pages speculative"] {
        sum = sum.checked_add(pages(key).unwrap_or(0))?;
    }
    sum.checked_mul(page)
}

/// `total = 2048.00M  used = 1.00M  free = 2047.00M  (encrypted)`
fn swap_total(text: &str) -> Option<u64> {
    let word = text.split_once("total = ")?.1.split_whitespace().next()?;
    let mib: f64 = word.strip_suffix('M')?.parse().ok()?;
    (mib.is_finite() && mib >= 0.0).then_some((mib * 1_048_576.0) as u64)
}

const FEATURES: &[(&str, Isa)] = &[
    ("hw.optional.AdvSIMD", Isa::Neon),
    ("hw.optional.neon", Isa::Neon),
    ("hw.optional.arm.FEAT_FP16", Isa::Fp16),
    ("hw.optional.arm.FEAT_DotProd", Isa::DotProd),
    ("hw.optional.arm.FEAT_I8MM", Isa::I8mm),
    ("hw.optional.arm.FEAT_BF16", Isa::Bf16),
    ("hw.optional.arm.FEAT_SME", Isa::Sme),
    ("hw.optional.arm.FEAT_SME2", Isa::Sme2),
];

pub(crate) fn isa(host: &dyn Host) -> Known<Vec<Isa>> {
    let text = sysctl_text(host)?;
    let mut isa: Vec<Isa> = FEATURES
        .iter()
        .filter(|(key, _)| parse::sysctl(&text, key) == Some("1"))
        .map(|(_, isa)| *isa)
        .collect();
    isa.sort_unstable();
    isa.dedup();
    (!isa.is_empty()).then(|| Fact::reported(isa, "sysctl hw.optional"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_counts_what_the_system_would_give_up() {
        let text = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n\
            Pages free:                               1000.\n\
            Pages active:                           300000.\n\
            Pages inactive:                           2000.\n\
            Pages speculative:                         500.\n\
            Pages purgeable:                           100.\n";
        assert_eq!(available(text), Some(3600 * 16384));
        assert_eq!(available("page size of x bytes"), None);
        assert_eq!(available(""), None);
    }

    #[test]
    fn swap_is_read_in_mebibytes() {
        assert_eq!(swap_total("total = 2048.00M  used = 1.00M"), Some(2 << 30));
        assert_eq!(swap_total("total = nanM"), None);
        assert_eq!(swap_total("total = -1M"), None);
    }
}

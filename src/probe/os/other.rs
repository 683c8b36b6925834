//! Windows and the rest: nodes, limits and affinity have no counterpart the probe uses.

use crate::probe::host::{Access, Ulimit};

pub(crate) fn access(path: &str) -> Access {
    if std::path::Path::new(path).exists() { Access::Usable } else { Access::Absent }
}

pub(crate) fn affinity() -> Option<Vec<u32>> {
    None
}

pub(crate) fn disk_free(path: &str) -> Option<u64> {
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let path = std::path::Path::new(path);
    let holding = disks.iter().filter(|d| path.starts_with(d.mount_point()));
    holding.max_by_key(|d| d.mount_point().as_os_str().len()).map(|d| d.available_space())
}

/// Windows on Arm has no auxiliary vector; the standard library asks the system, and Linux' bits carry the answer.
#[cfg(target_arch = "aarch64")]
pub(crate) fn hwcap() -> Option<(u64, u64)> {
    use std::arch::is_aarch64_feature_detected as has;
    let bit = |yes: bool, bit: u32| u64::from(yes) << bit;
    let cap = bit(has!("neon"), 1) | bit(has!("fp16"), 10) | bit(has!("dotprod"), 20);
    Some((cap | bit(has!("sve"), 22), bit(has!("i8mm"), 13) | bit(has!("bf16"), 14)))
}

#[cfg(not(target_arch = "aarch64"))]
pub(crate) fn hwcap() -> Option<(u64, u64)> {
    None
}

pub(crate) fn is_root() -> bool {
    false
}

pub(crate) fn ulimit(_which: Ulimit) -> Option<u64> {
    None
}

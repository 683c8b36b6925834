//! macOS has neither CPU affinity nor an auxiliary vector.

pub(crate) fn affinity() -> Option<Vec<u32>> {
    None
}

pub(crate) fn hwcap() -> Option<(u64, u64)> {
    None
}

//! Linux and Android: CPU affinity and the auxiliary vector.

/// Logical CPUs the scheduler may put this process on.
pub(crate) fn affinity() -> Option<Vec<u32>> {
    // 16,384 CPUs; a larger machine gives an error and so `None`.
    let mut mask = [0u64; 256];
    // SAFETY: the buffer has the size given; the kernel writes no more.
    let ok = unsafe {
        libc::sched_getaffinity(0, std::mem::size_of_val(&mask), mask.as_mut_ptr().cast())
    };
    if ok != 0 {
        return None;
    }
    let bit = |i: u32| mask[(i / 64) as usize] >> (i % 64) & 1 == 1;
    Some((0..256 * 64).filter(|&i| bit(i)).collect())
}

pub(crate) fn hwcap() -> Option<(u64, u64)> {
    // SAFETY: getauxval reads the process' own auxiliary vector and has no preconditions.
    #[expect(clippy::useless_conversion, reason = "unsigned long is 32 bits on 32-bit targets")]
    unsafe {
        Some((
            u64::from(libc::getauxval(libc::AT_HWCAP)),
            u64::from(libc::getauxval(libc::AT_HWCAP2)),
        ))
    }
}

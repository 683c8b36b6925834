//! Memory bandwidth by kernel, working-set size and thread count.

use std::time::Duration;

use super::kernels::{self, Streams};
use super::memory::Buffer;
use super::stable::{self, Effort};
use super::team;
use crate::probe::capability::{BandwidthPoint, Rate};

/// Kernels in the order of a report.
pub(crate) const KERNELS: [Kernel; 3] = [Kernel::Read, Kernel::Copy, Kernel::Triad];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Read,
    Copy,
    Triad,
}

impl Kernel {
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Read => "read",
            Kernel::Copy => "copy",
            Kernel::Triad => "triad",
        }
    }

    /// Arrays it touches; each byte of them counts once, as in STREAM.
    fn arrays(self) -> u64 {
        self as u64 + 1
    }
}

/// One thread's arrays.
struct Arrays(Vec<Buffer>);

impl Arrays {
    fn new(count: u64, bytes_each: u64) -> Option<Self> {
        let bytes = usize::try_from(bytes_each).ok()?;
        (0..count).map(|_| Buffer::new(bytes)).collect::<Option<_>>().map(Self)
    }

    fn pass(&mut self, kernel: Kernel, set: &Streams, past: bool) {
        match (&mut self.0[..], kernel) {
            ([a], Kernel::Read) => {
                std::hint::black_box((set.read)(a.floats()));
            }
            ([a, b], Kernel::Copy) => {
                let copy = set.copy_past.filter(|_| past).unwrap_or(set.copy);
                copy(a.floats(), b.floats());
            }
            ([a, b, c], Kernel::Triad) => {
                let triad = set.triad_past.filter(|_| past).unwrap_or(set.triad);
                triad(a.floats(), b.floats(), c.floats());
            }
            _ => {}
        }
        // The arrays may be read elsewhere, for all the compiler knows.
        std::hint::black_box(&mut self.0);
    }
}

/// Bytes moved between two looks at the clock: some milliseconds even in a first-level cache.
const ROUND_BYTES: u64 = 128 << 20;

/// One point; `None` where the memory cannot be had. Several kernel sets and both kinds of store are tried where the
/// set does not fit a cache, and the best is the point.
pub(crate) fn point(
    kernel: Kernel,
    threads: u32,
    total_bytes: u64,
    in_ram: bool,
    budget: Duration,
) -> Option<BandwidthPoint> {
    let each = total_bytes / u64::from(threads.max(1)) / kernel.arrays() / 512 * 512;
    if each == 0 {
        return None;
    }
    let moved = each * kernel.arrays() * u64::from(threads.max(1));
    let passes = if in_ram { 1 } else { (ROUND_BYTES / moved).max(1) };
    let effort = Effort { least: 5, most: 200, budget };
    let mut best: Option<(Rate, &'static str)> = None;
    for set in kernels::streams() {
        for past in [false, true] {
            // Bypassing the caches only pays where the data does not fit them.
            if past && (!in_ram || kernel == Kernel::Read || set.copy_past.is_none()) {
                continue;
            }
            let rate = team::run(
                threads,
                || Arrays::new(kernel.arrays(), each),
                |arrays| (0..passes).for_each(|_| arrays.pass(kernel, &set, past)),
                |round| {
                    round();
                    stable::repeat(effort, || (moved * passes) as f64 / round().as_secs_f64() / 1e9)
                },
            )?;
            if best.as_ref().is_none_or(|(b, _)| rate.best > b.best) {
                best = Some((rate, set.isa));
            }
        }
    }
    let (gbs, isa) = best?;
    Some(BandwidthPoint {
        kernel: kernel.name().into(),
        isa: isa.into(),
        threads,
        bytes: moved,
        gbs,
    })
}

//! Arithmetic rates, and the clock they ran at.

use std::time::Duration;

use super::kernels::{self, Arithmetic};
use super::stable::{self, Effort};
use super::team;
use crate::probe::capability::{ComputePoint, Rate};

const EFFORT: Effort = Effort { least: 5, most: 60, budget: Duration::from_millis(250) };

/// Every kind of arithmetic by its best kernel, on one thread and on all.
pub(crate) fn points(threads: u32, cores: u32, clock_ghz: Option<f64>) -> Vec<ComputePoint> {
    let mut points: Vec<ComputePoint> = Vec::new();
    let mut counts = vec![1, threads.max(1)];
    counts.dedup();
    for kernel in kernels::arithmetic() {
        // Kernels come best first: a narrower one of the same kind is not needed.
        if points.iter().any(|p| p.kind == kernel.kind && p.kernel != kernel.isa) {
            continue;
        }
        for &threads in &counts {
            points.extend(point(&kernel, threads, cores, clock_ghz));
        }
    }
    points
}

fn point(
    kernel: &Arithmetic,
    threads: u32,
    cores: u32,
    clock_ghz: Option<f64>,
) -> Option<ComputePoint> {
    let rounds = rounds_for(kernel);
    let operations = (kernel.operations * rounds * u64::from(threads)) as f64;
    let tera = team::run(
        threads,
        || Some(()),
        |()| {
            std::hint::black_box((kernel.run)(std::hint::black_box(rounds)));
        },
        |round| {
            round();
            stable::repeat(EFFORT, || operations / round().as_secs_f64() / 1e12)
        },
    )?;
    // Two threads of one core share its units.
    let busy = f64::from(threads.min(cores.max(1)));
    let ceiling =
        clock_ghz.map(|ghz| ghz * busy * (kernel.per_instruction * kernel.units) as f64 / 1000.0);
    let (kind, kernel) = (kernel.kind.to_owned(), kernel.isa.to_owned());
    Some(ComputePoint { kind, kernel, threads, tera, ceiling })
}

/// Rounds that take about three milliseconds.
fn rounds_for(kernel: &Arithmetic) -> u64 {
    let mut rounds = 1_000u64;
    loop {
        let start = std::time::Instant::now();
        std::hint::black_box((kernel.run)(std::hint::black_box(rounds)));
        if start.elapsed() > Duration::from_millis(3) || rounds > 1 << 30 {
            return rounds;
        }
        rounds *= 2;
    }
}

/// Clock in GHz: an addition that needs the one before it takes exactly one cycle on every core we know.
pub(crate) fn clock() -> Option<Rate> {
    const ROUNDS: u64 = 100_000;
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return None;
    }
    let rate = stable::repeat(EFFORT, || {
        let start = std::time::Instant::now();
        std::hint::black_box(dependent_additions(ROUNDS));
        (ROUNDS * CHAIN) as f64 / start.elapsed().as_secs_f64() / 1e9
    });
    Some(rate)
}

const CHAIN: u64 = 32;

fn dependent_additions(rounds: u64) -> u64 {
    let mut x = std::hint::black_box(1u64);
    for _ in 0..rounds {
        for _ in 0..CHAIN {
            // SAFETY: adds a register to itself; touches nothing else.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::asm!("add {0}, {0}", inout(reg) x, options(pure, nomem, nostack));
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                std::arch::asm!("add {0}, {0}, {0}", inout(reg) x, options(pure, nomem, nostack));
            }
        }
    }
    x
}

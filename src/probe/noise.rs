//! How quiet the host is: one fixed computation, repeated on every CPU we may use.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::host::Host;
use super::{cgroup, limits};
use crate::stats;

/// Steps of one piece of work: a chain of multiplications that stays in registers, some microseconds.
const STEPS: u32 = 5_000;
/// Pieces are counted in windows of this length; the first wakes the cores and does not count.
const WINDOW: Duration = Duration::from_millis(10);
const WINDOWS: usize = 25;
/// Threads beyond this say nothing more.
const MAX_THREADS: usize = 64;

/// The noise above which a report says so: a choice. Two Zen 3 cores with five busy programs beside gave 35 to 56 %.
pub const HIGH_NOISE: f64 = 0.10;

/// Root mean square over the threads of each thread's coefficient of variation, as a fraction: how much the pieces of
/// fixed work done in 10 ms vary for reasons that are not the work. Takes a quarter of a second.
///
/// The work touches no memory, so caches and placement do not count: what remains is other programs, interrupts,
/// the hypervisor and clocks that move. One thread a CPU, since a single one would be moved to an idle core.
pub fn host_noise(host: &dyn Host) -> Option<f64> {
    let cpus = limits::allowed_cpus(host, &cgroup::read(host)).map_or(1, |f| f.value.len());
    let start = Instant::now();
    let threads: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..cpus.clamp(1, MAX_THREADS)).map(|_| scope.spawn(move || counts(start))).collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    });
    score(&threads)
}

/// Pieces done in each window; a window in which the thread did not run has none.
fn counts(start: Instant) -> Vec<f64> {
    let mut counts = vec![0.0; WINDOWS];
    loop {
        black_box(work(black_box(1)));
        let window = start.elapsed().as_nanos() / WINDOW.as_nanos();
        let Some(count) = counts.get_mut(window as usize) else { break };
        *count += 1.0;
    }
    counts.remove(0);
    counts
}

/// Each step waits for the one before it (the multiplier and increment of Knuth's MMIX generator).
fn work(seed: u64) -> u64 {
    (0..STEPS).fold(seed, |x, _| {
        x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
    })
}

fn score(threads: &[Vec<f64>]) -> Option<f64> {
    let square = |counts: &Vec<f64>| {
        let mean = stats::mean(counts).filter(|m| *m > 0.0)?;
        Some((stats::standard_deviation(counts)? / mean).powi(2))
    };
    let squares: Vec<f64> = threads.iter().filter_map(square).collect();
    stats::mean(&squares).map(f64::sqrt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_spread_within_threads_and_not_between_them() {
        let alternating = |a: f64, b: f64| -> Vec<f64> {
            (0..50).map(|i| if i % 2 == 0 { a } else { b }).collect()
        };
        // A slow and a fast core, both steady.
        assert_eq!(score(&[vec![100.0; 50], vec![300.0; 50]]), Some(0.0));
        // 10 % either way on one of two cores: sqrt((0.1² + 0) / 2), sample standard deviation.
        let one = score(&[alternating(90.0, 110.0), vec![100.0; 50]]).unwrap();
        assert!((one - 0.1 * (50.0f64 / 49.0).sqrt() / 2.0f64.sqrt()).abs() < 1e-12, "{one}");
        assert_eq!(score(&[vec![0.0; 24]]), None, "it never ran");
    }

    #[test]
    fn it_takes_a_quarter_of_a_second_and_gives_a_number() {
        let start = Instant::now();
        let noise = host_noise(&crate::probe::LiveHost::new()).unwrap();
        assert!(noise.is_finite() && noise >= 0.0);
        // Far above the limit, for a machine that is busy with other tests.
        assert!(start.elapsed() < 8 * WINDOWS as u32 * WINDOW);
    }
}

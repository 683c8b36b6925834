//! The order of measurements, and the checks that make a doubtful one say so.

use std::time::Duration;

use super::{bandwidth, compute, disk};
use crate::probe::capability::{BandwidthPoint, Measured};
use crate::probe::host::Host;
use crate::probe::live::LiveHost;
use crate::probe::report::ProbeReport;
use crate::probe::state::LoadMonitor;

/// What to measure, and whom to tell.
pub struct MeasureOptions<'a> {
    /// Called before each step with its name, how many are done and how many there are.
    pub progress: &'a mut dyn FnMut(&str, usize, usize),
    pub disk: bool,
}

/// Measures this machine within the limits of `report`; takes some seconds.
pub fn measure(host: &dyn Host, report: &ProbeReport, options: &mut MeasureOptions) -> Measured {
    let monitor = LoadMonitor::start(host, &[]);
    let threads = report.allowed.threads.max(1);
    let steps = steps(report, threads);
    let total = steps.len() + 3;
    let mut measured = Measured {
        when: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: report.fingerprint.clone(),
        ..Measured::default()
    };
    for (i, step) in steps.iter().enumerate() {
        (options.progress)(&format!("{} {}", step.kernel.name(), size(step.bytes)), i, total);
        let budget = Duration::from_millis(if step.in_ram { 700 } else { 40 });
        match bandwidth::point(step.kernel, step.threads, step.bytes, step.in_ram, budget) {
            Some(point) => measured.bandwidth.push(point),
            None => measured.notes.push(format!("no memory for a set of {}", size(step.bytes))),
        }
    }
    (options.progress)("clock", steps.len(), total);
    measured.clock_ghz = compute::clock();
    (options.progress)("arithmetic", steps.len() + 1, total);
    let cores = report.cpu.cores.as_ref().map_or(threads, |f| f.value).min(threads);
    let clock = measured.clock_ghz.as_ref().map(|c| c.best);
    measured.compute = compute::points(threads, cores, clock);
    if options.disk {
        (options.progress)("disk", steps.len() + 2, total);
        match disk::read_rate(&crate::dirs::cache()) {
            Ok(rate) => measured.disk_gbs = Some(rate),
            Err(why) => measured.notes.push(why),
        }
    }
    check(&mut measured, report, monitor.foreign_cpus(host, &[]));
    measured
}

/// What predictions need most, in about a second: memory and arithmetic on all allowed threads.
pub fn measure_essentials(report: &ProbeReport) -> Measured {
    let threads = report.allowed.threads.max(1);
    let cores = report.cpu.cores.as_ref().map_or(threads, |f| f.value).min(threads);
    let budget = Duration::from_millis(250);
    let load = LoadMonitor::start(&LiveHost::new(), &[]);
    let ram = |kernel| bandwidth::point(kernel, threads, ram_bytes(report), true, budget);
    let rates = [bandwidth::Kernel::Read, bandwidth::Kernel::Triad].map(ram);
    Measured {
        when: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: report.fingerprint.clone(),
        bandwidth: rates.into_iter().flatten().collect(),
        compute: compute::points(threads, cores, None),
        foreign_cpus: load.foreign_cpus(&LiveHost::new(), &[]),
        ..Measured::default()
    }
}

/// One RAM point alone, for comparing with other programs in the same minute.
pub fn ram_bandwidth(kernel: &str, threads: u32, bytes: u64) -> Option<BandwidthPoint> {
    let kernel = bandwidth::KERNELS.into_iter().find(|k| k.name() == kernel)?;
    bandwidth::point(kernel, threads, bytes, true, Duration::from_millis(500))
}

struct Step {
    kernel: bandwidth::Kernel,
    threads: u32,
    bytes: u64,
    in_ram: bool,
}

/// Reads at every power of two; copies and triads inside each cache and in memory.
fn steps(report: &ProbeReport, threads: u32) -> Vec<Step> {
    let ram = ram_bytes(report);
    let last_cache = cache_bytes(report);
    let mut counts = vec![1, threads];
    counts.dedup();
    let mut steps = Vec::new();
    for threads in counts {
        let smallest = (16 << 10) * u64::from(threads).next_power_of_two();
        let mut sizes: Vec<u64> = Vec::new();
        let mut bytes = smallest;
        while bytes < ram {
            sizes.push(bytes);
            bytes = bytes.saturating_mul(2);
        }
        sizes.push(ram);
        for bytes in sizes {
            let in_ram = bytes == ram;
            let coarse = in_ram || bytes == smallest || bytes == smallest * 16;
            for kernel in bandwidth::KERNELS {
                if kernel == bandwidth::Kernel::Read || coarse {
                    steps.push(Step {
                        kernel,
                        threads,
                        bytes,
                        in_ram: in_ram && bytes > last_cache,
                    });
                }
            }
        }
    }
    steps
}

/// The last-level caches we may fill together.
fn cache_bytes(report: &ProbeReport) -> u64 {
    let top = report.cpu.caches.iter().map(|c| c.level).max().unwrap_or(0);
    let last = report.cpu.caches.iter().filter(|c| c.level == top);
    last.map(|c| c.bytes.saturating_mul(u64::from(c.instances))).fold(0, u64::saturating_add)
}

/// Eight times the last-level cache, at least 256 MiB, and at most a fifth of what may be used.
fn ram_bytes(report: &ProbeReport) -> u64 {
    let available = report.allowed.memory_available_bytes.as_ref().map_or(1 << 30, |f| f.value);
    let wanted = cache_bytes(report).saturating_mul(8).clamp(256 << 20, 8 << 30);
    wanted.min(available / 5).max(8 << 20)
}

/// Beyond these a number is doubtful.
const MAX_SPREAD: f64 = 0.2;
const OVER: f64 = 1.05;

fn check(measured: &mut Measured, report: &ProbeReport, foreign: Option<f64>) {
    let mut notes = Vec::new();
    measured.foreign_cpus = foreign;
    if let Some(load) = foreign.filter(|_| !measured.quiet()) {
        notes.push(format!("other programs used {load:.1} CPUs meanwhile: the figures may be low"));
    }
    if let (Some(peak), Some(read)) = (&report.memory.peak_gbs, measured.ram_gbs("read"))
        && read.gbs.best > OVER * peak.value
    {
        notes.push(format!(
            "read {:.1} GB/s is beyond the modules' {:.1} GB/s: one of the two is wrong",
            read.gbs.best, peak.value
        ));
    }
    for kernel in bandwidth::KERNELS {
        if let Some(p) = measured.ram_gbs(kernel.name()).filter(|p| p.gbs.spread > MAX_SPREAD) {
            let percent = p.gbs.spread * 100.0;
            notes.push(format!(
                "{} varied: its middle repetition is {percent:.0} % below the best",
                p.kernel
            ));
        }
    }
    for p in &measured.compute {
        if let Some(ceiling) = p.ceiling.filter(|c| p.tera.best > OVER * c) {
            let best = p.tera.best;
            notes.push(format!(
                "{} on {} reached {best:.3} T/s, beyond its ceiling {ceiling:.3}",
                p.kind, p.kernel
            ));
        }
    }
    measured.notes.extend(notes);
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{self, RecordedHost};

    #[test]
    fn a_small_memory_limit_bounds_the_working_set() {
        let host = RecordedHost::empty("linux", "x86_64");
        let mut report = probe::run(&host, probe::ProbeOptions { use_cache: false });
        report.allowed.memory_available_bytes = Some(crate::model::Fact::measured(100 << 20));
        assert_eq!(ram_bytes(&report), 20 << 20);
        assert!(steps(&report, 4).iter().all(|s| s.bytes <= 20 << 20));
    }

    #[test]
    fn a_rate_beyond_its_ceiling_is_noted() {
        let host = RecordedHost::empty("linux", "x86_64");
        let report = probe::run(&host, probe::ProbeOptions { use_cache: false });
        let mut measured = Measured::default();
        measured.compute.push(crate::probe::ComputePoint {
            kind: "f32".into(),
            kernel: "avx2-fma".into(),
            threads: 1,
            tera: crate::probe::Rate { best: 2.0, ..Default::default() },
            ceiling: Some(1.0),
        });
        check(&mut measured, &report, Some(1.5));
        assert_eq!(measured.notes.len(), 2, "{:?}", measured.notes);
    }
}

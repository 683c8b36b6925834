//! What changes from minute to minute: a cheap snapshot, and the load of other programs between two.

use std::collections::BTreeMap;
use std::time::Instant;

use super::host::Host;
use super::{cgroup, cpu, limits, memory, parse, power};
use crate::model::{HeatPoint, HostState};

/// A snapshot in a few milliseconds; `foreign_cpus` needs a [`LoadMonitor`].
pub fn host_state(host: &dyn Host) -> HostState {
    let mut none = Vec::new();
    let cpus = limits::allowed_cpus(host, &cgroup::read(host)).map_or_else(Vec::new, |f| f.value);
    let memory = memory::read(host, &mut none);
    let power = power::read(host, &mut none);
    let first = cpus.first().copied().unwrap_or(0);
    let governor = format!("/sys/devices/system/cpu/cpu{first}/cpufreq/scaling_governor");
    HostState {
        foreign_cpus: None,
        clock_mhz: cpu::current_mhz(host, &cpus),
        temperature_c: power.hottest_cpu(),
        throttle_events: power.throttle_events.as_ref().map(|f| f.value),
        governor: host.text(&governor).map(|g| parse::clean(&g)),
        on_battery: power.on_battery.as_ref().map(|f| f.value),
        memory_available_bytes: memory.available_bytes.map(|f| f.value),
        swapped_in_pages: swapped_in(host),
        gpu_foreign_percent: gpu_foreign(host),
    }
}

fn swapped_in(host: &dyn Host) -> Option<u64> {
    let text = host.text("/proc/vmstat")?;
    text.lines().find_map(|l| l.strip_prefix("pswpin ")?.trim().parse().ok())
}

/// Only where a driver is loaded: opening the library costs milliseconds.
fn gpu_foreign(host: &dyn Host) -> Option<f64> {
    if !host.exists("/proc/driver/nvidia/version") {
        return None;
    }
    let super::NvmlSnapshot::Ready { gpus, .. } = host.nvml() else { return None };
    gpus.iter().filter_map(|g| g.foreign_percent).max().map(f64::from)
}

/// Reads temperature and clock of the processor behind a backend's device name, again and again.
#[derive(Debug, Clone)]
pub struct Thermometer {
    cpus: Vec<u32>,
    gpu: Option<u32>,
}

impl Thermometer {
    pub fn of(host: &dyn Host, device: &str) -> Self {
        let cpus =
            limits::allowed_cpus(host, &cgroup::read(host)).map_or_else(Vec::new, |f| f.value);
        Self { cpus, gpu: super::nvml::index(host, device) }
    }

    /// A few file reads, or one call of the GPU's library; `None`s where the host does not tell.
    pub fn read(&self, host: &dyn Host) -> HeatPoint {
        if let Some(now) = self.gpu.and_then(|gpu| host.nvml_now(gpu)) {
            return HeatPoint {
                temperature_c: now.temperature_c.map(f64::from),
                clock_mhz: now.clock_mhz.map(f64::from),
                throttle: now.throttle,
                ..HeatPoint::default()
            };
        }
        let (temperature_c, throttle) = power::cpu_heat(host);
        let clock_mhz = cpu::current_mhz(host, &self.cpus);
        HeatPoint { temperature_c, clock_mhz, throttle, ..HeatPoint::default() }
    }
}

/// Counts CPU time that others use while we measure, on the CPUs we may use.
#[derive(Debug)]
pub struct LoadMonitor {
    start: Instant,
    cpus: Vec<u32>,
    /// Busy ticks of the CPUs we may use.
    busy: Option<u64>,
    /// Ticks of each of our processes, dead children included.
    own: BTreeMap<u32, u64>,
}

impl LoadMonitor {
    /// Starts counting; `own` are processes of ours beside this one (workers, servers).
    pub fn start(host: &dyn Host, own: &[u32]) -> Self {
        let cpus =
            limits::allowed_cpus(host, &cgroup::read(host)).map_or_else(Vec::new, |f| f.value);
        let busy = busy_ticks(host, &cpus);
        Self { start: Instant::now(), busy, own: own_ticks(host, own), cpus }
    }

    /// CPUs kept busy by others since the start (1.0 = one full core); `None` where the host does not tell or the
    /// interval is too short for its clock ticks. A worker that has ended counts through its parent, this process.
    pub fn foreign_cpus(&self, host: &dyn Host, own: &[u32]) -> Option<f64> {
        let seconds = self.start.elapsed().as_secs_f64();
        // Ticks are 10 ms: below a fifth of a second they say little.
        if seconds < 0.2 {
            return None;
        }
        self.foreign_over(host, own, seconds)
    }

    fn foreign_over(&self, host: &dyn Host, own: &[u32], seconds: f64) -> Option<f64> {
        let busy = busy_ticks(host, &self.cpus)?.saturating_sub(self.busy?);
        let now = own_ticks(host, own);
        let ours: u64 = now
            .iter()
            // A process that started in between began at zero.
            .map(|(pid, ticks)| ticks.saturating_sub(self.own.get(pid).copied().unwrap_or(0)))
            .sum();
        Some(busy.saturating_sub(ours) as f64 / TICKS_PER_SECOND / seconds)
    }
}

/// USER_HZ, fixed at 100 in the kernel's interface on every architecture we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// User, nice, system, interrupt and stolen time of the given CPUs from /proc/stat; all CPUs where none are given.
fn busy_ticks(host: &dyn Host, cpus: &[u32]) -> Option<u64> {
    let text = host.text("/proc/stat")?;
    let mut sum: Option<u64> = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { continue };
        let mut words = rest.split_whitespace();
        let wanted = if cpus.is_empty() {
            rest.starts_with(' ')
        } else {
            // The total line begins with a blank.
            !rest.starts_with(' ')
                && words.next().and_then(|w| w.parse().ok()).is_some_and(|id| cpus.contains(&id))
        };
        if !wanted {
            continue;
        }
        let n: Vec<u64> = words.take(8).map_while(|w| w.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, steal] = n[..] else { continue };
        let busy = [user, nice, system, irq, softirq, steal]
            .iter()
            .fold(0u64, |a, b| a.saturating_add(*b));
        sum = Some(sum.unwrap_or(0).saturating_add(busy));
    }
    sum
}

fn own_ticks(host: &dyn Host, own: &[u32]) -> BTreeMap<u32, u64> {
    let pids = own.iter().copied().chain([std::process::id()]);
    pids.filter_map(|pid| {
        let text = host.text(&format!("/proc/{pid}/stat"))?;
        Some((pid, process_ticks(&text)?))
    })
    .collect()
}

/// utime + stime + cutime + cstime. The name in parentheses may hold anything, even parentheses.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<u64> =
        rest.split_whitespace().skip(11).take(4).map_while(|w| w.parse().ok()).collect();
    (fields.len() == 4).then(|| fields.iter().fold(0u64, |a, b| a.saturating_add(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordedHost;

    const BEFORE: &str =
        "cpu  10 0 0 90 0 0 0 0 0 0\ncpu0 10 0 0 40 0 0 0 0 0 0\ncpu1 0 0 0 50 0 0 0 0 0 0\n";
    const AFTER: &str =
        "cpu  310 0 0 90 0 0 0 0 0 0\ncpu0 110 0 0 40 0 0 0 0 0 0\ncpu1 150 0 0 50 0 0 0 50 0 0\n";

    fn stat(user: u64) -> String {
        format!("7 (a (b) c) R 1 1 1 0 -1 0 0 0 0 0 {user} 0 0 0 20 0 1 0")
    }

    #[test]
    fn our_own_time_is_not_foreign_and_stolen_time_is() {
        let mut host = RecordedHost::empty("linux", "x86_64");
        host.set_file("/proc/stat", BEFORE);
        host.set_file("/proc/7/stat", &stat(5));
        let monitor = LoadMonitor::start(&host, &[7]);
        host.set_file("/proc/stat", AFTER);
        host.set_file("/proc/7/stat", &stat(105));
        // 300 ticks busy, 100 of them ours, over two seconds. The total line has no stolen time.
        assert_eq!(monitor.foreign_over(&host, &[7], 2.0), Some(1.0));
        let monitor = LoadMonitor { cpus: vec![1], busy: Some(0), ..monitor };
        assert_eq!(monitor.foreign_over(&host, &[], 1.0), Some(2.0));
    }

    #[test]
    fn odd_process_lines_give_nothing() {
        assert_eq!(process_ticks(&stat(9)), Some(9));
        for odd in ["", "1 (x", "1 (x) R 1 2", "1 (x) R a b c d e f g h i j k l m n"] {
            assert_eq!(process_ticks(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_host_that_tells_nothing_gives_an_empty_state() {
        let host = RecordedHost::empty("linux", "x86_64");
        assert_eq!(host_state(&host), HostState::default());
    }
}

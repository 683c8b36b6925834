//! Asks a host everything. Infallible: what cannot be read is absent, what is odd is a problem.

use super::host::Host;
use super::live::LiveHost;
use super::report::{ProbeReport, System};
use super::{
    apis, cache, cpu, fingerprint, gpu, limits, measure, memory, npu, parts, pci, power, system,
};
use crate::model::{DeviceProblem, Fact};

/// What a probe may do beyond reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Add measurements kept from an earlier `--measure` of the same fingerprint.
    pub use_cache: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { use_cache: true }
    }
}

/// Probes this machine; where nothing was measured yet, measures the essentials (about a second) and keeps them.
///
/// `before` is called once if measuring is needed, so that a person knows what takes the time.
pub fn run_with_essentials(before: impl FnOnce()) -> ProbeReport {
    let mut report = run(&LiveHost::new(), ProbeOptions::default());
    if report.measured.is_none() {
        before();
        let measured = measure::measure_essentials(&report);
        // A cache that cannot be written costs a second next time.
        let _ = cache::store_measured(&measured);
        report.measured = Some(measured);
    }
    report
}

/// Probes a host: facts with sources, and problems with hints.
pub fn run(host: &dyn Host, options: ProbeOptions) -> ProbeReport {
    let mut problems = Vec::new();
    let mut root_would_add = Vec::new();
    let mut system = system::read(host);
    system.soc =
        parts::soc_of(host).map(|s| Fact { value: s.name.clone(), source: s.identified_by });
    let cpu = cpu::read(host);
    let memory = memory::read(host, &mut root_would_add);
    let allowed = limits::read(host, &cpu, &memory);
    let pci = pci::devices(host);
    let gpus = gpu::read(host, &pci, &mut problems);
    let npus = npu::read(host, &pci, &mut problems);
    let apis = apis::read(host, &system.os);
    let power = power::read(host, &mut root_would_add);
    if host.is_root() {
        root_would_add.clear();
    }
    let mut report = ProbeReport {
        fingerprint: String::new(),
        system,
        cpu,
        memory,
        allowed,
        gpus,
        npus,
        apis,
        power,
        measured: None,
        problems,
        root_would_add,
    };
    odd(&mut report);
    report.fingerprint = fingerprint::id(&report);
    if options.use_cache {
        report.measured = cache::cached_measured(&report.fingerprint);
    }
    report
}

/// Facts that contradict each other or cost speed.
fn odd(report: &mut ProbeReport) {
    let problems = &mut report.problems;
    let mut add = |what: String, hint: &str| {
        problems.push(DeviceProblem { what, hint: hint.to_owned() });
    };
    if report.cpu.threads.is_none() {
        add("the number of CPUs is not readable".into(), "is /sys mounted?");
    }
    if report.memory.total_bytes.is_none() {
        add("the amount of memory is not readable".into(), "is /proc mounted?");
    }
    if report.power.on_battery.as_ref().is_some_and(|f| f.value) {
        add("running on battery".into(), "plug in before measuring");
    }
    for reason in &report.power.throttled_now {
        add(format!("the firmware reports: {reason}"), "check power supply and cooling");
    }
    if report.cpu.governor.as_ref().is_some_and(|g| g.value == "powersave")
        && !intel_pstate(&report.system, &report.cpu.energy_preference)
    {
        add(
            "CPU governor `powersave` holds the lowest clock".into(),
            "use `performance` to measure",
        );
    }
}

/// With an energy preference `powersave` is the normal, dynamic governor of intel_pstate and amd_pstate.
fn intel_pstate(system: &System, preference: &super::report::Known<String>) -> bool {
    system.arch == "x86_64" && preference.is_some()
}

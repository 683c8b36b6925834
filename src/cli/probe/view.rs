//! The report for a person: sections of 80 columns, each fact with the kind of its source.

use std::collections::BTreeMap;

use crate::cli::devices::Answer;
use crate::model::{Fact, Source};
use crate::probe::{
    Access, CoreKind, FactChange, Gpu, GpuKind, Loader, Measured, Npu, ProbeReport, Rate,
};
use crate::report::{paragraph, plain, wrap};

const WIDTH: usize = 80;
const LABEL: usize = 16;
const TAG: usize = 9;

/// Lines under construction.
struct View(String);

impl View {
    fn section(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(title);
        self.0.push('\n');
    }

    /// `  label   value ........ source`, wrapped; untrusted text was cleaned by the probe.
    fn row(&mut self, label: &str, value: &str, source: Option<&Source>) {
        let room = WIDTH - 2 - LABEL - 1 - TAG;
        for (i, line) in wrap(&plain(value), room).iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let tag = if i == 0 { source.map_or("", tag) } else { "" };
            let text = format!("  {label:LABEL$}{line:room$} {tag:>TAG$}");
            self.0.push_str(text.trim_end());
            self.0.push('\n');
        }
    }

    fn fact<T>(&mut self, label: &str, fact: Option<&Fact<T>>, show: impl FnOnce(&T) -> String) {
        if let Some(f) = fact {
            self.row(label, &show(&f.value), Some(&f.source));
        }
    }

    fn text(&mut self, label: &str, fact: Option<&Fact<String>>) {
        self.fact(label, fact, String::clone);
    }

    fn paragraph(&mut self, indent: &str, text: &str) {
        self.0.push_str(&paragraph(indent, &plain(text), WIDTH));
    }
}

fn tag(source: &Source) -> &'static str {
    match source {
        Source::Measured => "measured",
        Source::Reported { .. } => "reported",
        Source::Inferred { .. } => "inferred",
        Source::Published { .. } => "published",
        Source::Override => "given",
    }
}

fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
        n if n >= 1 << 20 => format!("{:.0} MiB", n as f64 / f64::from(1 << 20)),
        n if n >= 1 << 10 => format!("{:.0} KiB", n as f64 / 1024.0),
        n => format!("{n} B"),
    }
}

fn size(n: &u64) -> String {
    bytes(*n)
}

fn yes(b: &bool) -> String {
    if *b { "yes" } else { "no" }.to_owned()
}

pub(super) fn report(r: &ProbeReport) -> String {
    let mut v = View(String::new());
    system(&mut v, r);
    cpu(&mut v, r);
    memory(&mut v, r);
    allowed(&mut v, r);
    for (i, gpu) in r.gpus.iter().enumerate() {
        gpu_section(&mut v, i, gpu);
    }
    for (i, npu) in r.npus.iter().enumerate() {
        npu_section(&mut v, i, npu);
    }
    apis(&mut v, r);
    power(&mut v, r);
    match &r.measured {
        Some(m) => measured(&mut v, m),
        None => {
            v.section("Measured");
            v.row("", "nothing yet: `edge-advisor probe --measure` takes some seconds", None);
        }
    }
    ends(&mut v, r);
    v.0
}

fn system(v: &mut View, r: &ProbeReport) {
    let s = &r.system;
    v.section("Device");
    v.text("machine", s.machine.as_ref());
    v.fact("class", s.class.as_ref(), |c| format!("{c:?}").to_lowercase());
    v.text("chip", s.soc.as_ref());
    v.text("system", s.distribution.as_ref());
    v.fact("kernel", s.kernel.as_ref(), |k| format!("{k} ({})", s.arch));
    v.text("hypervisor", s.hypervisor.as_ref());
    v.text("container", s.container.as_ref());
    if s.wsl {
        v.row("", "Windows Subsystem for Linux", None);
    }
    v.row("fingerprint", &r.fingerprint, None);
}

fn cpu(v: &mut View, r: &ProbeReport) {
    let c = &r.cpu;
    v.section("CPU");
    v.text("model", c.model.as_ref());
    v.text("architecture", c.microarchitecture.as_ref());
    v.fact("cores", c.cores.as_ref(), |n| {
        let threads =
            c.threads.as_ref().map_or_else(String::new, |t| format!(", {} threads", t.value));
        let sockets = c.sockets.as_ref().filter(|s| s.value > 1);
        let sockets = sockets.map_or_else(String::new, |s| format!(", {} sockets", s.value));
        format!("{n} cores{threads}{sockets}")
    });
    if c.groups.len() > 1 {
        for g in &c.groups {
            let kind = if g.kind == CoreKind::Performance { "performance" } else { "efficiency" };
            let clock =
                g.max_mhz.map_or_else(String::new, |m| format!(" up to {:.2} GHz", m / 1000.0));
            let cpus = if g.cpus.is_empty() { String::new() } else { format!(" (CPU {})", g.cpus) };
            v.row("", &format!("{} {kind} {}{clock}{cpus}", g.cores, g.name), None);
        }
    }
    let ghz = |m: &f64| format!("{:.2} GHz", m / 1000.0);
    v.fact("base clock", c.base_mhz.as_ref(), ghz);
    v.fact("max clock", c.max_mhz.as_ref(), ghz);
    let caches: Vec<String> = c
        .caches
        .iter()
        .filter(|c| c.kind != "instruction")
        .map(|c| format!("L{} {} x{}", c.level, bytes(c.bytes), c.instances))
        .collect();
    if !caches.is_empty() {
        v.row("caches", &caches.join(", "), None);
    }
    if c.numa.len() > 1 {
        v.row("NUMA nodes", &c.numa.len().to_string(), None);
    }
    v.fact("instructions", c.isa.as_ref(), |isa| {
        let names: Vec<String> = isa.iter().map(isa_name).collect();
        if names.is_empty() { "none that inference uses".to_owned() } else { names.join(" ") }
    });
    v.fact("SMT", c.smt.as_ref(), |b| if *b { "on" } else { "off" }.to_owned());
    v.text("governor", c.governor.as_ref());
    v.text("preference", c.energy_preference.as_ref());
    for m in &c.mitigations {
        v.row("mitigation", &format!("{} (slows {})", m.name, m.costs), None);
    }
}

/// The name serde gives it, which the records use too.
fn isa_name(isa: &crate::model::Isa) -> String {
    serde_json::to_value(isa).ok().and_then(|v| Some(v.as_str()?.to_owned())).unwrap_or_default()
}

fn memory(v: &mut View, r: &ProbeReport) {
    let m = &r.memory;
    v.section("Memory");
    v.fact("total", m.total_bytes.as_ref(), size);
    v.fact("available", m.available_bytes.as_ref(), size);
    v.fact("type", m.kind.as_ref(), |kind| {
        let speed = m.speed_mts.as_ref().map_or_else(String::new, |s| format!("-{}", s.value));
        let count =
            m.modules.as_ref().map_or_else(String::new, |n| format!(", {} modules", n.value));
        format!("{kind}{speed}{count}")
    });
    v.fact("peak bandwidth", m.peak_gbs.as_ref(), |g| format!("{g:.1} GB/s"));
    v.fact("swap", m.swap_bytes.as_ref().filter(|s| s.value > 0), size);
    v.text("huge pages", m.transparent_huge_pages.as_ref());
    v.fact("unified", m.unified.as_ref(), yes);
}

fn allowed(v: &mut View, r: &ProbeReport) {
    let a = &r.allowed;
    v.section("This process may use");
    v.fact("CPU time", a.cpus.as_ref(), |c| {
        let list = a.cpu_list.as_ref().map_or_else(String::new, |l| format!(" on CPU {}", l.value));
        format!("{c} CPUs{list}")
    });
    v.fact("memory", a.memory_bytes.as_ref(), size);
    v.fact("usable now", a.memory_available_bytes.as_ref(), size);
    v.text("control groups", a.cgroup.as_ref());
    v.fact("group CPUs", a.cgroup_cpus.as_ref(), f64::to_string);
    v.fact("group memory", a.cgroup_memory_bytes.as_ref(), |n| {
        let used = a.cgroup_memory_used_bytes.as_ref().map_or(0, |u| u.value);
        format!("{} ({} in use)", bytes(*n), bytes(used))
    });
    v.fact("address space", a.address_space_bytes.as_ref(), size);
    v.fact("locked memory", a.locked_memory_bytes.as_ref(), size);
    v.fact("free disk", a.disk_free_bytes.as_ref(), size);
}

fn gpu_section(v: &mut View, index: usize, g: &Gpu) {
    v.section(&format!("GPU {index}"));
    v.text("name", Some(&g.name));
    v.fact("kind", Some(&g.kind), |k| {
        let laptop = g.laptop_part.as_ref().is_some_and(|l| l.value && *k == GpuKind::Discrete);
        let kind = format!("{k:?}").to_lowercase();
        if laptop { format!("{kind}, laptop part") } else { kind }
    });
    v.text("architecture", g.architecture.as_ref());
    v.fact("compute cap.", g.compute_capability.as_ref(), String::clone);
    v.row("bus", &format!("{} {}", g.bus, g.pci_id), None);
    v.text("driver", g.driver.as_ref());
    v.text("CUDA", g.cuda.as_ref());
    if let Some((path, access)) = &g.node {
        v.row("node", &format!("{path} ({})", access_name(*access)), None);
    }
    v.fact("own memory", g.memory_bytes.as_ref(), size);
    v.fact("free", g.memory_free_bytes.as_ref(), size);
    v.fact("may map", g.shared_memory_bytes.as_ref(), size);
    if g.unified {
        v.row("memory", "shared with the CPU", None);
    }
    v.fact("bandwidth", g.bandwidth_gbs.as_ref(), |b| format!("{b:.0} GB/s"));
    v.fact("FP32", g.fp32_tflops.as_ref(), |t| format!("{t:.1} TFLOP/s"));
    v.fact("FP16", g.fp16_tflops.as_ref(), |t| format!("{t:.1} TFLOP/s"));
    v.fact("PCIe", g.pcie_gen.as_ref(), |generation| {
        let get = |f: &Option<Fact<u32>>| {
            f.as_ref().map_or_else(|| "?".to_owned(), |f| f.value.to_string())
        };
        let (width, most) = (get(&g.pcie_width), get(&g.pcie_gen_max));
        format!("gen {generation} x{width} now, gen {most} x{} at most", get(&g.pcie_width_max))
    });
    v.fact("power limit", g.power_limit_w.as_ref(), |w| format!("{w:.0} W"));
    v.fact("temperature", g.temperature_c.as_ref(), |t| format!("{t:.0} C"));
    if !g.throttle.is_empty() {
        v.row("slowed by", &g.throttle.join(", "), None);
    }
    v.fact("load", g.load_percent.as_ref(), |l| format!("{l} %"));
    v.fact("MIG", g.mig.as_ref().filter(|m| m.value), yes);
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Usable => "usable",
        Access::Denied => "not accessible to this user",
        Access::Absent => "missing",
    }
}

fn npu_section(v: &mut View, index: usize, n: &Npu) {
    v.section(&format!("NPU {index}"));
    v.text("name", Some(&n.name));
    v.row("generation", &format!("{} ({})", n.generation, n.id), None);
    v.text("driver", n.driver.as_ref());
    if let Some((path, access)) = &n.node {
        v.row("node", &format!("{path} ({})", access_name(*access)), None);
    }
    v.fact("INT8", n.int8_tops.as_ref(), |t| format!("{t} TOP/s"));
}

fn apis(v: &mut View, r: &ProbeReport) {
    v.section("Compute APIs");
    let mut none = Vec::new();
    for a in &r.apis {
        let name = format!("{:?}", a.api);
        let state = match &a.state {
            Loader::Absent => {
                none.push(name);
                continue;
            }
            Loader::Loads { devices: Some(n) } => {
                format!("{} loads, {n} devices or drivers", a.library)
            }
            Loader::Loads { devices: None } => format!("{} loads", a.library),
            Loader::Broken(why) => format!("broken: {why}"),
            Loader::TimedOut => format!("{} did not answer in time", a.library),
        };
        let drivers = if a.drivers.is_empty() {
            String::new()
        } else {
            format!("; {}", a.drivers.join(", "))
        };
        v.row(&name, &format!("{state}{drivers}"), None);
    }
    if !none.is_empty() {
        v.row("not installed", &none.join(", "), None);
    }
}

fn power(v: &mut View, r: &ProbeReport) {
    let p = &r.power;
    v.section("Power and heat");
    v.fact("source", p.on_battery.as_ref(), |b| if *b { "battery" } else { "mains" }.to_owned());
    v.fact("battery", p.battery_percent.as_ref(), |b| format!("{b} %"));
    v.text("profile", p.profile.as_ref());
    let hot = p.thermal.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius));
    if let Some(t) = hot {
        let limit = t.passive_celsius.or(t.critical_celsius);
        let limit = limit.map_or_else(String::new, |l| format!(", slows down at {l:.0} C"));
        v.row("hottest", &format!("{} {:.0} C{limit}", t.name, t.celsius), None);
    }
    v.fact("throttle events", p.throttle_events.as_ref(), u64::to_string);
    let (readable, denied): (Vec<_>, Vec<_>) = p.energy.iter().partition(|e| e.readable);
    let names = |list: &[&crate::probe::EnergyCounter]| {
        list.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    if !readable.is_empty() {
        v.row("energy", &names(&readable), None);
    }
    if !denied.is_empty() {
        v.row("energy (root)", &names(&denied), None);
    }
    if p.on_battery.is_none() && p.thermal.is_empty() && p.energy.is_empty() {
        v.row("", "no sensors here", None);
    }
}

fn rate(r: &Rate, unit: &str) -> String {
    let spread = if r.spread > 0.05 {
        format!(" (middle {:.0} % lower)", r.spread * 100.0)
    } else {
        String::new()
    };
    format!("{:.3} {unit}{spread}", r.best)
}

fn measured(v: &mut View, m: &Measured) {
    v.section(&format!("Measured {}", m.when.get(..16).unwrap_or(&m.when).replace('T', " ")));
    let source = Source::Measured;
    for kernel in ["read", "copy", "triad"] {
        if let Some(p) = m.ram_gbs(kernel) {
            let gbs = rate(&p.gbs, "GB/s").replacen(
                &format!("{:.3}", p.gbs.best),
                &format!("{:.1}", p.gbs.best),
                1,
            );
            v.row(
                &format!("RAM {kernel}"),
                &format!("{gbs}, {} threads, {}", p.threads, p.isa),
                Some(&source),
            );
        }
    }
    for p in m.compute.iter().filter(|p| m.tera(&p.kind).is_some_and(|best| best == *p)) {
        let text = format!("{}, {} threads, {}", rate(&p.tera, "T/s"), p.threads, p.kernel);
        v.row(&p.kind, &text, Some(&source));
    }
    if let Some(c) = &m.clock_ghz {
        v.row("clock", &format!("{:.2} GHz", c.best), Some(&source));
    }
    if let Some(d) = &m.disk_gbs {
        v.row("disk read", &rate(d, "GB/s"), Some(&source));
    }
    for p in &m.accelerators {
        let rate = |r: &Option<Rate>, unit| r.as_ref().map(|r| rate(r, unit));
        let rates = [rate(&p.read_gbs, "GB/s"), rate(&p.f16_tflops, "TFLOP/s f16")];
        let rates: Vec<String> = rates.into_iter().flatten().collect();
        let text = match p.problem.as_str() {
            "" => rates.join(", "),
            why => format!("not measured: {why}"),
        };
        let source = p.problem.is_empty().then_some(&source);
        v.row(&p.device, &format!("{text}, by {}", p.framework), source);
    }
    for note in &m.notes {
        v.paragraph("  note: ", note);
    }
}

fn ends(v: &mut View, r: &ProbeReport) {
    if !r.problems.is_empty() {
        v.section("Problems");
        for p in &r.problems {
            v.paragraph("  - ", &p.what);
            if !p.hint.is_empty() {
                v.paragraph("    hint: ", &p.hint);
            }
        }
    }
    if !r.root_would_add.is_empty() {
        v.section("Root would add");
        for what in &r.root_would_add {
            v.paragraph("  - ", what);
        }
    }
}

/// The devices that installed frameworks list; empty where none is installed.
pub(super) fn frameworks(answers: &BTreeMap<&str, Answer>) -> String {
    let mut v = View(String::new());
    for (id, answer) in answers {
        v.section(&format!("Devices of {id}"));
        for (device, what) in answer.lines() {
            v.row(&device, &what, None);
        }
    }
    if v.0.is_empty() { v.0 } else { format!("\n{}", v.0) }
}

pub(super) fn diff(a: &ProbeReport, b: &ProbeReport, changes: &[FactChange]) -> String {
    let mut v = View(String::new());
    v.section(&format!("{} -> {}", a.fingerprint, b.fingerprint));
    if changes.is_empty() {
        v.row("", "no fact of the fingerprint differs", None);
    }
    for c in changes {
        let shown = |s: &str| if s.is_empty() { "(nothing)".to_owned() } else { s.to_owned() };
        v.row(&c.fact, &format!("- {}", shown(&c.before)), None);
        v.row("", &format!("+ {}", shown(&c.after)), None);
    }
    v.0
}

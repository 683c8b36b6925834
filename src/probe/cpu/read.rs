//! Puts the CPU section together, per operating system.

use super::{cache, identity, isa, topology};
use crate::model::Fact;
use crate::probe::host::Host;
use crate::probe::report::{Cache, CoreGroup, CoreKind, Cpu, Known, Mitigation};
use crate::probe::{apple, parse, windows};

const CPU: &str = "/sys/devices/system/cpu";

pub(crate) fn read(host: &dyn Host) -> Cpu {
    let cpuinfo = host.text("/proc/cpuinfo").unwrap_or_default();
    let mut cpu = Cpu { isa: isa::read(host, &cpuinfo), ..Cpu::default() };
    identity::fill(host, &cpuinfo, &mut cpu);
    match host.os().as_str() {
        "macos" => macos(host, &mut cpu),
        "windows" => windows(host, &mut cpu),
        _ => linux(host, &cpuinfo, &mut cpu),
    }
    cpuid_clocks(host, &mut cpu);
    cpu
}

fn linux(host: &dyn Host, cpuinfo: &str, cpu: &mut Cpu) {
    let logical = topology::linux(host, cpuinfo);
    let ids: Vec<u32> = logical.iter().map(|c| c.id).collect();
    let count = |n: usize| u32::try_from(n).ok().filter(|&n| n > 0);
    cpu.threads = count(logical.len()).map(|n| Fact::reported(n, format!("{CPU}/online")));
    cpu.cores = count(topology::count_cores(&logical) as usize)
        .map(|n| Fact::reported(n, format!("{CPU}/cpu*/topology")));
    let packages: std::collections::BTreeSet<u32> = logical.iter().map(|c| c.package).collect();
    // Arm boards give each cluster a package of its own: no socket count can be told from it.
    if cpu.vendor.is_some() && host.arch() == "x86_64" {
        cpu.sockets =
            count(packages.len()).map(|n| Fact::reported(n, format!("{CPU}/cpu*/topology")));
    }
    cpu.groups = topology::groups(host, &logical);
    if cpu.microarchitecture.is_none() {
        let names: Vec<&str> =
            cpu.groups.iter().map(|g| g.name.as_str()).filter(|n| !n.is_empty()).collect();
        let mut names: Vec<&str> = names;
        names.dedup();
        cpu.microarchitecture =
            (!names.is_empty()).then(|| Fact::inferred(names.join(" + "), "MIDR part numbers"));
    }
    let most = |f: fn(&topology::Logical) -> Option<f64>| {
        logical.iter().filter_map(f).fold(None, |m, v| Some(m.map_or(v, |m: f64| m.max(v))))
    };
    cpu.max_mhz = most(|c| c.max_mhz).map(|v| Fact::reported(v, "cpufreq/cpuinfo_max_freq"));
    cpu.base_mhz = most(|c| c.base_mhz).map(|v| Fact::reported(v, "cpufreq/base_frequency"));
    cpu.caches = cache::linux(host, &ids);
    cpu.numa = cache::numa(host);
    cpu.smt = host
        .text(&format!("{CPU}/smt/active"))
        .map(|t| Fact::reported(t == "1", format!("{CPU}/smt/active")));
    let first = ids.first().copied().unwrap_or(0);
    let policy = |file: &str| {
        let path = format!("{CPU}/cpu{first}/cpufreq/{file}");
        host.text(&path).map(|v| Fact::reported(parse::clean(&v), path))
    };
    cpu.governor = policy("scaling_governor");
    cpu.energy_preference = policy("energy_performance_preference");
    cpu.mitigations = mitigations(host);
}

/// Mitigations known to cost speed, and what they slow down (Documentation/admin-guide/hw-vuln).
const COSTLY: &[(&str, &str)] = &[
    ("gather_data_sampling", "AVX2 and AVX-512 gathers"),
    ("l1tf", "virtual machines; SMT may be off"),
    ("mds", "system calls; SMT may be off"),
    ("meltdown", "system calls and page faults"),
    ("reg_file_data_sampling", "system calls on efficiency cores"),
    ("retbleed", "system calls"),
    ("spec_rstack_overflow", "system calls and context switches"),
    ("tsa", "idle transitions"),
    ("vmscape", "exits of virtual machines"),
];

fn mitigations(host: &dyn Host) -> Vec<Mitigation> {
    let active = COSTLY.iter().filter_map(|(name, costs)| {
        let state = host.text(&format!("{CPU}/vulnerabilities/{name}"))?;
        state.starts_with("Mitigation").then(|| Mitigation {
            name: (*name).to_owned(),
            state: parse::clean(&state),
            costs: (*costs).to_owned(),
        })
    });
    active.collect()
}

/// Highest current clock of the given CPUs in MHz, for the host's state.
pub(crate) fn current_mhz(host: &dyn Host, cpus: &[u32]) -> Option<f64> {
    let from_policy = cpus
        .iter()
        .take(16)
        .filter_map(|c| host.number(&format!("{CPU}/cpu{c}/cpufreq/scaling_cur_freq")))
        .max();
    if let Some(khz) = from_policy {
        return Some(khz as f64 / 1000.0);
    }
    let cpuinfo = host.text("/proc/cpuinfo")?;
    let all = cpuinfo
        .lines()
        .filter_map(|l| l.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse::<f64>().ok());
    all.filter(|v| v.is_finite()).fold(None, |m, v| Some(m.map_or(v, |m: f64| m.max(v))))
}

fn macos(host: &dyn Host, cpu: &mut Cpu) {
    let Some(text) = apple::sysctl_text(host) else { return };
    let number = |key: &str| parse::sysctl(&text, key)?.parse::<u64>().ok();
    let fact = |key: &str| {
        let n = u32::try_from(number(key)?).ok()?;
        Some(Fact::reported(n, format!("sysctl {key}")))
    };
    cpu.cores = fact("hw.physicalcpu");
    cpu.threads = fact("hw.logicalcpu");
    cpu.sockets = fact("hw.packages");
    for level in 0..number("hw.nperflevels").unwrap_or(1).min(4) {
        let key = |k: &str| format!("hw.perflevel{level}.{k}");
        let Some(cores) = number(&key("physicalcpu")).and_then(|n| u32::try_from(n).ok()) else {
            continue;
        };
        let kind = if level == 0 { CoreKind::Performance } else { CoreKind::Efficiency };
        cpu.groups.push(CoreGroup {
            kind,
            name: parse::sysctl(&text, &key("name")).map(parse::clean).unwrap_or_default(),
            cores,
            by: key("physicalcpu"),
            ..CoreGroup::default()
        });
        let caches = [
            (1, "data", "l1dcachesize"),
            (1, "instruction", "l1icachesize"),
            (2, "unified", "l2cachesize"),
        ];
        for (cache_level, cache_kind, name) in caches {
            let Some(bytes) = number(&key(name)) else { continue };
            let shared = if cache_level == 2 {
                number(&key("cpusperl2")).unwrap_or(1).clamp(1, 64) as u32
            } else {
                1
            };
            let line_bytes = number("hw.cachelinesize").and_then(|n| u32::try_from(n).ok());
            cache::add(
                &mut cpu.caches,
                Cache {
                    level: cache_level,
                    kind: cache_kind.into(),
                    bytes,
                    instances: cores.div_ceil(shared),
                    shared_by: shared,
                    line_bytes,
                },
            );
        }
    }
    let hz: Known<f64> = number("hw.cpufrequency_max")
        .map(|v| Fact::reported(v as f64 / 1e6, "sysctl hw.cpufrequency_max"));
    cpu.max_mhz = hz;
}

fn windows(host: &dyn Host, cpu: &mut Cpu) {
    let Some(text) = windows::text(host) else { return };
    let class = "Win32_Processor";
    let sockets =
        (0..64).take_while(|&i| windows::value(&text, class, i, "Name").is_some()).count();
    let sum = |p: &str| {
        let all =
            (0..sockets).filter_map(|i| windows::value(&text, class, i, p)?.parse::<u32>().ok());
        let sum = all.fold(0u32, u32::saturating_add);
        (sum > 0).then(|| Fact::reported(sum, class))
    };
    cpu.sockets = (sockets > 0).then(|| Fact::reported(sockets as u32, class));
    cpu.cores = sum("NumberOfCores");
    cpu.threads = sum("NumberOfLogicalProcessors");
    // Windows' `MaxClockSpeed` is the base clock.
    cpu.base_mhz = windows::value(&text, class, 0, "MaxClockSpeed")
        .and_then(|v| v.parse().ok())
        .map(|v| Fact::reported(v, class));
    for (level, property) in [(2, "L2CacheSize"), (3, "L3CacheSize")] {
        let kib = windows::value(&text, class, 0, property).and_then(|v| v.parse::<u64>().ok());
        if let Some(bytes) = kib.filter(|&k| k > 0).and_then(|k| k.checked_mul(1024)) {
            let instances = sockets.max(1) as u32;
            cpu.caches.push(Cache {
                level,
                kind: "unified".into(),
                bytes,
                instances,
                ..Cache::default()
            });
        }
    }
    if let Some(cores) = &cpu.cores {
        cpu.groups.push(CoreGroup { cores: cores.value, by: class.into(), ..CoreGroup::default() });
    }
}

/// Intel's leaf 0x16 gives base and maximum in MHz where the system has no cpufreq.
fn cpuid_clocks(host: &dyn Host, cpu: &mut Cpu) {
    if host.cpuid(0, 0).is_none_or(|r| r[0] < 0x16) {
        return;
    }
    let Some([base, max, ..]) = host.cpuid(0x16, 0) else { return };
    let fact = |mhz: u32| {
        let mhz = mhz & 0xffff;
        (mhz > 0).then(|| Fact::reported(f64::from(mhz), "CPUID leaf 0x16"))
    };
    cpu.base_mhz = cpu.base_mhz.take().or_else(|| fact(base));
    cpu.max_mhz = cpu.max_mhz.take().or_else(|| fact(max));
}

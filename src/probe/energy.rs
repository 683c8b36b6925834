//! What is spent: counters of joules, or sensors of watts added up over time, whichever this host lets us read.
//!
//! One source is chosen by what the case runs on, so that its scope can be said in two words.

use super::host::{Host, ReadError};
use super::{nvml, parse};

/// Where the host's `/sys` is mounted, for a container that has its own.
const SYSFS: &str = "EDGE_ADVISOR_SYSFS";
/// A figure needs a span of this many counter updates, so that the update that falls outside is at most 5 % of it.
const UPDATES: f64 = 20.0;
/// RAPL counters move once a millisecond (Intel SDM, volume 3, "RAPL interfaces").
const RAPL_UPDATE_S: f64 = 0.001;
/// NVML's energy counter moves every 20 to 100 ms, by generation (Yang et al. 2024, "Part-time power measurements").
const NVML_UPDATE_S: f64 = 0.1;
/// How often a sensor of power is read, and what its own averaging may add.
const POLL_S: f64 = 0.05;
/// Fuel gauges report about once a second; twenty of those would take too long, ten are within 10 %.
const BATTERY_SPAN_S: f64 = 10.0;

/// No counter can be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoEnergy {
    pub why: String,
    /// The permission or setting that would help; empty where none would.
    pub hint: String,
}

/// Adds up the energy of one source.
#[derive(Debug)]
pub struct EnergyMeter {
    /// Counters by name, `RAPL package-0 + dram`.
    pub source: String,
    /// What they cover: `CPU package`, `GPU board`, `board`, `whole device`.
    pub scope: String,
    /// Shortest span that gives a figure, in seconds.
    pub span_s: f64,
    inputs: Vec<Input>,
    total_j: f64,
    /// How often a reading failed: a span with a failure in it counts for nothing.
    pub failures: u32,
}

#[derive(Debug)]
enum Input {
    /// Counts up in microjoules, and begins again at 0 behind `range`.
    Counter { path: String, range: Option<u64>, last: Option<u64> },
    /// A GPU's counter in millijoules.
    Gpu { index: u32, last: Option<u64> },
    /// Power right now; the last reading and its time.
    Power { sensor: Sensor, last: Option<(f64, f64)> },
}

#[derive(Debug)]
enum Sensor {
    Microwatts(String),
    /// Volts and amperes, with the power of ten that makes watts of their product.
    Product(String, String, f64),
}

impl EnergyMeter {
    /// The source for a case on `device`, as a backend names it.
    pub fn find(host: &dyn Host, device: &str) -> Result<Self, NoEnergy> {
        match host.os().as_str() {
            "linux" | "android" => {}
            "macos" => {
                return Err(NoEnergy {
                    why: "macOS shows energy to root alone, through powermetrics".to_owned(),
                    hint: String::new(),
                });
            }
            other => {
                let why = format!("no energy counter is read on {other}");
                return Err(NoEnergy { why, hint: String::new() });
            }
        }
        let sys = host.env(SYSFS).unwrap_or_else(|| "/sys".to_owned());
        let on_cpu = device == "cpu";
        let mut denied = Vec::new();
        let gpu =
            || if on_cpu { None } else { nvidia(host, device).or_else(|| gpu_sensor(host, &sys)) };
        let found = gpu()
            .or_else(|| board(host, &sys))
            .or_else(|| rapl(host, &sys, on_cpu, &mut denied))
            .or_else(|| battery(host, &sys));
        found.ok_or_else(|| nothing(host, &denied))
    }

    /// Energy since the first call in joules; `seconds` is now on any steady clock. `None` where a counter cannot be
    /// read or ran backwards; the next call begins anew.
    pub fn read(&mut self, host: &dyn Host, seconds: f64) -> Option<f64> {
        for input in &mut self.inputs {
            match input.advance(host, seconds) {
                Some(joules) => self.total_j += joules,
                None => {
                    self.inputs.iter_mut().for_each(Input::forget);
                    self.failures += 1;
                    return None;
                }
            }
        }
        Some(self.total_j)
    }

    /// True where [`EnergyMeter::read`] must be called every [`EnergyMeter::POLL`] to see what goes on in between.
    pub fn needs_polling(&self) -> bool {
        self.inputs.iter().any(|i| matches!(i, Input::Power { .. }))
    }

    pub const POLL: std::time::Duration =
        std::time::Duration::from_millis((POLL_S * 1000.0) as u64);

    fn new(source: String, scope: &str, span_s: f64, inputs: Vec<Input>) -> Self {
        Self { source, scope: scope.to_owned(), span_s, inputs, total_j: 0.0, failures: 0 }
    }
}

impl Input {
    fn forget(&mut self) {
        match self {
            Input::Counter { last, .. } | Input::Gpu { last, .. } => *last = None,
            Input::Power { last, .. } => *last = None,
        }
    }

    /// Joules since the last call; 0 the first time.
    fn advance(&mut self, host: &dyn Host, seconds: f64) -> Option<f64> {
        match self {
            Input::Counter { path, range, last } => {
                let now = host.number(path)?;
                let before = last.replace(now).unwrap_or(now);
                let spent = match (now.checked_sub(before), *range) {
                    (Some(spent), _) => spent,
                    // From where it was to the end, and on from 0.
                    (None, Some(range)) => range.checked_sub(before)?.checked_add(now)?,
                    (None, None) => return None,
                };
                Some(spent as f64 / 1e6)
            }
            Input::Gpu { index, last } => {
                let now = host.nvml_now(*index)?.energy_mj?;
                let before = last.replace(now).unwrap_or(now);
                Some(now.checked_sub(before)? as f64 / 1e3)
            }
            Input::Power { sensor, last } => {
                let now = (seconds, sensor.watts(host)?);
                let before = last.replace(now).unwrap_or(now);
                // Trapezoid: power moves evenly from one reading to the next.
                Some((now.0 - before.0).max(0.0) * (now.1 + before.1) / 2.0)
            }
        }
    }
}

impl Sensor {
    fn watts(&self, host: &dyn Host) -> Option<f64> {
        // Some fuel gauges count discharging as negative.
        let number =
            |path: &str| host.text(path)?.parse::<i64>().ok().map(|n| n.unsigned_abs() as f64);
        Some(match self {
            Sensor::Microwatts(path) => number(path)? / 1e6,
            Sensor::Product(volts, amperes, unit) => number(volts)? * number(amperes)? * unit,
        })
    }
}

fn nvidia(host: &dyn Host, device: &str) -> Option<EnergyMeter> {
    let index = nvml::index(host, device)?;
    // A Jetson's own GPU has no counter; its board has sensors.
    host.nvml_now(index)?.energy_mj?;
    let source = format!("NVML total energy of GPU {index}");
    let inputs = vec![Input::Gpu { index, last: None }];
    Some(EnergyMeter::new(source, "GPU board", UPDATES * NVML_UPDATE_S, inputs))
}

/// Intel's GPU drivers count energy, AMD's tell power.
fn gpu_sensor(host: &dyn Host, sys: &str) -> Option<EnergyMeter> {
    let class = format!("{sys}/class/hwmon");
    for monitor in host.list(&class).iter().take(64) {
        let dir = format!("{class}/{monitor}");
        let chip = host.text(&format!("{dir}/name")).unwrap_or_default();
        if !matches!(chip.as_str(), "amdgpu" | "i915" | "xe") {
            continue;
        }
        let counter = format!("{dir}/energy1_input");
        if host.number(&counter).is_some() {
            let inputs = vec![Input::Counter { path: counter, range: None, last: None }];
            let source = format!("{chip} energy1");
            return Some(EnergyMeter::new(source, "GPU", UPDATES * RAPL_UPDATE_S, inputs));
        }
        for file in ["power1_average", "power1_input"] {
            let path = format!("{dir}/{file}");
            if host.number(&path).is_some() {
                let inputs = vec![Input::Power { sensor: Sensor::Microwatts(path), last: None }];
                let source = format!("{chip} {file}");
                return Some(EnergyMeter::new(source, "GPU", UPDATES * POLL_S, inputs));
            }
        }
    }
    None
}

/// Power monitors on a board (INA chips). A rail that feeds the whole board stands for all; without one the rails
/// are added up and named.
fn board(host: &dyn Host, sys: &str) -> Option<EnergyMeter> {
    let class = format!("{sys}/class/hwmon");
    let mut rails: Vec<(String, Sensor)> = Vec::new();
    for monitor in host.list(&class).iter().take(64) {
        let dir = format!("{class}/{monitor}");
        let chip = parse::clean(&host.text(&format!("{dir}/name")).unwrap_or_default());
        if !chip.starts_with("ina") {
            continue;
        }
        for i in 1..=4 {
            let path = |file: &str| format!("{dir}/{file}{i}_input");
            let label = host.text(&format!("{dir}/in{i}_label"));
            let sensor = if host.number(&path("power")).is_some() {
                Sensor::Microwatts(path("power"))
            } else if label.is_some() && host.text(&path("curr")).is_some() {
                // Millivolts and milliamperes.
                Sensor::Product(path("in"), path("curr"), 1e-6)
            } else {
                continue;
            };
            if sensor.watts(host).is_some() {
                rails.push((label.map_or_else(|| chip.clone(), |l| parse::clean(&l)), sensor));
            }
        }
    }
    let input = |name: &str| {
        let name = name.to_uppercase();
        name.ends_with("_IN") || name == "VIN" || name.starts_with("INA238")
    };
    let whole = rails.iter().position(|(name, _)| input(name));
    let (scope, rails) = match whole {
        Some(i) => ("board", vec![rails.swap_remove(i)]),
        None => ("the rails named", rails),
    };
    let source = rails.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" + ");
    let inputs: Vec<Input> =
        rails.into_iter().map(|(_, sensor)| Input::Power { sensor, last: None }).collect();
    (!inputs.is_empty()).then(|| EnergyMeter::new(source, scope, UPDATES * POLL_S, inputs))
}

/// All packages and, where it is counted apart, their memory. The platform domain (`psys`) is left alone: many boards
/// do not wire it.
fn rapl(host: &dyn Host, sys: &str, on_cpu: bool, denied: &mut Vec<String>) -> Option<EnergyMeter> {
    let class = format!("{sys}/class/powercap");
    let (mut names, mut inputs) = (Vec::new(), Vec::new());
    for zone in host.list(&class).iter().filter(|n| n.contains("-rapl:")).take(64) {
        let name = parse::clean(&host.text(&format!("{class}/{zone}/name")).unwrap_or_default());
        if !(name.starts_with("package") || name == "dram") {
            continue;
        }
        let path = format!("{class}/{zone}/energy_uj");
        match host.read(&path) {
            Ok(_) => {}
            Err(ReadError::Denied) => {
                denied.push(format!("RAPL {name}"));
                continue;
            }
            Err(_) => continue,
        }
        let range = host.number(&format!("{class}/{zone}/max_energy_range_uj"));
        inputs.push(Input::Counter { path, range, last: None });
        names.push(name);
    }
    if inputs.is_empty() {
        return None;
    }
    let scope = match (names.iter().any(|n| n == "dram"), on_cpu) {
        (true, _) => "CPU package and memory",
        (false, true) => "CPU package",
        (false, false) => "CPU package with its GPU and NPU",
    };
    let source = format!("RAPL {}", names.join(" + "));
    Some(EnergyMeter::new(source, scope, UPDATES * RAPL_UPDATE_S, inputs))
}

/// A battery tells what the whole device draws, as long as nothing else feeds it.
fn battery(host: &dyn Host, sys: &str) -> Option<EnergyMeter> {
    let class = format!("{sys}/class/power_supply");
    let mut sources = Vec::new();
    let mut inputs = Vec::new();
    for name in host.list(&class).iter().take(16) {
        let path = |file: &str| format!("{class}/{name}/{file}");
        let is = |file: &str, word: &str| host.text(&path(file)).is_some_and(|t| t == word);
        if !is("type", "Battery") || is("scope", "Device") || !is("status", "Discharging") {
            continue;
        }
        let sensor = match host.number(&path("power_now")) {
            Some(_) => Sensor::Microwatts(path("power_now")),
            // Microvolts and microamperes.
            None => Sensor::Product(path("voltage_now"), path("current_now"), 1e-12),
        };
        if sensor.watts(host).is_some() {
            inputs.push(Input::Power { sensor, last: None });
            sources.push(parse::clean(name));
        }
    }
    let source = format!("battery {}", sources.join(" + "));
    (!inputs.is_empty()).then(|| EnergyMeter::new(source, "whole device", BATTERY_SPAN_S, inputs))
}

fn nothing(host: &dyn Host, denied: &[String]) -> NoEnergy {
    if !denied.is_empty() {
        return NoEnergy {
            why: format!("{} may not be read by this user", denied.join(", ")),
            hint: "as root: chmod a+r /sys/class/powercap/*/energy_uj (it lets every user watch power)".to_owned(),
        };
    }
    let container = host.exists("/.dockerenv") || host.exists("/run/.containerenv");
    let hint = match container {
        true => format!("mount the host's /sys read-only and name it in {SYSFS}"),
        false => String::new(),
    };
    NoEnergy {
        why: "this host shows no energy counter, as is usual in a virtual machine".to_owned(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{HostFile, NvmlGpu, NvmlSnapshot, RecordedHost};

    fn host(files: &[(&str, &str)]) -> RecordedHost {
        let mut host = RecordedHost::empty("linux", "x86_64");
        files.iter().for_each(|(path, text)| host.set_file(path, text));
        host
    }

    const RAPL: &str = "/sys/class/powercap/intel-rapl:0/energy_uj";

    fn packages() -> RecordedHost {
        host(&[
            ("/sys/class/powercap/intel-rapl:0/name", "package-0"),
            ("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850"),
            (RAPL, "262143000000"),
            ("/sys/class/powercap/intel-rapl:0:0/name", "core"),
            ("/sys/class/powercap/intel-rapl:0:0/energy_uj", "1"),
            ("/sys/class/powercap/intel-rapl:1/name", "psys"),
            ("/sys/class/powercap/intel-rapl:1/energy_uj", "1"),
            // The same package once more, by another interface.
            ("/sys/class/powercap/intel-rapl-mmio:0/name", "package-0"),
            ("/sys/class/powercap/intel-rapl-mmio:0/energy_uj", "1"),
        ])
    }

    #[test]
    fn a_counter_that_wraps_goes_on_from_zero() {
        let mut host = packages();
        let mut meter = EnergyMeter::find(&host, "cpu").unwrap();
        assert_eq!(
            (meter.source.as_str(), meter.scope.as_str()),
            ("RAPL package-0", "CPU package")
        );
        assert_eq!(meter.read(&host, 0.0), Some(0.0));
        host.set_file(RAPL, "262143128850");
        assert!((meter.read(&host, 1.0).unwrap() - 0.12885).abs() < 1e-9);
        // 0.2 J to the end of the range and 2 J behind it.
        host.set_file(RAPL, "2000000");
        assert!((meter.read(&host, 2.0).unwrap() - (0.12885 + 0.2 + 2.0)).abs() < 1e-9);
    }

    #[test]
    fn a_counter_that_vanishes_or_runs_backwards_gives_nothing_and_then_begins_anew() {
        let mut host = packages();
        host.set_file("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "odd");
        let mut meter = EnergyMeter::find(&host, "cpu").unwrap();
        assert!(meter.read(&host, 0.0).is_some());
        for odd in ["5", "", "x", "-1", "99999999999999999999999"] {
            host.set_file(RAPL, odd);
            assert_eq!(meter.read(&host, 1.0), None, "{odd:?}");
            host.set_file(RAPL, "1000000000000");
            let total = meter.read(&host, 2.0).unwrap();
            assert_eq!(total, 0.0);
        }
    }

    #[test]
    fn memory_counts_with_the_package_where_it_is_apart() {
        let mut host = packages();
        host.set_file("/sys/class/powercap/intel-rapl:0:2/name", "dram");
        host.set_file("/sys/class/powercap/intel-rapl:0:2/energy_uj", "7");
        let meter = EnergyMeter::find(&host, "cpu").unwrap();
        assert_eq!(meter.source, "RAPL package-0 + dram");
        assert_eq!(meter.scope, "CPU package and memory");
    }

    #[test]
    fn a_counter_that_only_root_reads_says_what_permission_helps() {
        let file = HostFile {
            os: "linux".into(),
            files: [("/sys/class/powercap/intel-rapl:0/name".to_owned(), "package-0".to_owned())]
                .into(),
            denied: vec![RAPL.to_owned()],
            ..HostFile::default()
        };
        let host = RecordedHost::from_data(file).unwrap();
        let no = EnergyMeter::find(&host, "cpu").unwrap_err();
        assert!(no.why.contains("RAPL package-0 may not be read"), "{}", no.why);
        assert!(no.hint.contains("chmod a+r"), "{}", no.hint);
        let none = EnergyMeter::find(&RecordedHost::empty("linux", "x86_64"), "cpu").unwrap_err();
        assert!(none.why.contains("no energy counter"));
        for os in ["macos", "windows"] {
            assert!(
                !EnergyMeter::find(&RecordedHost::empty(os, "x"), "cpu")
                    .unwrap_err()
                    .why
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_gpu_counts_its_board_and_a_cpu_case_does_not() {
        let snapshot = |mj| NvmlSnapshot::Ready {
            driver: String::new(),
            cuda: String::new(),
            gpus: vec![NvmlGpu::default(), NvmlGpu { energy_mj: Some(mj), ..NvmlGpu::default() }],
        };
        let at = |mj| {
            let file = HostFile {
                os: "linux".into(),
                files: [("/proc/driver/nvidia/version".to_owned(), "x".to_owned())].into(),
                nvml: snapshot(mj),
                ..HostFile::default()
            };
            RecordedHost::from_data(file).unwrap()
        };
        let mut meter = EnergyMeter::find(&at(5_000), "cuda:1").unwrap();
        assert_eq!(meter.scope, "GPU board");
        meter.read(&at(5_000), 0.0);
        assert_eq!(meter.read(&at(305_500), 1.0), Some(300.5));
        assert!(EnergyMeter::find(&at(5_000), "cuda:0").is_err(), "that one has no counter");
        assert!(EnergyMeter::find(&at(5_000), "cpu").is_err());
    }

    #[test]
    fn a_jetson_s_input_rail_stands_for_the_board_and_rails_without_one_are_added_up() {
        let dir = "/sys/class/hwmon/hwmon3";
        let mut host = host(&[(&format!("{dir}/name"), "ina3221")]);
        for (i, label, millivolt, milliampere) in [
            (1, "VDD_IN", "5000", "1200"),
            (2, "VDD_CPU_GPU_CV", "5000", "400"),
            (3, "VDD_SOC", "5000", "300"),
        ] {
            host.set_file(&format!("{dir}/in{i}_label"), label);
            host.set_file(&format!("{dir}/in{i}_input"), millivolt);
            host.set_file(&format!("{dir}/curr{i}_input"), milliampere);
        }
        // The chip's sum of currents has no label.
        host.set_file(&format!("{dir}/curr4_input"), "1900");
        let mut meter = EnergyMeter::find(&host, "cpu").unwrap();
        assert_eq!((meter.source.as_str(), meter.scope.as_str()), ("VDD_IN", "board"));
        assert!(meter.needs_polling());
        meter.read(&host, 10.0);
        host.set_file(&format!("{dir}/curr1_input"), "2000");
        // From 6 W to 10 W in two seconds: 16 J.
        assert!((meter.read(&host, 12.0).unwrap() - 16.0).abs() < 1e-9);
        host.set_file(&format!("{dir}/in1_label"), "VDD_GPU_SOC");
        let rails = EnergyMeter::find(&host, "gpu").unwrap();
        assert_eq!(rails.source, "VDD_GPU_SOC + VDD_CPU_GPU_CV + VDD_SOC");
        assert_eq!(rails.scope, "the rails named");
    }

    #[test]
    fn a_battery_counts_only_while_it_alone_feeds_the_device() {
        let dir = "/sys/class/power_supply/BAT0";
        let mut host = host(&[
            (&format!("{dir}/type"), "Battery"),
            (&format!("{dir}/status"), "Discharging"),
            (&format!("{dir}/voltage_now"), "12000000"),
            (&format!("{dir}/current_now"), "-1500000"),
        ]);
        let mut meter = EnergyMeter::find(&host, "cpu").unwrap();
        assert_eq!((meter.source.as_str(), meter.scope.as_str()), ("battery BAT0", "whole device"));
        meter.read(&host, 0.0);
        assert!((meter.read(&host, 2.0).unwrap() - 36.0).abs() < 1e-9);
        host.set_file(&format!("{dir}/power_now"), "9000000");
        let mut meter = EnergyMeter::find(&host, "cpu").unwrap();
        meter.read(&host, 0.0);
        assert!((meter.read(&host, 2.0).unwrap() - 18.0).abs() < 1e-9);
        host.set_file(&format!("{dir}/status"), "Charging");
        assert!(EnergyMeter::find(&host, "cpu").is_err());
    }
}

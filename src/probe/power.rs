//! Power source, heat, throttling and energy counters.

use super::host::{Host, ReadError};
use super::parse;
use super::report::{EnergyCounter, Known, Power, Thermal};
use crate::model::Fact;

pub(crate) fn read(host: &dyn Host, root_would_add: &mut Vec<String>) -> Power {
    let mut power = Power::default();
    match host.os().as_str() {
        "macos" => macos(host, &mut power),
        "windows" => windows(host, &mut power),
        _ => {
            supplies(host, &mut power);
            thermal_zones(host, &mut power);
            hwmon(host, &mut power, root_would_add);
            rapl(host, &mut power, root_would_add);
            throttle(host, &mut power);
            power.profile = profile(host);
        }
    }
    power
}

impl Power {
    /// Hottest sensor that belongs to the CPU or its package, in degrees Celsius.
    pub(crate) fn hottest_cpu(&self) -> Option<f64> {
        const CPU: &[&str] = &[
            "cpu",
            "x86_pkg",
            "package",
            "core",
            "tctl",
            "k10temp",
            "soc",
            "tccd",
            "bigcore",
            "littlecore",
            "cluster",
        ];
        let cpu = |t: &&Thermal| {
            let name = t.name.to_lowercase();
            CPU.iter().any(|c| name.contains(c))
        };
        let of = |t: &mut dyn Iterator<Item = &Thermal>| {
            t.map(|t| t.celsius).fold(None, |m: Option<f64>, v| Some(m.map_or(v, |m| m.max(v))))
        };
        of(&mut self.thermal.iter().filter(cpu)).or_else(|| of(&mut self.thermal.iter()))
    }
}

/// The hottest CPU sensor, and the reasons that slow the CPU down now: cheap enough to read once a second.
pub(crate) fn cpu_heat(host: &dyn Host) -> (Option<f64>, Vec<String>) {
    // The other systems tell through a program that takes longer to start than a measurement lasts.
    if !matches!(host.os().as_str(), "linux" | "android") {
        return (None, Vec::new());
    }
    let mut power = Power::default();
    thermal_zones(host, &mut power);
    hwmon(host, &mut power, &mut Vec::new());
    let bits = host.text(PI_THROTTLED).and_then(|t| parse::hex(&t));
    (power.hottest_cpu(), bits.map_or_else(Vec::new, |bits| pi_throttled(bits).0))
}

fn supplies(host: &dyn Host, power: &mut Power) {
    let class = "/sys/class/power_supply";
    let (mut mains, mut discharging) = (None, false);
    for name in host.list(class) {
        let read = |file: &str| host.text(&format!("{class}/{name}/{file}"));
        // A mouse or headset is a supply with scope `Device`.
        if read("scope").is_some_and(|s| s == "Device") {
            continue;
        }
        match read("type").as_deref() {
            Some("Mains" | "USB") => {
                let online = read("online").is_some_and(|o| o != "0");
                mains = Some(mains.unwrap_or(false) || online);
            }
            Some("Battery") => {
                discharging |= read("status").is_some_and(|s| s == "Discharging");
                let percent = read("capacity").and_then(|c| c.parse::<u32>().ok());
                if let Some(p) = percent.filter(|p| *p <= 100) {
                    power.battery_percent =
                        Some(Fact::reported(p, format!("{class}/{name}/capacity")));
                }
            }
            _ => {}
        }
    }
    let battery = power.battery_percent.is_some() || discharging;
    // A full battery on a dock says `Not charging`: only discharging counts.
    power.on_battery = match (mains, battery) {
        (Some(online), true) => Some(Fact::reported(discharging || !online, class)),
        (None, true) => Some(Fact::reported(discharging, class)),
        (Some(_), false) => Some(Fact::reported(false, class)),
        (None, false) => None,
    };
}

/// Sensors that fail report nonsense such as -273 or 127.5 with no device behind them.
fn celsius(millidegrees: &str) -> Option<f64> {
    let value = millidegrees.trim().parse::<i64>().ok()? as f64 / 1000.0;
    (-60.0..=150.0).contains(&value).then_some(value)
}

fn thermal_zones(host: &dyn Host, power: &mut Power) {
    let class = "/sys/class/thermal";
    for zone in host.list(class).iter().filter(|n| n.starts_with("thermal_zone")).take(64) {
        let read = |file: &str| host.text(&format!("{class}/{zone}/{file}"));
        let Some(now) = read("temp").and_then(|t| celsius(&t)) else { continue };
        let mut thermal = Thermal {
            name: parse::clean(&read("type").unwrap_or_default()),
            celsius: now,
            ..Thermal::default()
        };
        for i in 0..12 {
            let Some(kind) = read(&format!("trip_point_{i}_type")) else { break };
            let at = read(&format!("trip_point_{i}_temp"))
                .and_then(|t| celsius(&t))
                .filter(|t| *t > 0.0);
            match kind.as_str() {
                "passive" => thermal.passive_celsius = thermal.passive_celsius.or(at),
                "critical" => thermal.critical_celsius = thermal.critical_celsius.or(at),
                _ => {}
            }
        }
        power.thermal.push(thermal);
    }
}

/// CPU chips' own sensors, and power monitors (INA on Jetson boards, amdgpu's energy).
fn hwmon(host: &dyn Host, power: &mut Power, root_would_add: &mut Vec<String>) {
    let class = "/sys/class/hwmon";
    for monitor in host.list(class).iter().take(64) {
        let dir = format!("{class}/{monitor}");
        let chip = parse::clean(&host.text(&format!("{dir}/name")).unwrap_or_default());
        let is_cpu = matches!(chip.as_str(), "coretemp" | "k10temp" | "zenpower" | "cpu_thermal");
        let limit = if is_cpu { 12 } else { 4 };
        for i in 1..=limit {
            let read = |file: String| host.text(&format!("{dir}/{file}"));
            if is_cpu && let Some(now) = read(format!("temp{i}_input")).and_then(|t| celsius(&t)) {
                let label = read(format!("temp{i}_label")).unwrap_or_else(|| chip.clone());
                // Core sensors of a large server say nothing more than the package's.
                if !label.starts_with("Core ") {
                    let name = parse::clean(&format!("{chip} {label}"));
                    power.thermal.push(Thermal { name, celsius: now, ..Thermal::default() });
                }
            }
            for kind in ["energy", "power"] {
                let path = format!("{dir}/{kind}{i}_input");
                let label =
                    read(format!("{kind}{i}_label")).map_or_else(String::new, |l| format!(" {l}"));
                counter(host, &format!("{chip}{label}"), path, power, root_would_add);
            }
            // INA3221 gives volts and amperes of each rail, not watts.
            if chip.starts_with("ina") && host.number(&format!("{dir}/curr{i}_input")).is_some() {
                let label = read(format!("in{i}_label")).unwrap_or_else(|| format!("rail {i}"));
                let name = parse::clean(&format!("{chip} {label}"));
                power.energy.push(EnergyCounter {
                    name,
                    path: format!("{dir}/curr{i}_input"),
                    readable: true,
                });
            }
        }
    }
}

fn rapl(host: &dyn Host, power: &mut Power, root_would_add: &mut Vec<String>) {
    let class = "/sys/class/powercap";
    for zone in host.list(class).iter().filter(|n| n.contains("-rapl:")).take(64) {
        let name = host.text(&format!("{class}/{zone}/name")).unwrap_or_else(|| zone.clone());
        let path = format!("{class}/{zone}/energy_uj");
        counter(host, &format!("RAPL {name}"), path, power, root_would_add);
    }
}

fn counter(
    host: &dyn Host,
    name: &str,
    path: String,
    power: &mut Power,
    root_would_add: &mut Vec<String>,
) {
    let readable = match host.read(&path) {
        Ok(_) => true,
        Err(ReadError::Denied) => false,
        Err(_) => return,
    };
    let name = parse::clean(name);
    if !readable {
        root_would_add.push(format!("energy counter {name}"));
    }
    power.energy.push(EnergyCounter { name, path, readable });
}

/// Intel counts events a core and a package; a Raspberry Pi keeps sticky bits.
fn throttle(host: &dyn Host, power: &mut Power) {
    let cpus = "/sys/devices/system/cpu";
    let mut events: Option<u64> = None;
    for name in host.list(cpus).iter().take(1024) {
        if !name.strip_prefix("cpu").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        let path = format!("{cpus}/{name}/thermal_throttle/core_throttle_count");
        let Some(n) = host.number(&path) else { break };
        events = Some(events.unwrap_or(0).saturating_add(n));
    }
    if let Some(n) = events {
        power.throttle_events = Some(Fact::reported(n, "thermal_throttle/core_throttle_count"));
    }
    if let Some(bits) = host.text(PI_THROTTLED).and_then(|t| parse::hex(&t)) {
        let (now, since) = pi_throttled(bits);
        power.throttled_now = now;
        power.throttle_events = Some(Fact::reported(since, PI_THROTTLED));
    }
}

const PI_THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// Low bits: now; bits 16-19: at least once since boot (Raspberry Pi documentation, get_throttled).
fn pi_throttled(bits: u64) -> (Vec<String>, u64) {
    const NAMES: [&str; 4] =
        ["under-voltage", "frequency capped", "throttled", "soft temperature limit"];
    let now = NAMES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
    (now.map(|(_, n)| (*n).to_owned()).collect(), u64::from((bits >> 16 & 0xf).count_ones()))
}

fn profile(host: &dyn Host) -> Known<String> {
    let paths = ["/sys/firmware/acpi/platform_profile", "/var/lib/nvpmodel/status"];
    paths.iter().find_map(|path| {
        let text = host.text(path)?;
        // nvpmodel keeps `pmode:0000`.
        Some(Fact::reported(parse::clean(&text), *path))
    })
}

/// ` -InternalBattery-0 (id=1)  85%; discharging; 3:12 remaining`
fn macos(host: &dyn Host, power: &mut Power) {
    let Ok(text) = host.command("pmset", &["-g", "batt"]) else { return };
    let by = "pmset -g batt";
    if let Some(percent) = text.split_once('%').and_then(|(before, _)| {
        before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
    }) {
        power.battery_percent = Some(Fact::reported(percent.min(100), by));
    }
    if text.contains("Battery Power") {
        power.on_battery = Some(Fact::reported(true, by));
    } else if text.contains("AC Power") {
        power.on_battery = Some(Fact::reported(false, by));
    }
}

/// Win32_Battery: 1 is discharging, 4 and 5 are low and critical while discharging.
fn windows(host: &dyn Host, power: &mut Power) {
    let Some(text) = super::windows::text(host) else { return };
    let class = "Win32_Battery";
    let number = |p: &str| super::windows::value(&text, class, 0, p)?.parse::<u32>().ok();
    power.on_battery =
        number("BatteryStatus").map(|s| Fact::reported(matches!(s, 1 | 4 | 5), class));
    power.battery_percent =
        number("EstimatedChargeRemaining").map(|p| Fact::reported(p.min(100), class));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordedHost;

    #[test]
    fn broken_sensors_are_left_out() {
        assert_eq!(celsius("45123"), Some(45.123));
        for odd in ["-273150", "255000", "", "x", "99999999999999999999"] {
            assert_eq!(celsius(odd), None, "{odd}");
        }
    }

    #[test]
    fn raspberry_pi_bits_have_names() {
        let (now, since) = pi_throttled(0x50005);
        assert_eq!(now, ["under-voltage", "throttled"]);
        assert_eq!(since, 2);
    }

    #[test]
    fn a_mouse_is_not_the_machines_battery() {
        let mut host = RecordedHost::empty("linux", "x86_64");
        host.set_file("/sys/class/power_supply/hid/type", "Battery");
        host.set_file("/sys/class/power_supply/hid/scope", "Device");
        host.set_file("/sys/class/power_supply/hid/status", "Discharging");
        let power = read(&host, &mut Vec::new());
        assert_eq!((power.on_battery, power.battery_percent), (None, None));
    }
}

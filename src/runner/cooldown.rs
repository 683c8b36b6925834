//! The wait before a case for the device to be as cool as when the run began, so that no case pays for the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Cooldown;
use crate::probe::{Host, Thermometer};

/// As cool as at the start, give or take this: sensors read in whole degrees, and an idle device drifts.
const NEAR_C: f64 = 3.0;
const POLL: Duration = Duration::from_millis(250);
/// A device that fell by less than this over that many seconds is as cool as it gets.
const FALLING_C: f64 = 0.5;
const STALLED_S: f64 = 5.0;

/// Temperatures at the start of the run, by device; empty where the host shows none.
pub(crate) struct Cooling(BTreeMap<String, f64>);

impl Cooling {
    pub(crate) fn start<'a>(host: &dyn Host, devices: impl Iterator<Item = &'a str>) -> Self {
        let mut at_start = BTreeMap::new();
        for device in devices {
            if !at_start.contains_key(device)
                && let Some(celsius) = Thermometer::of(host, device).read(host).temperature_c
            {
                at_start.insert(device.to_owned(), celsius);
            }
        }
        Self(at_start)
    }

    /// Waits at most `longest_s` seconds. `None` where there was nothing to wait for. `pause` sleeps and returns
    /// false where the user stopped the run.
    pub(crate) fn wait(
        &self,
        host: &dyn Host,
        device: &str,
        longest_s: f64,
        pause: &mut dyn FnMut(Duration, f64, f64) -> bool,
    ) -> Option<Cooldown> {
        let target = *self.0.get(device)?;
        let thermometer = Thermometer::of(host, device);
        wait(&mut || thermometer.read(host).temperature_c, target, longest_s, pause)
    }
}

fn wait(
    read: &mut dyn FnMut() -> Option<f64>,
    target: f64,
    longest_s: f64,
    pause: &mut dyn FnMut(Duration, f64, f64) -> bool,
) -> Option<Cooldown> {
    let mut now = read()?;
    let (mut waited, mut lowest, mut fell_at) = (0.0, now, 0.0);
    while now > target + NEAR_C && waited < longest_s && waited - fell_at < STALLED_S {
        if !pause(POLL, now, target) {
            break;
        }
        waited += POLL.as_secs_f64();
        now = read()?;
        if now < lowest - FALLING_C {
            (lowest, fell_at) = (now, waited);
        }
    }
    let still_hot = now > target + NEAR_C;
    (waited > 0.0 || still_hot).then_some(Cooldown {
        waited_s: waited,
        temperature_c: now,
        target_c: target,
        still_hot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::RecordedHost;

    fn run(temperatures: impl Fn(f64) -> f64, longest_s: f64) -> Option<Cooldown> {
        let time = std::cell::Cell::new(0.0);
        wait(&mut || Some(temperatures(time.get())), 45.0, longest_s, &mut |d, _, _| {
            time.set(time.get() + d.as_secs_f64());
            true
        })
    }

    #[test]
    fn it_waits_until_the_device_is_cool_and_no_longer_than_allowed() {
        assert_eq!(run(|_| 47.0, 30.0), None, "near enough");
        // 80 degrees, falling by two a second: 48 is reached after 16 s.
        let cooled = run(|t| 80.0 - 2.0 * t, 30.0).unwrap();
        assert_eq!((cooled.waited_s, cooled.still_hot), (16.0, false));
        let cut = run(|t| 80.0 - 2.0 * t, 4.0).unwrap();
        assert_eq!((cut.waited_s, cut.temperature_c, cut.still_hot), (4.0, 72.0, true));
        // Falls to 60 and stays there.
        let stalled = run(|t| (80.0 - 10.0 * t).max(60.0), 30.0).unwrap();
        assert!(stalled.still_hot && stalled.waited_s < 8.0, "{stalled:?}");
        assert!(run(|_| 70.0, 0.0).unwrap().still_hot);
    }

    #[test]
    fn a_host_without_a_sensor_is_not_waited_for() {
        let mut host = RecordedHost::empty("linux", "aarch64");
        let nothing = Cooling::start(&host, ["cpu"].into_iter());
        assert_eq!(nothing.wait(&host, "cpu", 30.0, &mut |_, _, _| panic!("waited")), None);
        host.set_file("/sys/class/thermal/thermal_zone0/type", "cpu-thermal");
        host.set_file("/sys/class/thermal/thermal_zone0/temp", "45000");
        let cooling = Cooling::start(&host, ["cpu"].into_iter());
        host.set_file("/sys/class/thermal/thermal_zone0/temp", "71000");
        let mut paused = 0;
        let hot = cooling.wait(&host, "cpu", 1.0, &mut |_, now, target| {
            assert_eq!((now, target), (71.0, 45.0));
            paused += 1;
            true
        });
        assert!(hot.unwrap().still_hot);
        assert_eq!(paused, 4);
    }
}

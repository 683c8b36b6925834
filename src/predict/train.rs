//! From public rows to a parameter file, and the leave-one-device-out residuals that its intervals come from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::fit::{Problem, Sample};
use super::observation::Task;
use super::params::{Interval, Meta, Params, SpeedParams};
use super::settings::{FitSettings, Settings};

/// A group gets its own interval from this many left-out devices on; fewer say too little about the next one.
const MIN_DEVICES: usize = 5;
/// And from this many residuals on: with fewer, no two of them enclose 90 % of what comes next (split conformal).
const MIN_RESIDUALS: usize = 19;
/// Residuals of one device that count, the middles of as many equal shares, so that a much-measured device does not outvote the others.
const PER_DEVICE: usize = 20;

/// One row's prediction by a fit that has not seen its device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeftOut {
    pub predicted: f64,
    /// 90 % interval from the residuals of the other devices.
    pub low: f64,
    pub high: f64,
}

/// A fit with everything it can say of itself.
pub(super) struct Trained {
    pub params: Params,
    /// Aligned with the samples given.
    pub left_out: Vec<LeftOut>,
}

/// What a judging fit has not seen of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Its device.
    Device,
    /// A fifth of all models and files, the row's among them.
    Fold,
}

const FOLDS: usize = 5;

impl Held {
    fn group(self, s: &Sample) -> (String, usize) {
        let o = &s.observation;
        match self {
            Held::Device => (s.device.clone(), 0),
            Held::Fold => {
                // Rows of one file on one device stay together, whatever was tested.
                let bits = [o.billions, o.active_billions, o.weight_bytes].map(f64::to_bits);
                let file = bits.iter().fold(0u64, |h, b| (h ^ b).wrapping_mul(0x100_0000_01b3));
                let device = s.device.bytes().map(usize::from).sum::<usize>();
                (String::new(), ((file >> 40) as usize).wrapping_add(device) % FOLDS)
            }
        }
    }
}

/// Fits both tasks. Samples may be of either.
pub(super) fn train(samples: &[Sample], command: &str, held: Held) -> Trained {
    let mut left_out = vec![LeftOut { predicted: 0.0, low: 0.0, high: 0.0 }; samples.len()];
    let mut task = |task: Task| {
        let settings = &Settings::embedded().fit[task.name()];
        let index: Vec<usize> =
            (0..samples.len()).filter(|&i| samples[i].observation.task == task).collect();
        let mine: Vec<Sample> = index.iter().map(|&i| samples[i].clone()).collect();
        let (params, out) = train_task(&mine, settings, held);
        for (i, o) in index.into_iter().zip(out) {
            left_out[i] = o;
        }
        params
    };
    let (decode, prefill) = (task(Task::Decode), task(Task::Prefill));
    let devices: BTreeSet<_> = samples.iter().map(|s| &s.device).collect();
    let meta = Meta { command: command.to_owned(), rows: samples.len(), devices: devices.len() };
    Trained { params: Params { meta, decode, prefill, load: BTreeMap::new() }, left_out }
}

fn train_task(
    samples: &[Sample],
    settings: &FitSettings,
    held: Held,
) -> (SpeedParams, Vec<LeftOut>) {
    let problem = Problem::new(samples, settings);
    let full = problem.solve();
    let times = problem.leave_out(&full, |s| held.group(s));
    let residuals = Residuals::of(samples, &problem, &times);
    let left_out = samples
        .iter()
        .zip(&times)
        .map(|(s, t)| {
            let o = &s.observation;
            let predicted = o.tokens() / t.exp();
            let i = residuals.interval(o.group(), Some(&s.device));
            LeftOut { predicted, low: predicted * i.low, high: predicted * i.high }
        })
        .collect();
    let [bandwidth, compute, overhead] = problem.named(&full);
    let interval = residuals.table();
    let known = match held {
        Held::Fold => interval.clone(),
        Held::Device => {
            let folds = problem.leave_out(&full, |s| Held::Fold.group(s));
            Residuals::of(samples, &problem, &folds).table()
        }
    };
    let calibrated = residuals.after_one_anchor();
    let overhead_s = settings.overhead_s;
    let params =
        SpeedParams { overhead_s, bandwidth, compute, overhead, interval, known, calibrated };
    (params, left_out)
}

/// `ln(measured speed / predicted speed)` by group and device.
struct Residuals(BTreeMap<String, BTreeMap<String, Vec<f64>>>);

impl Residuals {
    /// Of log times that were predicted without the row.
    fn of(samples: &[Sample], problem: &Problem<'_>, times: &[f64]) -> Self {
        let mut map: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        for (i, (s, t)) in samples.iter().zip(times).enumerate() {
            let devices = map.entry(s.observation.group().to_owned()).or_default();
            devices.entry(s.device.clone()).or_default().push(t - problem.measured(i));
        }
        for v in map.values_mut().flat_map(BTreeMap::values_mut) {
            v.sort_by(f64::total_cmp);
            if v.len() > PER_DEVICE {
                let middle = |i: usize| v[(2 * i + 1) * v.len() / (2 * PER_DEVICE)];
                *v = (0..PER_DEVICE).map(middle).collect();
            }
        }
        Self(map)
    }

    /// What encloses 90 % of the residuals of a group's devices but one; of all groups where too few are left.
    fn interval(&self, group: &str, without: Option<&str>) -> Interval {
        let keep = |d: &str| Some(d) != without;
        let own =
            self.0.get(group).map(|m| (collect(m, &keep), m.keys().filter(|d| keep(d)).count()));
        let enough = own.filter(|(v, n)| *n >= MIN_DEVICES && v.len() >= MIN_RESIDUALS);
        let (values, devices) = enough
            .unwrap_or_else(|| (self.0.values().flat_map(|m| collect(m, &keep)).collect(), 0));
        enclosing(values, devices)
    }

    fn table(&self) -> BTreeMap<String, Interval> {
        let mut table: BTreeMap<String, Interval> = self
            .0
            .keys()
            .map(|b| (b.clone(), self.interval(b, None)))
            .filter(|(_, i)| i.devices > 0)
            .collect();
        table.insert("default".to_owned(), self.interval("", None));
        table
    }
}

impl Residuals {
    /// What is left of a residual once another row of the same device and backend has been seen as an anchor.
    fn after_one_anchor(&self) -> Interval {
        let mut values = Vec::new();
        let mut devices = 0;
        for rows in self.0.values().flat_map(BTreeMap::values).filter(|v| v.len() > 1) {
            devices += 1;
            let half = rows.len() / 2;
            values.extend((0..rows.len()).map(|i| rows[i] - rows[(i + half) % rows.len()]));
        }
        enclosing(values, devices)
    }
}

/// The split-conformal 90 % interval: the residuals of rank `floor(0.05 (n + 1))` from either end.
fn enclosing(mut values: Vec<f64>, devices: usize) -> Interval {
    values.sort_by(f64::total_cmp);
    let rank = ((values.len() + 1) as f64 * 0.05).floor().max(1.0) as usize;
    let end = |v: Option<&f64>| v.copied().unwrap_or(0.0).exp();
    let (low, high) = (end(values.get(rank - 1)), end(values.iter().nth_back(rank - 1)));
    Interval { low: round(low.min(1.0)), high: round(high.max(1.0)), devices }
}

fn collect(devices: &BTreeMap<String, Vec<f64>>, keep: &impl Fn(&str) -> bool) -> Vec<f64> {
    devices.iter().filter(|(d, _)| keep(d)).flat_map(|(_, v)| v.iter().copied()).collect()
}

fn round(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

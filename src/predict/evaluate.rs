//! Scores the predictor, and the formulas of other tools, on measured rows.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Serialize;

use super::devices::{self, DeviceTable};
use super::fit::Sample;
use super::load::{self, LoadRow};
use super::observation::Task;
use super::params::Params;
use super::peers;
use super::rows::{self, RawRow, RowsError};
use super::train::{Held, Trained, train};
use crate::stats::quantile_type7;

/// Errors of one method on one group of rows. Fractions, not percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Score {
    pub task: Task,
    /// A backend, `gpu backends`, or `all`.
    pub group: String,
    /// `edge-advisor` or the other tool whose formula it is.
    pub method: &'static str,
    pub rows: usize,
    pub devices: usize,
    pub median_ape: f64,
    pub p75_ape: f64,
    pub p90_ape: f64,
    pub within_20: f64,
    /// Median over devices of each device's median error: no device outvotes another.
    pub device_median_ape: f64,
    /// 90 % of the errors are below it where the rows of each device weigh as much as those of any other.
    pub device_p90_ape: f64,
    /// Share of rows inside the 90 % interval; `None` for a method without one.
    pub coverage: Option<f64>,
    /// The same, each device counting once.
    pub device_coverage: Option<f64>,
}

/// The evaluation of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evaluation {
    /// What the judging fits had not seen; absent where the built-in parameters were judged.
    pub held_out: Option<Held>,
    pub rows: usize,
    /// Rows with a quality flag: not scored.
    pub flagged: usize,
    pub predicted: usize,
    /// Rows without a prediction, by reason.
    pub not_predicted: BTreeMap<String, usize>,
    pub scores: Vec<Score>,
}

/// What was read of a file of rows.
pub struct Rows {
    kept: Vec<(RawRow, Sample)>,
    flagged: usize,
    not_predicted: BTreeMap<String, usize>,
}

impl Rows {
    /// Reads rows; `devices` replaces the table in the binary where given.
    ///
    /// # Errors
    /// On a table that is not CSV or lacks a required column. An odd row is counted, not an error.
    pub fn read(
        input: impl Read,
        devices: Option<&[u8]>,
        include_flagged: bool,
    ) -> Result<Rows, RowsError> {
        let own: Option<DeviceTable> = devices
            .map(devices::parse)
            .transpose()
            .map_err(|source| RowsError::Csv { line: 0, source })?;
        let table = own.as_ref().unwrap_or_else(|| devices::embedded());
        let mut out = Rows { kept: Vec::new(), flagged: 0, not_predicted: BTreeMap::new() };
        for row in rows::read(input)? {
            if !row.quality_flag.trim().is_empty() && !include_flagged {
                out.flagged += 1;
                continue;
            }
            match rows::sample(&row, table) {
                Ok(sample) => out.kept.push((row, sample)),
                Err(reason) => *out.not_predicted.entry(reason.to_owned()).or_default() += 1,
            }
        }
        Ok(out)
    }

    fn samples(&self) -> Vec<Sample> {
        self.kept.iter().map(|(_, s)| s.clone()).collect()
    }

    /// Fits parameters to the rows, and the load model to `loads`.
    pub fn fit(&self, command: &str, loads: &[LoadRow]) -> Params {
        Params { load: load::fit(loads), ..train(&self.samples(), command, Held::Device).params }
    }

    /// Scores given parameters, which must not have seen the rows to be a fair judge.
    pub fn evaluate(&self, params: &Params) -> Evaluation {
        let scored = self.kept.iter().map(|(_, s)| {
            let o = &s.observation;
            let task = params.task(o.task);
            let predicted = task.speed(o);
            let i = task.interval(o);
            (predicted, predicted * i.low, predicted * i.high)
        });
        self.report(scored.collect(), None)
    }

    /// Fits without each device in turn and scores on it.
    pub fn leave_one_device_out(&self) -> Evaluation {
        self.left_out(Held::Device)
    }

    /// Fits without a fifth of the models in turn and scores on them, on devices it has seen.
    pub fn cross_validate(&self) -> Evaluation {
        self.left_out(Held::Fold)
    }

    fn left_out(&self, held: Held) -> Evaluation {
        let Trained { left_out, .. } = train(&self.samples(), "", held);
        self.report(left_out.iter().map(|l| (l.predicted, l.low, l.high)).collect(), Some(held))
    }

    fn report(&self, predicted: Vec<(f64, f64, f64)>, held: Option<Held>) -> Evaluation {
        let mut groups: BTreeMap<(Task, usize, String, &'static str), Vec<Hit>> = BTreeMap::new();
        for ((row, s), (value, low, high)) in self.kept.iter().zip(predicted) {
            let o = &s.observation;
            let mut hits = vec![("edge-advisor", value, Some((low..=high).contains(&s.tok_s)))];
            hits.extend(peers::predict(row, o).into_iter().map(|(m, v)| (m, v, None)));
            let mut names = vec![(2, o.backend.as_str()), (0, "all")];
            if o.is_gpu() {
                names.push((1, "gpu backends"));
            }
            for (method, value, covered) in hits {
                for (rank, name) in &names {
                    let key = (o.task, *rank, (*name).to_owned(), method);
                    let hit =
                        Hit { device: &s.device, ape: (value / s.tok_s - 1.0).abs(), covered };
                    groups.entry(key).or_default().push(hit);
                }
            }
        }
        Evaluation {
            held_out: held,
            rows: self.kept.len() + self.flagged + self.not_predicted.values().sum::<usize>(),
            flagged: self.flagged,
            predicted: self.kept.len(),
            not_predicted: self.not_predicted.clone(),
            scores: groups
                .into_iter()
                .map(|((task, _, group, method), hits)| score(task, group, method, &hits))
                .collect(),
        }
    }

    /// Rows with their prediction, for a closer look: device, backend, model, test, measured, predicted.
    pub fn residuals(&self, held: Held) -> Vec<(String, String, String, String, f64, f64)> {
        let out = train(&self.samples(), "", held).left_out;
        self.kept
            .iter()
            .zip(out)
            .map(|((r, s), l)| {
                let place = format!("{}/{}", s.observation.backend, s.observation.family);
                let what = format!("{} {}", r.model, r.quant);
                (s.device.clone(), place, what, r.test.clone(), s.tok_s, l.predicted)
            })
            .collect()
    }
}

struct Hit<'a> {
    device: &'a str,
    ape: f64,
    covered: Option<bool>,
}

fn score(task: Task, group: String, method: &'static str, hits: &[Hit<'_>]) -> Score {
    let apes: Vec<f64> = hits.iter().map(|h| h.ape).collect();
    let mut by_device: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for h in hits {
        by_device.entry(h.device).or_default().push(h.ape);
    }
    let medians: Vec<f64> = by_device.values().filter_map(|v| quantile_type7(v, 0.5)).collect();
    let q = |p| quantile_type7(&apes, p).unwrap_or(f64::NAN);
    let covered = |weight: &dyn Fn(&Hit<'_>) -> f64| -> Option<f64> {
        let inside = |h: &Hit<'_>| Some(if h.covered? { weight(h) } else { 0.0 });
        let hit: f64 = hits.iter().map(inside).sum::<Option<f64>>()?;
        Some(hit / hits.iter().map(weight).sum::<f64>())
    };
    let share = |n: usize| n as f64 / hits.len() as f64;
    Score {
        task,
        group,
        method,
        rows: hits.len(),
        devices: by_device.len(),
        median_ape: q(0.5),
        p75_ape: q(0.75),
        p90_ape: q(0.9),
        within_20: share(apes.iter().filter(|a| **a <= 0.2).count()),
        device_median_ape: quantile_type7(&medians, 0.5).unwrap_or(f64::NAN),
        device_p90_ape: weighted_quantile(
            hits.iter().map(|h| (h.ape, 1.0 / by_device[h.device].len() as f64)).collect(),
            0.9,
        ),
        coverage: covered(&|_| 1.0),
        device_coverage: covered(&|h| 1.0 / by_device[h.device].len() as f64),
    }
}

/// The least value with a share of at least `q` of the weight at or below it; values with their weights.
fn weighted_quantile(mut values: Vec<(f64, f64)>, q: f64) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = q * values.iter().map(|v| v.1).sum::<f64>();
    let mut sum = 0.0;
    let reached = values.iter().find(|v| {
        sum += v.1;
        sum >= wanted
    });
    reached.or(values.last()).map_or(f64::NAN, |v| v.0)
}

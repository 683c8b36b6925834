//! Time until a model is ready: what a framework does once, for each token of the vocabulary, for each byte it
//! converts; and the disk where the file is not in memory yet.

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, Query, Rung};
use super::memory::{KvPrecision, MemoryPlan, PlanFor, memory_plan};
use super::rows::{MAX_ROWS, RowsError};
use super::settings::Settings;
use crate::model::{Metric, ModelSpec};
use crate::record::{CaseRecord, RunRecord};
use crate::stats::median;

const TERMS: usize = 4;
const GB: f64 = 1e9;

/// One backend's load with the file in the page cache, in seconds, and the factors that enclose the rows it was fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadParams {
    pub constant: f64,
    pub per_million_tokens: f64,
    pub per_gb: f64,
    /// For weights that are rearranged for the kernels, on top.
    pub per_repacked_gb: f64,
    pub low: f64,
    pub high: f64,
    pub rows: usize,
}

/// One measured load: a line of `data/load_times.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadRow {
    /// Registry id.
    pub backend: String,
    pub model: String,
    pub precision: String,
    pub device: String,
    pub size_bytes: u64,
    pub repacked_bytes: u64,
    /// 0 where the model has none.
    pub vocabulary: u32,
    pub load_s: f64,
    /// With the file out of the page cache; empty where that was not measured.
    pub load_cold_s: Option<f64>,
}

impl LoadRow {
    /// Reads `data/load_times.csv` or a file like it.
    ///
    /// # Errors
    /// Names the line that does not read.
    pub fn read(input: impl Read) -> Result<Vec<LoadRow>, RowsError> {
        let mut rows = Vec::new();
        for (i, row) in csv::Reader::from_reader(input).into_deserialize().enumerate() {
            let row: LoadRow = row.map_err(|source| RowsError::Csv { line: i + 2, source })?;
            if rows.len() == MAX_ROWS {
                return Err(RowsError::TooMany);
            }
            if row.load_s.is_finite() && row.load_s > 0.0 {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The completed CPU cases of records, the runs of a case together.
    pub fn of_records(
        records: &[RunRecord],
        spec_of: impl Fn(&CaseRecord) -> Option<ModelSpec>,
    ) -> Vec<LoadRow> {
        let mut rows = Vec::new();
        for record in records {
            let device = &record.header.device;
            for case in record.cases.iter().filter(|c| c.run == 0 && c.case.device == "cpu") {
                let runs = || record.cases.iter().filter(|c| c.case.id() == case.case.id());
                let seconds = |metric| {
                    let all: Vec<f64> = runs().flat_map(|c| c.samples(metric)).copied().collect();
                    median(&all).map(|ns| round(ns / 1e9))
                };
                let (Some(load_s), Some(variant), Some(spec)) =
                    (seconds(Metric::LoadNs), &case.variant, spec_of(case))
                else {
                    continue;
                };
                let (precision, backend) = (Some(case.case.precision), case.case.backend.as_str());
                let (kv, cpu_isa) = (KvPrecision::F16, &device.cpu.isa[..]);
                let q = PlanFor { precision, context: 1, kv, backend, cpu_isa };
                rows.push(LoadRow {
                    backend: backend.to_owned(),
                    model: case.case.model.clone(),
                    precision: case.case.precision.to_string(),
                    device: device.name.clone(),
                    size_bytes: variant.size_bytes,
                    repacked_bytes: memory_plan(&spec, &q).repacked,
                    vocabulary: spec.vocabulary,
                    load_s,
                    load_cold_s: seconds(Metric::LoadColdNs),
                });
            }
        }
        rows
    }

    fn terms(&self) -> [f64; TERMS] {
        terms(self.vocabulary, self.size_bytes, self.repacked_bytes)
    }
}

fn terms(vocabulary: u32, bytes: u64, repacked: u64) -> [f64; TERMS] {
    [1.0, f64::from(vocabulary) / 1e6, bytes as f64 / GB, repacked as f64 / GB]
}

impl LoadParams {
    fn seconds(&self, terms: [f64; TERMS]) -> f64 {
        let c = [self.constant, self.per_million_tokens, self.per_gb, self.per_repacked_gb];
        c.iter().zip(terms).map(|(c, t)| c * t).sum()
    }
}

/// Parameters by backend: least relative squares, no term below zero.
pub(super) fn fit(rows: &[LoadRow]) -> BTreeMap<String, LoadParams> {
    let mut by_backend: BTreeMap<&str, Vec<([f64; TERMS], f64)>> = BTreeMap::new();
    for r in rows {
        by_backend.entry(&r.backend).or_default().push((r.terms(), r.load_s));
    }
    by_backend.into_iter().map(|(b, rows)| (b.to_owned(), fit_one(&rows))).collect()
}

fn fit_one(rows: &[([f64; TERMS], f64)]) -> LoadParams {
    // Few terms: the best of all subsets of them is found by trying each.
    let solved = (1..1usize << TERMS).filter_map(|kept| least_squares(rows, kept));
    let best = solved.min_by(|a, b| a.0.total_cmp(&b.0)).map_or([0.0; TERMS], |(_, c)| c);
    let [constant, per_million_tokens, per_gb, per_repacked_gb] = best.map(round);
    let mut fitted = LoadParams {
        constant,
        per_million_tokens,
        per_gb,
        per_repacked_gb,
        low: 1.0,
        high: 1.0,
        rows: rows.len(),
    };
    let ratios = rows.iter().map(|(terms, s)| s / fitted.seconds(*terms));
    let (low, high) = ratios.fold((1.0f64, 1.0f64), |(l, h), r| (l.min(r), h.max(r)));
    (fitted.low, fitted.high) = (round(low), round(high));
    fitted
}

fn round(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

/// The error and the coefficients of the terms in the bit set `kept`, the others zero; `None` where they are not
/// determined or one is negative.
fn least_squares(rows: &[([f64; TERMS], f64)], kept: usize) -> Option<(f64, [f64; TERMS])> {
    let used: Vec<usize> = (0..TERMS).filter(|t| kept >> t & 1 == 1).collect();
    let n = used.len();
    // Normal equations of the rows divided by their seconds, the right side as last column.
    let mut m = vec![[0.0; TERMS + 1]; n];
    for (terms, s) in rows {
        for (i, &a) in used.iter().enumerate() {
            for (j, &b) in used.iter().enumerate() {
                m[i][j] += terms[a] * terms[b] / (s * s);
            }
            m[i][n] += terms[a] / s;
        }
    }
    for i in 0..n {
        let size = m[i][i];
        for k in 0..n {
            let factor = m[k][i] / size;
            if k != i && factor.is_finite() {
                let pivot = m[i];
                m[k].iter_mut().zip(pivot).for_each(|(v, p)| *v -= factor * p);
            }
        }
    }
    let mut c = [0.0; TERMS];
    for (i, &t) in used.iter().enumerate() {
        c[t] = m[i][n] / m[i][i];
        if !(c[t].is_finite() && c[t] >= 0.0) {
            return None;
        }
    }
    let error = |(terms, s): &([f64; TERMS], f64)| {
        let seconds: f64 = c.iter().zip(terms).map(|(c, t)| c * t).sum();
        (seconds / s - 1.0).powi(2)
    };
    Some((rows.iter().map(error).sum(), c))
}

/// With the file in memory, and from the disk where its rate is known. `None` for a backend that was never timed.
///
/// The rows are of one machine: the interval is widened by an assumed factor.
pub(super) fn predict(
    fitted: &BTreeMap<String, LoadParams>,
    q: &Query<'_>,
    plan: &MemoryPlan,
) -> Option<(Estimate, Option<Estimate>)> {
    let p = fitted.get(q.framework)?;
    let widen = Settings::embedded().load.other_machine;
    let value = p.seconds(terms(q.model.vocabulary, plan.weights, plan.repacked));
    let warm = Estimate {
        value,
        low: value * p.low / widen,
        high: value * p.high * widen,
        rung: Rung::Profile,
        basis: format!(
            "{:.2} s + {:.2} s a million tokens of vocabulary + {:.2} s/GB + {:.2} s/GB of rearranged weights \
             ({} loads on one machine, widened x {widen})",
            p.constant, p.per_million_tokens, p.per_gb, p.per_repacked_gb, p.rows
        ),
    };
    let disk = q.device.limits.disk_read_gbs.as_ref().map(|d| d.value).filter(|d| *d > 0.0);
    let cold = disk.map(|rate| {
        let read = plan.weights as f64 / GB / rate;
        Estimate {
            value: warm.value + read,
            low: warm.low + read / widen,
            high: warm.high + read * widen,
            rung: Rung::Profile,
            basis: format!("that, and {:.2} GB read at {rate:.1} GB/s", plan.weights as f64 / GB),
        }
    });
    Some((warm, cold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(gb: f64, repacked_gb: f64, vocabulary: u32, load_s: f64) -> LoadRow {
        LoadRow {
            backend: "x".to_owned(),
            model: "m".to_owned(),
            precision: "Q4_0".to_owned(),
            device: "d".to_owned(),
            size_bytes: (gb * GB) as u64,
            repacked_bytes: (repacked_gb * GB) as u64,
            vocabulary,
            load_s,
            load_cold_s: None,
        }
    }

    #[test]
    fn each_cost_is_found_where_the_rows_tell_them_apart() {
        let law = |gb: f64, re: f64, v: u32| 0.03 + 1.2 * f64::from(v) / 1e6 + 0.9 * re + 0.0 * gb;
        let cases =
            [(0.1, 0.06, 49_152), (0.3, 0.0, 49_152), (0.8, 0.5, 128_256), (2.5, 0.0, 128_256)];
        let rows = cases.map(|(gb, re, v)| row(gb, re, v, law(gb, re, v)));
        let p = &fit(&rows)["x"];
        let got = [p.constant, p.per_million_tokens, p.per_gb, p.per_repacked_gb];
        for (got, want) in got.iter().zip([0.03, 1.2, 0.0, 0.9]) {
            assert!((got - want).abs() < 1e-3, "{p:?}");
        }
    }

    #[test]
    fn one_row_is_a_constant_and_nonsense_is_left_out() {
        let p = &fit(&[row(1.0, 0.0, 0, 0.5)])["x"];
        assert!((p.seconds(terms(0, 1_000_000_000, 0)) - 0.5).abs() < 1e-3, "{p:?}");
        let text = "backend,model,precision,device,size_bytes,repacked_bytes,vocabulary,load_s,load_cold_s\n\
                    x,m,Q4_0,d,1,0,0,NaN,\nx,m,Q4_0,d,1,0,0,-1,\nx,m,Q4_0,d,1,0,0,2,3\n";
        assert_eq!(LoadRow::read(text.as_bytes()).unwrap().len(), 1);
        assert!(LoadRow::read("backend\nx\n".as_bytes()).is_err());
    }
}

//! The fit: a penalised, robust regression of log time on three additive parts.
//!
//! `time = sum over parts of ideal * exp(effects)`. Effects have normal priors (partial pooling), residuals a Huber
//! loss, rows of one device share one weight. Gauss-Newton steps solved by conjugate gradients; no randomness.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::observation::{Observation, Part};
use super::settings::FitSettings;

/// Group of the effects that one device has of its own.
pub(super) const OWN: &str = "device";
const STEPS: usize = 15;
/// Steps from the full fit's solution when one device is left out.
const STEPS_LEFT_OUT: usize = 5;

/// A row ready to fit: its observation, its device, its measured tokens a second.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub device: String,
    pub observation: Observation,
    pub tok_s: f64,
}

/// The rows of one task as sparse effects over interned names.
pub(super) struct Problem<'a> {
    samples: &'a [Sample],
    rows: Vec<Row>,
    names: Vec<(Part, String)>,
    penalty: Vec<f64>,
    start: Vec<f64>,
    /// True for the effects of a device of its own.
    own: Vec<bool>,
    settings: &'a FitSettings,
}

struct Row {
    ideal_ln: [f64; 3],
    time_ln: f64,
    entries: Vec<(usize, u8, f64)>,
}

impl<'a> Problem<'a> {
    pub fn new(samples: &'a [Sample], settings: &'a FitSettings) -> Self {
        let mut p = Problem {
            samples,
            rows: Vec::with_capacity(samples.len()),
            names: Vec::new(),
            penalty: Vec::new(),
            start: Vec::new(),
            own: Vec::new(),
            settings,
        };
        let mut index: HashMap<(u8, String), usize> = HashMap::new();
        for s in samples {
            let o = &s.observation;
            let mut entries = Vec::new();
            for e in o.effects() {
                let key = (e.part as u8, e.name.clone());
                let i = *index.entry(key).or_insert_with(|| p.intern(e.part, e.name, e.group));
                entries.push((i, e.part as u8, e.value));
            }
            p.rows.push(Row {
                ideal_ln: o.ideal(settings.overhead_s).map(f64::ln),
                time_ln: (o.tokens() / s.tok_s).ln(),
                entries,
            });
        }
        p
    }

    fn intern(&mut self, part: Part, name: String, group: &str) -> usize {
        let spread = self.settings.spread.get(group).copied().unwrap_or(0.1);
        let scale = &self.settings.scale;
        let start = match part {
            Part::Bandwidth => scale.bandwidth,
            Part::Compute => scale.compute,
            Part::Overhead => scale.overhead,
        };
        self.start.push(if name == "all" { start.ln() } else { 0.0 });
        self.own.push(group == OWN);
        self.names.push((part, name));
        self.penalty.push(1.0 / (spread * spread));
        self.names.len() - 1
    }

    /// Coefficients from all rows.
    pub fn solve(&self) -> Vec<f64> {
        let all: Vec<usize> = (0..self.rows.len()).collect();
        self.solve_rows(&all, self.start.clone(), STEPS)
    }

    /// What devices share first, as if none had effects of its own: those explain what is left. Fitted together, a
    /// much-measured device would take part of what its kind has in common.
    fn solve_rows(&self, rows: &[usize], b: Vec<f64>, steps: usize) -> Vec<f64> {
        let shared = b.iter().zip(&self.own).map(|(v, own)| if *own { 0.0 } else { *v }).collect();
        let b = self.solve_some(rows, shared, steps, false);
        self.solve_some(rows, b, STEPS_LEFT_OUT, true)
    }

    /// Log time predicted for each row by a fit that has not seen the rows of the same group.
    pub fn leave_out<K: Ord + Sync>(&self, full: &[f64], group: impl Fn(&Sample) -> K) -> Vec<f64> {
        let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
        for (i, s) in self.samples.iter().enumerate() {
            groups.entry(group(s)).or_default().push(i);
        }
        let groups: Vec<_> = groups.values().collect();
        let solved: Vec<(usize, f64)> = groups
            .par_iter()
            .flat_map_iter(|held| {
                let mut left = vec![true; self.rows.len()];
                held.iter().for_each(|&i| left[i] = false);
                let rest: Vec<usize> = (0..self.rows.len()).filter(|&i| left[i]).collect();
                let b = self.solve_rows(&rest, full.to_vec(), STEPS_LEFT_OUT);
                held.iter().map(move |&i| (i, self.rows[i].log_time(&b))).collect::<Vec<_>>()
            })
            .collect();
        let mut out = vec![f64::NAN; self.rows.len()];
        for (i, t) in solved {
            out[i] = t;
        }
        out
    }

    /// Measured log time of a row.
    pub fn measured(&self, i: usize) -> f64 {
        self.rows[i].time_ln
    }

    /// Names with their coefficients, by part; effects that round to nothing are left out.
    pub fn named(&self, b: &[f64]) -> [BTreeMap<String, f64>; 3] {
        let mut out: [BTreeMap<String, f64>; 3] = Default::default();
        for ((part, name), &v) in self.names.iter().zip(b) {
            let rounded = (v * 1e4).round() / 1e4;
            if rounded != 0.0 {
                out[*part as usize].insert(name.clone(), rounded);
            }
        }
        out
    }

    /// Solves for the effects of devices alone (`own`) or for all others.
    fn solve_some(&self, rows: &[usize], mut b: Vec<f64>, steps: usize, own: bool) -> Vec<f64> {
        let weights = self.weights(rows);
        for _ in 0..steps {
            let (system, g) = self.linearise(rows, &weights, &b, own);
            let step = system.solve(&g);
            let largest = step.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            if !largest.is_finite() {
                break;
            }
            let scale = if largest > 1.0 { 1.0 / largest } else { 1.0 };
            for (bj, d) in b.iter_mut().zip(&step) {
                *bj += scale * d;
            }
            if largest < 2e-3 {
                break;
            }
        }
        b
    }

    /// The Gauss-Newton system and its right-hand side at `b`.
    fn linearise(
        &self,
        rows: &[usize],
        weights: &[f64],
        b: &[f64],
        own: bool,
    ) -> (System<'_>, Vec<f64>) {
        let s = self.settings;
        let free = |j: usize| self.own[j] == own;
        let pull = |j: usize| -self.penalty[j] * (b[j] - self.start[j]);
        let mut g: Vec<f64> = (0..b.len()).map(|j| if free(j) { pull(j) } else { 0.0 }).collect();
        let mut jacobian = Vec::with_capacity(rows.len() * 40);
        let mut ends = Vec::with_capacity(rows.len());
        for (&i, &weight) in rows.iter().zip(weights) {
            let row = &self.rows[i];
            let parts = row.parts(b);
            let total = log_sum(&parts);
            let residual = row.time_ln - total;
            let robust = (s.huber * s.sigma / residual.abs().max(1e-12)).min(1.0);
            let root = (weight * robust).sqrt() / s.sigma;
            let share = parts.map(|p| root * (p - total).exp());
            for &(k, part, v) in row.entries.iter().filter(|e| free(e.0)) {
                let value = share[part as usize] * v;
                g[k] += value * root * residual;
                jacobian.push((k, value));
            }
            ends.push(jacobian.len());
        }
        (System { jacobian, ends, penalty: &self.penalty }, g)
    }

    fn weights(&self, rows: &[usize]) -> Vec<f64> {
        let key = |i: usize| {
            let s = &self.samples[i];
            (s.device.as_str(), s.observation.backend.as_str(), s.observation.family.as_str())
        };
        let mut counts: HashMap<_, f64> = HashMap::new();
        for &i in rows {
            *counts.entry(key(i)).or_default() += 1.0;
        }
        rows.iter().map(|&i| counts[&key(i)].powf(-self.settings.power)).collect()
    }
}

impl Row {
    fn parts(&self, b: &[f64]) -> [f64; 3] {
        let mut parts = self.ideal_ln;
        for &(i, part, v) in &self.entries {
            parts[part as usize] += b[i] * v;
        }
        parts
    }

    fn log_time(&self, b: &[f64]) -> f64 {
        log_sum(&self.parts(b))
    }
}

/// `ln(sum(exp(x)))` without overflow.
fn log_sum(x: &[f64; 3]) -> f64 {
    let m = x.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    m + x.iter().map(|v| (v - m).exp()).sum::<f64>().ln()
}

/// `J'J + diag(penalty)`, never formed: rows have few effects.
struct System<'a> {
    jacobian: Vec<(usize, f64)>,
    ends: Vec<usize>,
    penalty: &'a [f64],
}

/// Enough for the preconditioned residual to fall below `TOLERANCE`; a cap, not a budget.
const CG_STEPS: usize = 300;
const TOLERANCE: f64 = 1e-3;

impl System<'_> {
    fn apply(&self, x: &[f64], out: &mut [f64]) {
        for ((o, p), v) in out.iter_mut().zip(self.penalty).zip(x) {
            *o = p * v;
        }
        let mut start = 0;
        for &end in &self.ends {
            let row = &self.jacobian[start..end];
            let s: f64 = row.iter().map(|&(k, v)| v * x[k]).sum();
            for &(k, v) in row {
                out[k] += v * s;
            }
            start = end;
        }
    }

    /// Conjugate gradients with the diagonal as preconditioner.
    fn solve(&self, g: &[f64]) -> Vec<f64> {
        let mut diagonal = self.penalty.to_vec();
        for &(k, v) in &self.jacobian {
            diagonal[k] += v * v;
        }
        let mut x = vec![0.0; g.len()];
        let mut r = g.to_vec();
        let mut z: Vec<f64> = r.iter().zip(&diagonal).map(|(r, d)| r / d).collect();
        let mut p = z.clone();
        let mut rz = dot(&r, &z);
        let goal = rz * TOLERANCE * TOLERANCE;
        let mut ap = vec![0.0; g.len()];
        for _ in 0..CG_STEPS {
            if rz <= goal {
                break;
            }
            self.apply(&p, &mut ap);
            let alpha = rz / dot(&p, &ap);
            for k in 0..x.len() {
                x[k] += alpha * p[k];
                r[k] -= alpha * ap[k];
                z[k] = r[k] / diagonal[k];
            }
            let next = dot(&r, &z);
            let beta = next / rz;
            rz = next;
            for (pk, zk) in p.iter_mut().zip(&z) {
                *pk = zk + beta * *pk;
            }
        }
        x
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

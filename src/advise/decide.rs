//! From candidates to a ranking: hard limits reject with their number, the tree weighs, measured evidence outranks it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::ModelSource;
use super::candidate::{Candidate, Rejection, enumerate};
use super::evidence::Evidence;
use super::facts::Facts;
use super::framework::{Frameworks, States};
use super::quality::QualityTable;
use super::recommendation::{Recommendation, assemble};
use super::request::{Objective, Request, RequestError};
use super::rules::{Rules, Walk};
use super::sensitivity;
use crate::model::{Device, ModelSpec};
use crate::predict::{Predictor, Rung};

const OBJECTIVES: &str = include_str!("../../profiles/rules/objectives.toml");
/// Stages whose weights are preferences the tree holds until something is measured.
const DEFAULTS: [&str; 4] = ["hardware", "model", "framework", "precision"];

/// What an objective values; see `profiles/rules/objectives.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
    pub speed_weight: f64,
    pub saturation: f64,
    pub quality_weight: f64,
    pub memory_weight: f64,
    /// Times the part of the memory estimate's interval that is above the limit.
    pub overflow_weight: f64,
    pub bytes_weight: f64,
    /// Times ln(high / low) of the speed's interval: of two that promise the same, the better known one.
    pub risk_weight: f64,
    /// Times ln(joules a token); a candidate whose energy is not known counts as the thirstiest.
    #[serde(default)]
    pub energy_weight: f64,
    pub min_quality: f64,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    prompt: f64,
    generate: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Objectives {
    balanced: Values,
    speed: Values,
    quality: Values,
    memory: Values,
    energy: Values,
    turn: Turn,
}

fn objectives() -> &'static Objectives {
    static PARSED: OnceLock<Objectives> = OnceLock::new();
    PARSED
        .get_or_init(|| toml::from_str(OBJECTIVES).expect("the embedded file is checked by a test"))
}

pub(super) fn values(objective: Objective) -> &'static Values {
    let o = objectives();
    match objective {
        Objective::Balanced => &o.balanced,
        Objective::Speed => &o.speed,
        Objective::Quality => &o.quality,
        Objective::Memory => &o.memory,
        Objective::Energy => &o.energy,
    }
}

/// Everything the decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub device: &'a Device,
    /// False for a profile or a recorded host: nothing can be run now.
    pub device_is_here: bool,
    pub model: &'a ModelSpec,
    pub source: &'a ModelSource,
    pub request: &'a Request,
    pub frameworks: &'static Frameworks,
    pub rules: &'a Rules,
    pub states: &'a States,
    pub quality: &'a QualityTable,
    pub evidence: &'a Evidence,
    pub predictor: &'a Predictor,
}

/// Judged candidates, best first, and the path through the tree.
pub(super) struct Judged {
    pub facts: Facts,
    pub walk: Walk,
    pub candidates: Vec<Candidate>,
    /// True where measured numbers replaced the tree's preferences.
    pub evidence_rules: bool,
}

/// Advises what to run: the pick, what each alternative wins and gives up, what was rejected and why.
///
/// # Errors
/// The request contradicts itself or the model. "Nothing fits" is not an error: the recommendation has no pick then.
pub fn advise(input: &Input<'_>) -> Result<Recommendation, RequestError> {
    input.request.check(input.model)?;
    let judged = judge(input);
    let sensitivity = sensitivity::explore(input, &judged);
    Ok(assemble(input, judged, sensitivity))
}

/// The path through the tree only.
pub fn walk(input: &Input<'_>) -> Walk {
    let facts = Facts::collect(input.device, input.model, input.request, input.evidence);
    input.rules.walk(&facts)
}

/// One pass of the engine.
pub(super) fn judge(input: &Input<'_>) -> Judged {
    let facts = Facts::collect(input.device, input.model, input.request, input.evidence);
    let walk = input.rules.walk(&facts);
    let mut candidates = enumerate(input);
    for c in &mut candidates {
        limits(input, c);
        input.rules.apply(&walk, c);
    }
    let evidence_rules = candidates.iter().any(|c| c.measured && c.feasible());
    score(input, &mut candidates, evidence_rules);
    pareto(&mut candidates);
    candidates
        .sort_by(|a, b| b.feasible().cmp(&a.feasible()).then(b.utility.total_cmp(&a.utility)));
    Judged { facts, walk, candidates, evidence_rules }
}

/// Hard limits. Each rejection says what is needed, what there is, and the difference.
fn limits(input: &Input<'_>, c: &mut Candidate) {
    let r = input.request;
    let mut out = Vec::new();
    if let Some(m) = &c.memory_bytes {
        let limit = c.memory_limit_bytes as f64;
        if m.value > limit {
            out.push(Rejection {
                by: "memory".to_owned(),
                why: short_of("needs", m.value, limit, "to use"),
                over: if limit > 0.0 { m.value / limit - 1.0 } else { f64::MAX },
            });
        }
    }
    let disk = [r.max_disk_bytes, input.device.limits.disk_free_bytes].into_iter().flatten().min();
    if let Some(limit) = disk.filter(|&l| c.weight_bytes > l) {
        let (need, limit) = (c.weight_bytes as f64, limit as f64);
        out.push(Rejection {
            by: "disk".to_owned(),
            why: short_of("a file of", need, limit, "of storage"),
            over: if limit > 0.0 { need / limit - 1.0 } else { f64::MAX },
        });
    }
    if let (Some(min), Some(d)) = (r.min_decode_tok_s, &c.decode_tok_s) {
        if d.value < min {
            out.push(Rejection {
                by: "decode".to_owned(),
                why: format!(
                    "{:.1} tok/s expected, {min:.1} asked: {:.0} % short",
                    d.value,
                    100.0 * (1.0 - d.value / min)
                ),
                over: min / d.value - 1.0,
            });
        }
    } else if r.min_decode_tok_s.is_some() && c.decode_tok_s.is_none() {
        out.push(Rejection {
            by: "decode".to_owned(),
            why: "its speed is not known, a minimum was asked".to_owned(),
            over: 0.0,
        });
    }
    if let (Some(max), Some(t)) = (r.max_ttft_s, &c.ttft_s)
        && t.value > max
    {
        out.push(Rejection {
            by: "ttft".to_owned(),
            why: format!("first token after {:.2} s expected, {max:.2} s allowed", t.value),
            over: t.value / max - 1.0,
        });
    }
    let asked = r.min_quality;
    let floor = asked.unwrap_or(values(r.objective).min_quality);
    if let Some(q) = c.quality.as_ref().filter(|q| q.kept < floor) {
        let whose = if asked.is_some() { "asked" } else { "is the default floor" };
        out.push(Rejection {
            by: "quality".to_owned(),
            why: format!("keeps {:.1} % of the quality, {floor:.0} % {whose}", q.kept),
            over: (floor - q.kept) / 100.0,
        });
    }
    c.rejections.extend(out);
}

/// Utility of every candidate that could run; units are those of ln(speed).
fn score(input: &Input<'_>, candidates: &mut [Candidate], evidence_rules: bool) {
    let v = values(input.request.objective);
    let turn = &objectives().turn;
    let generates = candidates.iter().any(|c| c.decode_tok_s.is_some());
    // Speeds of graphs are inferences a second: the same saturation holds.
    let speed_of = |c: &Candidate| {
        let s = c.speed(turn.prompt, turn.generate, evidence_rules && !c.measured)?;
        Some((s / (s + v.saturation)).ln()).filter(|_| v.saturation > 0.0).or(Some(s.ln()))
    };
    let worst = candidates.iter().filter_map(speed_of).fold(f64::INFINITY, f64::min);
    let energy_of = |c: &Candidate| c.energy_j_per_token.as_ref().map(|e| e.value.ln());
    let thirstiest = candidates.iter().filter_map(energy_of).reduce(f64::max).unwrap_or(0.0);
    for c in candidates.iter_mut() {
        let speed = match speed_of(c) {
            Some(s) => s,
            // Unknown next to known: no credit.
            None if generates && worst.is_finite() => worst,
            None => 0.0,
        };
        let kept = c.quality.as_ref().map_or(97.0, |q| q.kept).max(0.01) / 100.0;
        let bytes = c.memory_bytes.as_ref().map_or(c.weight_bytes as f64, |m| m.value).max(1.0);
        let share = (bytes / (c.memory_limit_bytes.max(1) as f64)).min(1.0);
        let tree = tree_weight(c, None, evidence_rules);
        c.utility = v.speed_weight * speed + v.quality_weight * kept.ln()
            - v.memory_weight * share
            - v.overflow_weight * overflow(c)
            - v.bytes_weight * (bytes / GIB).ln()
            - v.risk_weight * risk(c)
            - v.energy_weight * energy_of(c).unwrap_or(thirstiest)
            + tree;
    }
}

/// What the tree's rules, or one of them, add to a candidate's utility.
pub(super) fn tree_weight(c: &Candidate, rule: Option<&str>, evidence_rules: bool) -> f64 {
    let counts = |stage: &str, id: &str| {
        rule.is_none_or(|r| r == id) && !(evidence_rules && DEFAULTS.contains(&stage))
    };
    c.weights.iter().filter(|(stage, id, _)| counts(stage, id)).map(|(.., w)| w).sum()
}

/// How uncertain the speed is, in units of ln(speed).
fn risk(c: &Candidate) -> f64 {
    let speed = c.decode_tok_s.as_ref().or(c.latency_s.as_ref());
    speed.map_or(0.0, |e| (e.high / e.low).ln())
}

/// Part of the memory estimate's interval that is above the limit: 0 fits for certain, 1 does not.
fn overflow(c: &Candidate) -> f64 {
    let Some(m) = &c.memory_bytes else { return 0.0 };
    let high = m.high - c.reclaimable_bytes as f64;
    let above = (high - c.memory_limit_bytes as f64) / (high - m.low).max(1.0);
    above.clamp(0.0, 1.0)
}

/// Marks what no other feasible candidate beats in speed, quality, memory and, between two where it was measured, energy.
fn pareto(candidates: &mut [Candidate]) {
    let turn = &objectives().turn;
    let energy = |c: &Candidate| {
        let measured = c.energy_j_per_token.as_ref().filter(|e| e.rung == Rung::MeasuredHere);
        measured.map(|e| -e.value)
    };
    let points: Vec<Option<([f64; 3], Option<f64>)>> = candidates
        .iter()
        .map(|c| {
            c.feasible().then(|| {
                let known = [
                    c.speed(turn.prompt, turn.generate, false).unwrap_or(0.0),
                    c.quality.as_ref().map_or(0.0, |q| q.kept),
                    -c.memory_bytes.as_ref().map_or(f64::MAX, |m| m.value),
                ];
                (known, energy(c))
            })
        })
        .collect();
    for (i, c) in candidates.iter_mut().enumerate() {
        let Some(p) = points[i] else { continue };
        c.pareto = !points.iter().flatten().any(|q| dominates(q, &p));
    }
}

fn dominates(a: &([f64; 3], Option<f64>), b: &([f64; 3], Option<f64>)) -> bool {
    let pairs = || a.0.into_iter().zip(b.0).chain(a.1.zip(b.1));
    pairs().all(|(x, y)| x >= y) && pairs().any(|(x, y)| x > y)
}

/// "The tree prefers X; measured here Y is 1.4x faster", where that happened.
pub(super) fn overruled(judged: &Judged) -> Option<String> {
    if !judged.evidence_rules {
        return None;
    }
    let pick = judged.candidates.iter().find(|c| c.feasible() && c.measured)?;
    let mut by_framework: BTreeMap<&str, (f64, &Candidate)> = BTreeMap::new();
    for c in judged.candidates.iter().filter(|c| c.feasible()) {
        let w: f64 = c
            .weights
            .iter()
            .filter(|(s, ..)| DEFAULTS.contains(&s.as_str()) && s != "precision")
            .map(|(.., w)| w)
            .sum();
        let best = by_framework.entry(&c.framework).or_insert((w, c));
        if w > best.0 || (w == best.0 && c.measured && !best.1.measured) {
            *best = (w, c);
        }
    }
    let (_, (weight, favourite)) = by_framework.iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    if *weight <= 0.0 || favourite.framework == pick.framework {
        return None;
    }
    let rival = judged
        .candidates
        .iter()
        .filter(|c| c.framework == favourite.framework && c.measured)
        .filter_map(|c| c.decode_tok_s.as_ref())
        .filter(|e| e.rung == Rung::MeasuredHere)
        .map(|e| e.value)
        .fold(0.0, f64::max);
    let own = pick.decode_tok_s.as_ref().map_or(0.0, |e| e.value);
    Some(if rival > 0.0 && own > 0.0 {
        format!(
            "the tree prefers {}; measured here {} decodes {:.1}x as fast ({own:.1} against {rival:.1} tok/s)",
            favourite.framework_name,
            pick.framework_name,
            own / rival
        )
    } else {
        format!(
            "the tree prefers {}, which was not measured here; {} was",
            favourite.framework_name, pick.framework_name
        )
    })
}

pub(super) const GIB: f64 = (1u64 << 30) as f64;

/// `4.6 GiB`, `950 MiB`.
pub(super) fn gib(bytes: f64) -> String {
    if bytes >= GIB {
        format!("{:.1} GiB", bytes / GIB)
    } else {
        format!("{:.0} MiB", bytes / (GIB / 1024.0))
    }
}

/// `needs 5.1 GiB, 4.0 GiB to use: 1.1 GiB short`; two digits where one would hide the difference.
fn short_of(what: &str, need: f64, limit: f64, of: &str) -> String {
    if need - limit < 0.1 * GIB && limit >= GIB {
        let (n, l) = (need / GIB, limit / GIB);
        return format!("{what} {n:.2} GiB, {l:.2} GiB {of}: {} short", gib(need - limit));
    }
    format!("{what} {}, {} {of}: {} short", gib(need), gib(limit), gib(need - limit))
}

//! The answer as data: pick, what each alternative wins and gives up, what was refused, confidence, bottleneck.

use serde::Serialize;

use super::candidate::{Candidate, Rejection};
use super::command::{Commands, commands, threads};
use super::decide::{Input, Judged, gib, overruled, tree_weight};
use super::facts::Facts;
use super::rules::Step;
use crate::predict::{Bottleneck, Estimate, Rung};

/// Alternatives that are explained.
const RUNNERS_UP: usize = 4;
/// A plan that fills more than this share of the limit is bound by capacity.
const TIGHT: f64 = 0.85;
/// Above this coefficient of variation a speed is called unstable, percent.
const UNSTABLE: f64 = 20.0;

/// A candidate with the commands that install and start it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Choice {
    #[serde(flatten)]
    pub candidate: Candidate,
    pub threads: u32,
    pub commands: Commands,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunnerUp {
    #[serde(flatten)]
    pub choice: Choice,
    pub wins: Vec<String>,
    pub gives_up: Vec<String>,
    /// The tree's rule without which it would be the pick.
    pub decided_by: Option<String>,
}

impl RunnerUp {
    /// What it wins, what it gives up and the rule that decides against it, as one sentence.
    pub fn verdict(&self) -> String {
        let list = |word: &str, of: &[String]| {
            (!of.is_empty()).then(|| format!("{word} {}", of.join(", ")))
        };
        let rule = self.decided_by.as_ref().map(|r| format!("decided by {r}"));
        let parts = [list("wins", &self.wins), list("gives up", &self.gives_up), rule];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Candidates that were refused for the same reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refused {
    pub framework: String,
    pub place: String,
    pub precisions: Vec<String>,
    pub reasons: Vec<Rejection>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Confidence {
    /// `high`, `medium`, `low`.
    pub level: &'static str,
    pub why: String,
}

/// One thing that would change the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sensitivity {
    #[serde(rename = "if")]
    pub if_: String,
    pub then: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Recommendation {
    pub model: String,
    pub parameters: u64,
    pub device: String,
    pub device_name: String,
    pub context: u64,
    pub objective: &'static str,
    /// `None` where nothing satisfies the constraints.
    pub pick: Option<Choice>,
    /// The best of what is installed here, where the pick is not.
    pub ready_now: Option<Choice>,
    pub runners_up: Vec<RunnerUp>,
    pub refused: Vec<Refused>,
    /// Where nothing fits: the candidate that misses by least, and what to relax.
    pub closest: Option<(Choice, String)>,
    pub confidence: Option<Confidence>,
    /// What limits the pick's speed.
    pub bottleneck: Option<String>,
    /// Where measured evidence overruled the tree.
    pub overruled: Option<String>,
    pub sensitivity: Vec<Sensitivity>,
    pub advice: Vec<String>,
    pub facts: Facts,
    pub trace: Vec<Step>,
    pub considered: usize,
}

pub(super) fn assemble(
    input: &Input<'_>,
    judged: Judged,
    sensitivity: Vec<Sensitivity>,
) -> Recommendation {
    let choice = |c: &Candidate| Choice {
        candidate: c.clone(),
        threads: threads(input),
        commands: commands(input, c),
    };
    let over = overruled(&judged);
    let feasible: Vec<&Candidate> = judged.candidates.iter().filter(|c| c.feasible()).collect();
    let pick = feasible.first().copied();
    let ready_now = pick
        .filter(|p| !p.state.is_ready())
        .and_then(|_| feasible.iter().find(|c| c.state.is_ready()))
        .map(|c| choice(c));
    let runners_up = pick.map_or_else(Vec::new, |p| {
        alternatives(p, &feasible)
            .into_iter()
            .map(|c| {
                let (wins, gives_up) = compare(p, c);
                RunnerUp {
                    choice: choice(c),
                    wins,
                    gives_up,
                    decided_by: decided_by(p, c, &judged),
                }
            })
            .collect()
    });
    let advice = judged.walk.steps.iter().filter_map(|s| s.advice.clone()).collect();
    Recommendation {
        model: input.model.name.clone(),
        parameters: input.model.parameters,
        device: input.device.id.clone(),
        device_name: input.device.name.clone(),
        context: input.request.context,
        objective: input.request.objective.name(),
        ready_now,
        runners_up,
        refused: refused(&judged.candidates),
        closest: if pick.is_none() {
            closest(&judged.candidates).map(|(c, t)| (choice(c), t))
        } else {
            None
        },
        confidence: pick.map(|p| confidence(p, &feasible)),
        bottleneck: pick.and_then(|p| bottleneck(input, p)),
        pick: pick.map(choice),
        overruled: over,
        sensitivity,
        advice,
        facts: judged.facts,
        trace: judged.walk.steps,
        considered: judged.candidates.len(),
    }
}

/// The next best that differ: one a framework and place, and the pick's own framework at other precisions on the Pareto front.
fn alternatives<'a>(pick: &Candidate, feasible: &[&'a Candidate]) -> Vec<&'a Candidate> {
    let mut out: Vec<&Candidate> = Vec::new();
    let place = |c: &Candidate| (c.framework.clone(), c.place());
    for c in feasible.iter().skip(1) {
        let same_as_pick = place(c) == place(pick);
        let own = out.iter().filter(|o| place(o) == place(pick)).count();
        let seen = out.iter().any(|o| place(o) == place(c));
        if (same_as_pick && own < 2 && c.pareto) || (!same_as_pick && !seen) {
            out.push(c);
        }
        if out.len() == RUNNERS_UP {
            break;
        }
    }
    out
}

/// What `c` does better and worse than the pick; differences under two percent are none.
fn compare(pick: &Candidate, c: &Candidate) -> (Vec<String>, Vec<String>) {
    let (mut wins, mut gives_up) = (Vec::new(), Vec::new());
    let mut ratio =
        |name: &str, a: Option<&Estimate>, b: Option<&Estimate>, more_is_better: bool| {
            let (Some(a), Some(b)) = (a, b) else { return };
            let r = b.value / a.value;
            if (r - 1.0).abs() < 0.02 || !r.is_finite() {
                return;
            }
            let text = match name {
                "memory" => format!(
                    "{} {} memory",
                    gib((b.value - a.value).abs()),
                    if r > 1.0 { "more" } else { "less" }
                ),
                _ if r >= 1.0 => format!("{name} {r:.1}x"),
                _ => format!("{name} {r:.2}x"),
            };
            if (r > 1.0) == more_is_better { wins.push(text) } else { gives_up.push(text) }
        };
    ratio("decode", pick.decode_tok_s.as_ref(), c.decode_tok_s.as_ref(), true);
    ratio("prefill", pick.prefill_tok_s.as_ref(), c.prefill_tok_s.as_ref(), true);
    ratio("latency", pick.latency_s.as_ref(), c.latency_s.as_ref(), false);
    ratio("energy", pick.energy_j_per_token.as_ref(), c.energy_j_per_token.as_ref(), false);
    ratio("memory", pick.memory_bytes.as_ref(), c.memory_bytes.as_ref(), false);
    if let (Some(a), Some(b)) = (&pick.quality, &c.quality) {
        let d = b.kept - a.kept;
        if d.abs() >= 0.1 {
            let text = format!("{d:+.1} points of quality");
            if d > 0.0 { wins.push(text) } else { gives_up.push(text) }
        }
    }
    match (pick.state.is_ready(), c.state.is_ready()) {
        (false, true) => wins.push("nothing to install".to_owned()),
        (true, false) => gives_up.push("has to be installed".to_owned()),
        _ => {}
    }
    if c.proprietary && !pick.proprietary {
        gives_up.push("proprietary licence".to_owned());
    }
    if wins.is_empty() && gives_up.is_empty() {
        gives_up.push("nothing measurable: the tree's preference decides".to_owned());
    }
    (wins, gives_up)
}

/// The rule whose weights put the pick before `c`, where one alone does.
fn decided_by(pick: &Candidate, c: &Candidate, judged: &Judged) -> Option<String> {
    let weight = |c: &Candidate, rule: &str| tree_weight(c, Some(rule), judged.evidence_rules);
    let lead = |rule: &str| weight(pick, rule) - weight(c, rule);
    let steps = judged.walk.steps.iter().map(|s| (lead(&s.id), s));
    let (most, step) = steps.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (most > pick.utility - c.utility).then(|| format!("\"{}\": {}", step.title, step.reason))
}

/// Rejected candidates, those of one framework and place with the same reasons together.
fn refused(candidates: &[Candidate]) -> Vec<Refused> {
    let mut out: Vec<Refused> = Vec::new();
    for c in candidates.iter().filter(|c| !c.feasible()) {
        let (framework, place) = (c.framework_name.clone(), c.place());
        let kinds = |r: &[Rejection]| r.iter().map(|x| x.by.clone()).collect::<Vec<_>>();
        let same = out.iter_mut().find(|r| {
            r.framework == framework
                && r.place == place
                && kinds(&r.reasons) == kinds(&c.rejections)
        });
        match same {
            Some(r) => {
                r.precisions.push(c.precision.to_string());
                // The nearest miss speaks for the group.
                for (mine, theirs) in r.reasons.iter_mut().zip(&c.rejections) {
                    if theirs.over < mine.over {
                        mine.clone_from(theirs);
                    }
                }
            }
            None => out.push(Refused {
                framework,
                place,
                precisions: vec![c.precision.to_string()],
                reasons: c.rejections.clone(),
            }),
        }
    }
    out
}

/// The candidate that misses by least, and which limits to relax.
fn closest(candidates: &[Candidate]) -> Option<(&Candidate, String)> {
    const SOFT: [&str; 6] = ["memory", "disk", "decode", "ttft", "quality", "context"];
    let numeric =
        candidates.iter().filter(|c| c.rejections.iter().all(|r| SOFT.contains(&r.by.as_str())));
    let miss = |c: &Candidate| c.rejections.iter().map(|r| r.over.max(0.01)).sum::<f64>();
    let best = numeric.min_by(|a, b| miss(a).total_cmp(&miss(b)))?;
    let relax: Vec<String> = best
        .rejections
        .iter()
        .map(|r| match r.by.as_str() {
            "memory" => {
                let need = best.memory_bytes.as_ref().map_or(0.0, |m| m.value);
                format!(
                    "{} of memory (--max-memory), a shorter --context or a smaller model",
                    gib(need * 1.02)
                )
            }
            "disk" => format!("{} of storage (--max-disk)", gib(best.weight_bytes as f64)),
            "decode" => {
                let v = best.decode_tok_s.as_ref().map_or(0.0, |d| d.value);
                format!("--min-decode-tok-s {:.1} or less", (v * 10.0).floor() / 10.0)
            }
            "ttft" => {
                let v = best.ttft_s.as_ref().map_or(0.0, |t| t.value);
                format!("--max-ttft {v:.1} or more, or a shorter prompt")
            }
            "quality" => {
                let v = best.quality.as_ref().map_or(0.0, |q| q.kept);
                format!("--min-quality {:.0} or less", v.floor())
            }
            _ => "a shorter --context".to_owned(),
        })
        .collect();
    Some((best, relax.join("; and ")))
}

fn confidence(pick: &Candidate, feasible: &[&Candidate]) -> Confidence {
    let speed = pick.decode_tok_s.as_ref().or(pick.latency_s.as_ref());
    let Some(e) = speed else {
        let why =
            pick.no_speed.clone().unwrap_or_else(|| "no speed is predicted for it".to_owned());
        return Confidence { level: "low", why: format!("{why}: the tree's preferences decide") };
    };
    let spread = (e.high / e.low).sqrt() - 1.0;
    let rival = feasible.iter().skip(1).find(|c| c.framework != pick.framework);
    let close = rival.is_some_and(|r| (pick.utility - r.utility).abs() < 0.05);
    // The word follows the interval: a local measurement as wide as a guess is worth no more than one.
    let local = matches!(e.rung, Rung::MeasuredHere | Rung::CalibratedHere);
    let level = match spread {
        s if local && s < 0.25 => "high",
        s if s < 0.5 => "medium",
        _ => "low",
    };
    let mut why = format!("{}, +-{:.0} %", e.rung.tag(), 100.0 * spread);
    if let Some(r) = rival.filter(|_| close && level != "high") {
        why.push_str(&format!(
            "; {} is as good within that: `bench` would settle it",
            r.framework_name
        ));
    }
    Confidence { level, why }
}

fn bottleneck(input: &Input<'_>, pick: &Candidate) -> Option<String> {
    if let Some(m) =
        input.evidence.find(&input.model.name, pick).filter(|m| m.variation_percent > UNSTABLE)
    {
        return Some(format!(
            "unstable: speed varies by {:.0} % between samples",
            m.variation_percent
        ));
    }
    let used = pick.memory_bytes.as_ref().map_or(0.0, |m| m.value)
        / (pick.memory_limit_bytes.max(1) as f64);
    let limit = match pick.bottleneck? {
        Bottleneck::MemoryBandwidth => {
            "decode is bound by memory bandwidth: fewer bits are faster, more cores are not"
        }
        Bottleneck::Compute => {
            "bound by arithmetic: a faster kernel or processor helps, fewer bits hardly"
        }
        Bottleneck::Overhead => "bound by fixed costs a layer: the model is small for this device",
        Bottleneck::Capacity => "bound by capacity: part of the model is outside the fast memory",
    };
    Some(match used {
        u if u > TIGHT => format!("{limit}; memory is {:.0} % full", 100.0 * u),
        _ => limit.to_owned(),
    })
}

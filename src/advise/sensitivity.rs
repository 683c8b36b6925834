//! What would change the answer: the engine is run again with one constraint moved at a time.

use super::decide::{GIB, Input, Judged, judge};
use super::recommendation::Sensitivity;
use super::request::Request;
use crate::model::{Device, Fact, ModelKind, ProcessorKind};

/// Moves memory, context and speed, and reports the first step of each that changes the pick.
pub(super) fn explore(input: &Input<'_>, judged: &Judged) -> Vec<Sensitivity> {
    let mut out = Vec::new();
    let now = top(judged);
    let memory_matters = judged
        .candidates
        .iter()
        .any(|c| !c.rejections.is_empty() && c.rejections.iter().all(|r| r.by == "memory"));
    if memory_matters || now.is_none() {
        for gib in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
            let (device, request) = with_memory(input, gib);
            let again = judge(&Input { device: &device, request: &request, ..*input });
            if let Some(change) = changed(&now, &again) {
                out.push(Sensitivity {
                    if_: format!("with {gib:.0} GiB more memory"),
                    then: change,
                });
                break;
            }
        }
    }
    if input.model.kind == ModelKind::Llm {
        for factor in [2, 4, 8, 16, 32] {
            let context = input.request.context.saturating_mul(factor);
            if input.model.context_length > 0 && context > input.model.context_length {
                break;
            }
            let request = Request { context, ..input.request.clone() };
            let again = judge(&Input { request: &request, ..*input });
            if let Some(change) = changed(&now, &again) {
                let lost = gone(&now, &again);
                let then = if lost.is_empty() { change } else { format!("{lost}; {change}") };
                out.push(Sensitivity {
                    if_: format!("at {} tokens of context", short(context)),
                    then,
                });
                break;
            }
        }
    }
    if now.is_some() {
        wishes(input, &now, &mut out);
    }
    out
}

fn wishes(input: &Input<'_>, now: &Option<Top>, out: &mut Vec<Sensitivity>) {
    let base = input.request;
    let mut tries: Vec<(String, Request)> = Vec::new();
    let speed = now.as_ref().and_then(|t| t.speed).unwrap_or(0.0);
    if base.min_decode_tok_s.is_none() && speed > 0.0 {
        let want = (speed * 1.5).ceil();
        tries.push((
            format!("if {want:.0} tok/s were required"),
            Request { min_decode_tok_s: Some(want), ..base.clone() },
        ));
    }
    if base.min_quality.is_none() {
        tries.push((
            "if 99 % of the quality were required".to_owned(),
            Request { min_quality: Some(99.0), ..base.clone() },
        ));
    }
    for (if_, request) in tries {
        let again = judge(&Input { request: &request, ..*input });
        if let Some(then) = changed(now, &again) {
            out.push(Sensitivity { if_, then });
        }
    }
}

struct Top {
    label: String,
    key: (String, String, String),
    speed: Option<f64>,
}

fn top(judged: &Judged) -> Option<Top> {
    let c = judged.candidates.first().filter(|c| c.feasible())?;
    Some(Top {
        label: c.label(),
        key: (c.framework.clone(), c.place(), c.precision.to_string()),
        speed: c.decode_tok_s.as_ref().map(|d| d.value),
    })
}

/// The new pick, if it is another one.
fn changed(now: &Option<Top>, again: &Judged) -> Option<String> {
    match (now, top(again)) {
        (Some(a), Some(b)) if a.key == b.key => None,
        (None, None) => None,
        (_, Some(b)) => Some(match b.speed {
            Some(s) => format!("{} ({s:.1} tok/s)", b.label),
            None => b.label,
        }),
        (Some(_), None) => Some("nothing else fits".to_owned()),
    }
}

/// `Q4_K_M no longer fits`, where the present pick is rejected then.
fn gone(now: &Option<Top>, again: &Judged) -> String {
    let Some(now) = now else { return String::new() };
    let same = again.candidates.iter().find(|c| {
        c.framework == now.key.0
            && c.precision.to_string() == now.key.2
            && !c.feasible()
            && c.rejections.iter().any(|r| r.by == "memory")
    });
    same.map_or_else(String::new, |c| format!("{} no longer fits", c.precision))
}

/// The device with more memory: the card's own where there is one, the machine's otherwise.
fn with_memory(input: &Input<'_>, gib: f64) -> (Device, Request) {
    let more = (gib * GIB) as u64;
    let mut device = input.device.clone();
    let mut card = false;
    for p in device.processors.iter_mut().filter(|p| p.kind == ProcessorKind::DiscreteGpu) {
        for m in [&mut p.memory_bytes, &mut p.memory_free_bytes].into_iter().flatten() {
            *m = Fact::inferred(m.value.saturating_add(more), "what if");
            card = true;
        }
    }
    if !card {
        for p in &mut device.processors {
            if let Some(m) = &mut p.memory_bytes {
                m.value = m.value.saturating_add(more);
            }
        }
        device.limits.memory_bytes = device.limits.memory_bytes.saturating_add(more);
        device.limits.memory_available_bytes =
            device.limits.memory_available_bytes.saturating_add(more);
    }
    let request = Request {
        max_memory_bytes: input.request.max_memory_bytes.map(|m| m.saturating_add(more)),
        ..input.request.clone()
    };
    (device, request)
}

fn short(tokens: u64) -> String {
    if tokens.is_multiple_of(1024) { format!("{}k", tokens / 1024) } else { tokens.to_string() }
}

//! The headline table with claims, measured values and verdict chips.

use maud::{Markup, html};

use super::page::{framework, scroll};
use crate::report::cells;
use crate::report::text::significant;
use crate::report::view::{Chip, Estimate, HeadlineRow, Judged, View};

pub(super) fn section(view: &View) -> Markup {
    html! {
        h2 id="headline" { "Frameworks and quantizations, measured here" }
        p class="note" {
            "Speed-ups and memory saved are against the same framework's own 16-bit baseline on this device; "
            "brackets hold 95 % intervals. A chip says where the whole interval lies against the field's claim ("
            (view.claims_source) "). Generation (decode) and prompt reading (prefill) are judged apart."
        }
        (scroll("Headline table", html! {
            table class="sortable stack" {
                caption { "One row a framework and quantization" }
                thead { tr {
                    @for title in ["Framework", "Quantization", "Memory usage", "Speed improvement", "Quality", "Use case"] {
                        th scope="col" { (title) }
                    }
                } }
                tbody { @for row in &view.headline { (self::row(view, row)) } }
            }
        }))
    }
}

fn row(view: &View, r: &HeadlineRow) -> Markup {
    let names = cells::framework(r);
    let off = if r.problem.is_empty() { "" } else { "off" };
    let memory_value = r.peak_bytes.as_ref().map(|p| p.value);
    let speed_value = r.decode.measured.as_ref().map(|s| s.value);
    html! {
        tr class=(off) {
            th scope="row" {
                (framework(view, &r.backend, &names[0]))
                @for extra in &names[1..] { span class="line why" { (extra) } }
            }
            td {
                span class="big" { (cells::quantization(r)) }
                @if !r.workload.is_empty() { span class="line why" { (r.workload) } }
            }
            @if r.problem.is_empty() {
                td data-v=[memory_value] { (memory(r)) }
                td data-v=[speed_value] { (speed(r)) }
            } @else {
                td data-v="" { (claimed(&r.memory_less, cells::claimed_memory)) }
                td data-v="" {
                    (claimed(&r.decode, cells::claimed_speed))
                    span class="line why" { (r.problem) }
                }
            }
            td { (r.quality) }
            td { (r.use_case) }
        }
    }
}

/// The chip of a row that was not measured, with what the field claims.
fn claimed(judged: &Judged, text: impl Fn([f64; 2]) -> String) -> Markup {
    html! {
        span class="chip not_measured" { "not measured" }
        @if let Some(c) = judged.claim { span class="line why" { "claim " (text(c)) } }
    }
}

fn memory(r: &HeadlineRow) -> Markup {
    html! {
        span class="line big" {
            @match &r.peak_bytes {
                Some(p) => { (cells::interval(p, crate::report::text::bytes)) " peak" }
                None => { "not measured" }
            }
        }
        @if let Some(m) = &r.memory_less.measured { span class="line" { (cells::less(m.value)) " vs 16-bit" } }
        @if let Some(m) = r.memory_less_than_32 { span class="line" { (cells::less(m)) " vs F32" } }
        (chip(&r.memory_less, cells::claimed_memory))
        @if !r.memory_claim_text.is_empty() {
            span class="line why" { "claim " (r.memory_claim_text) " (for a 7B model)" }
        }
    }
}

fn speed(r: &HeadlineRow) -> Markup {
    let graph = r.speed_unit != "tok/s";
    let absolute = |e: &Estimate| cells::interval(e, significant);
    html! {
        @if let Some(s) = &r.speed { span class="line why" { (absolute(s)) " " (r.speed_unit) } }
        @if cells::is_baseline(r) {
            span class="line" { "baseline" }
        } @else {
            (phase(if graph { "inference" } else { "decode" }, r, &r.decode))
            @if !graph { (phase("prefill", r, &r.prefill)) }
            @if r.baseline == "F32" { span class="line why" { "against F32, as no 16-bit baseline completed" } }
        }
        @for line in &r.beside { span class="line" { (line) } }
    }
}

fn phase(name: &str, r: &HeadlineRow, judged: &Judged) -> Markup {
    html! {
        span class="line" {
            (name) " "
            @if judged.measured.is_some() { span class="big" { (cells::speedup(r, judged)) } }
            @else { (cells::speedup(r, judged)) }
            " " (chip(judged, cells::claimed_speed))
        }
    }
}

/// Nothing where nothing is claimed; the reason where it was not judged.
fn chip(judged: &Judged, text: impl Fn([f64; 2]) -> String) -> Markup {
    let class = match judged.chip {
        Chip::Within => "within",
        Chip::Below => "below",
        Chip::Above => "above",
        Chip::NotMeasured => "not_measured",
        Chip::NoClaim => "no_claim",
    };
    let judged_here = !matches!(judged.chip, Chip::NoClaim | Chip::NotMeasured);
    html! {
        @if let Some(claim) = judged.claim {
            @if judged_here {
                span class={ "chip " (class) } { (judged.chip.word()) " " (text(claim)) }
            } @else {
                span class={ "chip " (class) } { "claim " (text(claim)) " not judged" }
                @if judged.measured.is_none() && !judged.why.is_empty() { span class="line why" { (judged.why) } }
            }
        } @else if judged.measured.is_none() && !judged.why.is_empty() && judged.why != "not measured" {
            span class="line why" { (judged.why) }
        }
    }
}

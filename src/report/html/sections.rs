//! The sections that are not measurements: device, what was not measured, fit, hints, method.

use maud::{Markup, html};

use super::page::{framework, scroll, short_id};
use super::tables::outcome;
use crate::report::text::{count, significant};
use crate::report::view::{CaseView, RunView, View};

pub(super) fn devices(view: &View) -> Markup {
    html! {
        h2 id="device" { (if view.runs.len() == 1 { "Device" } else { "Devices" }) }
        div class="cards" { @for run in &view.runs { (device(run)) } }
    }
}

fn device(run: &RunView) -> Markup {
    html! {
        section class="card" {
            h3 { (run.device.name) }
            dl {
                dt { "Fingerprint" } dd { code { (run.device.id) } }
                @for f in &run.device.facts {
                    dt { (f.label) }
                    dd { (f.value) @if !f.source.is_empty() { " " small { "(" (f.source) ")" } } }
                }
                @for p in &run.device.problems { dt { "Problem" } dd { (p) } }
            }
        }
    }
}

pub(super) fn not_measured(view: &View) -> Markup {
    let missing: Vec<&CaseView> = view.cases.iter().filter(|c| c.outcome != "completed").collect();
    let partly: Vec<&CaseView> = view
        .cases
        .iter()
        .filter(|c| c.outcome == "completed" && c.runs_completed < c.runs_total)
        .collect();
    html! {
        h2 id="not-measured" { "Cases not measured, and why" }
        @if missing.is_empty() && partly.is_empty() { p { "Every case of the plan completed." } }
        @else {
            (scroll("Cases not measured", html! {
                table class="sortable" {
                    thead { tr {
                        th scope="col" { "Framework" } th scope="col" { "Quantization" } th scope="col" { "Case" }
                        th scope="col" { "Outcome" } th scope="col" { "Why" }
                    } }
                    tbody { @for c in missing.iter().chain(&partly) {
                        tr {
                            th scope="row" { (framework(view, &c.backend, &c.framework)) }
                            td { (c.precision) } td class="id" { (short_id(view, c)) }
                            td {
                                (outcome(&c.outcome))
                                @if c.outcome == "completed" {
                                    span class="line why" { (c.runs_total - c.runs_completed) " of " (c.runs_total) " runs did not" }
                                }
                            }
                            td {
                                (c.reason)
                                @if !c.stderr_tail.is_empty() {
                                    details { summary { "last words of the worker" } pre { (c.stderr_tail) } }
                                }
                            }
                        }
                    } }
                }
            }))
        }
    }
}

pub(super) fn findings(view: &View) -> Markup {
    const NAMED: usize = 6;
    html! {
        h2 id="findings" { "Validity findings" }
        @if view.findings.is_empty() { p { "No check found anything." } }
        @else {
            (scroll("Validity findings", html! {
                table class="sortable" {
                    thead { tr {
                        th scope="col" { "Weight" } th scope="col" { "Kind" } th scope="col" { "What was seen" }
                        th scope="col" { "Cases" }
                    } }
                    tbody { @for f in &view.findings {
                        tr {
                            td {
                                @if f.invalidates { span class="chip bad" { "invalidates" } }
                                @else { span class="chip not_measured" { "note" } }
                            }
                            th scope="row" { (f.kind) }
                            td { (f.detail) @if !f.hint.is_empty() { span class="line why" { "hint: " (f.hint) } } }
                            td class="id" data-v=(f.cases.len()) {
                                @for c in f.cases.iter().take(NAMED) { span class="line" { (short_id(view, &view.cases[*c])) } }
                                @if f.cases.len() > NAMED { span class="line why" { "and " (f.cases.len() - NAMED) " more" } }
                            }
                        }
                    } }
                }
            }))
        }
    }
}

pub(super) fn matrices(view: &View) -> Markup {
    html! {
        h2 id="matrices" { "Which framework fits what" }
        p class="note" { "Ratings and recommendations of " (view.claims_source) ", not measurements." }
        (scroll("Framework by requirement", html! {
            table {
                caption { "Framework by requirement" }
                thead { tr {
                    th scope="col" { "Framework" }
                    @for r in &view.requirements { th scope="col" { (r) } }
                    th scope="col" { "Claim" } th scope="col" { "Measured here" }
                } }
                tbody { @for f in view.frameworks.iter().filter(|f| f.ratings.iter().any(|r| !r.is_empty())) {
                    tr {
                        th scope="row" { (framework(view, &f.id, &f.name)) }
                        @for r in &f.ratings { td { (r) } }
                        td { @if f.claim.is_empty() { "none" } @else { (f.claim) } }
                        td { @if f.cases == 0 { "no case" } @else { (f.completed) " of " (count(f.cases, "case")) } }
                    }
                } }
            }
        }))
        p {}
        (scroll("Framework by hardware platform", html! {
            table {
                caption { "Framework by hardware platform; this report's devices are marked" }
                thead { tr {
                    th scope="col" { "Platform" } th scope="col" { "Primary" } th scope="col" { "Secondary" }
                    th scope="col" { "What measurements and documents say" } th scope="col" { "This report" }
                } }
                tbody { @for p in &view.platforms {
                    tr class=(if p.here.is_empty() { "" } else { "here" }) {
                        th scope="row" { (p.title) } td { (p.primary) } td { (p.secondary) } td { (p.correction) }
                        td { @if !p.here.is_empty() { "◀ " (p.here.join(", ")) } }
                    }
                } }
            }
        }))
    }
}

pub(super) fn troubleshooting(view: &View) -> Markup {
    html! {
        h2 id="troubleshooting" { "Troubleshooting" }
        @for f in view.frameworks.iter().filter(|f| !f.hints.is_empty()) {
            details open[f.cases > f.completed] {
                summary {
                    (framework(view, &f.id, &f.name))
                    @if f.cases > f.completed { span class="why" { " (" (f.cases - f.completed) " not completed)" } }
                }
                ul { @for hint in &f.hints { li { (hint) } } }
            }
        }
    }
}

pub(super) fn method(view: &View) -> Markup {
    html! {
        h2 id="method" { "Method and circumstances" }
        ul {
            li { "Each case runs in a process of its own. Warm-up samples are kept in the record and never counted." }
            li {
                "One process run: the median of its samples, with a block-bootstrap 95 % interval that knows the noise "
                "inside the run only. Several: each counts once by its median; geometric mean with Student's t on logarithms."
            }
            li { "Ratios: the two sides' intervals joined on the log scale (MOVER). p90 needs 64 samples, p99 needs 662." }
            li {
                "Memory: peak resident memory of the worker plus what it holds on an accelerator. Sizes are decimal "
                "(1 MB = 10^6 bytes)."
            }
            li { "A claim is met where the interval touches the claimed range, and missed where all of it lies outside." }
        }
        div class="cards" { @for run in &view.runs { (circumstances(view, run)) } }
    }
}

/// Why a run has no energy figures, each reason once, with what would help.
fn energy_missing(view: &View, run: Option<usize>) -> Vec<String> {
    let cases = view.cases.iter().filter(|c| Some(c.run) == run);
    let missing = cases.filter_map(|c| c.energy.as_ref()).filter(|e| !e.missing.is_empty());
    let mut reasons: Vec<String> = missing
        .map(|e| match e.hint.as_str() {
            "" => format!("not measured: {}", e.missing),
            hint => format!("not measured: {}. {hint}", e.missing),
        })
        .collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

fn circumstances(view: &View, run: &RunView) -> Markup {
    let index = view.runs.iter().position(|r| std::ptr::eq(r, run));
    let p = &run.protocol;
    let mut versions: Vec<String> = view
        .cases
        .iter()
        .filter(|c| Some(c.run) == index && !c.engine.version.is_empty())
        .map(|c| format!("{} {}", c.framework, c.engine.version))
        .collect();
    versions.sort();
    versions.dedup();
    let noise = |n: Option<f64>| {
        n.map_or("not measured".into(), |n| format!("{} %", significant(n * 100.0)))
    };
    html! {
        section class="card" {
            h3 { (run.name) }
            dl {
                dt { "Run" } dd { (run.run_ids.join(", ")) }
                dt { "Started, finished" } dd { (run.created) ", " (run.finished.as_deref().unwrap_or("not finished")) }
                dt { "Suite" } dd { (run.suite) @if run.quick { " (quick)" } }
                dt { "Seed" } dd { (run.seed) }
                dt { "Warm-up" } dd { (p.warmup[0]) " to " (p.warmup[1]) " iterations" }
                dt { "Samples" } dd {
                    (p.samples[0]) " to " (p.samples[1]) ", " (significant(p.seconds[0])) " to " (significant(p.seconds[1])) " s"
                }
                dt { "Deadline" } dd { (significant(p.deadline_s)) " s" }
                dt { "Noise before, after" } dd { (noise(run.noise[0])) ", " (noise(run.noise[1])) }
                @for why in energy_missing(view, index) { dt { "Energy" } dd { (why) } }
                dt { "Outcomes" } dd {
                    (run.outcomes.iter().map(|(w, n)| format!("{n} {}", w.replace('_', " "))).collect::<Vec<_>>().join(", "))
                }
                dt { "edge-advisor" } dd {
                    (run.build.version) ", " (run.build.profile) ", " (run.build.target)
                    @if !run.build.compiled_isa.is_empty() { ", compiled for " (run.build.compiled_isa.join(" ")) }
                }
                dt { "Engines" } dd { (versions.join("; ")) }
                @for (k, v) in &run.labels { dt { "Label " (k) } dd { (v) } }
            }
            pre { (run.command) }
        }
    }
}

//! The detailed tables: files, all cases, quality, runs side by side.

use maud::{Markup, html};

use super::page::{framework, scroll, short_id};
use crate::model::Metric;
use crate::report::cells;
use crate::report::text::{self, bytes, significant};
use crate::report::view::{CaseView, Estimate, MetricView, QuantRow, View, metric};

pub(super) fn side_by_side(view: &View) -> Markup {
    if view.side_by_side.is_empty() {
        return html! {};
    }
    html! {
        h2 id="side-by-side" { "Side by side" }
        p class="note" {
            "In brackets how many times better than the first column that has a value. "
            "Whether a difference is real is for " code { "edge-advisor compare" } " to say: it knows the noise between runs."
        }
        (scroll("Runs side by side", html! {
            table class="sortable" {
                thead { tr {
                    th scope="col" { "Case" } th scope="col" { "Metric" }
                    @for run in &view.runs { th scope="col" class="n" { (run.name) } }
                } }
                tbody { @for r in &view.side_by_side {
                    tr {
                        td class="id" { (r.case) } td { (r.metric) }
                        @for (value, ratio) in r.values.iter().zip(&r.ratios) {
                            @match value {
                                Some(v) => {
                                    td class="n" data-v=(v.value) {
                                        (cells::metric_value(&r.metric, v.value))
                                        @if let Some(x) = ratio { span class="line why" { (significant(*x)) "x" } }
                                    }
                                }
                                None => { td class="n" data-v="" { "–" } }
                            }
                        }
                    }
                } }
            }
        }))
    }
}

pub(super) fn quantizations(view: &View) -> Markup {
    html! {
        h2 id="quantizations" { "Quantizations: what the files really hold" }
        @if view.quantizations.is_empty() { p { "No file was opened." } }
        @else {
            p class="note" {
                "True bits a weight come from the tensors, not from the name. Smaller: against 16 bits a weight, "
                "beside the field's claim where it makes one."
            }
            (scroll("Quantizations", html! {
                table class="sortable" {
                    thead { tr {
                        th scope="col" { "Model" } th scope="col" { "Quantization" } th scope="col" { "Class" }
                        th scope="col" class="n" { "Size" } th scope="col" class="n" { "Bits/weight" }
                        th scope="col" class="n" { "Nominal" } th scope="col" class="n" { "Smaller" }
                        th scope="col" { "Tensor types" } th scope="col" { "Frameworks" } th scope="col" { "Use case" }
                    } }
                    tbody { @for q in &view.quantizations { (quant_row(q)) } }
                }
            }))
        }
    }
}

fn quant_row(q: &QuantRow) -> Markup {
    let v = &q.variant;
    html! {
        tr {
            td { (q.model) } th scope="row" { (q.precision) } td { (q.precision_class) }
            td class="n" data-v=(v.size_bytes) { (bytes(v.size_bytes as f64)) }
            td class="n" data-v=(v.bits_per_weight) { (format!("{:.2}", v.bits_per_weight)) }
            td class="n" data-v=(q.nominal_bits) { (format!("{:.2}", q.nominal_bits)) }
            td class="n" data-v=(q.smaller_percent) {
                (cells::less(q.smaller_percent))
                @if let Some(c) = q.claim_percent { span class="line why" { "claim -" (significant(c)) " %" } }
            }
            td class="words" {
                @for t in v.types.iter().take(4) {
                    span class="line" { (t.dtype) ": " (t.tensors) ", " (bytes(t.bytes as f64)) }
                }
                @if v.types.len() > 4 { span class="line why" { "and " (v.types.len() - 4) " more types" } }
                @for f in v.fallbacks.iter().take(3) { span class="line why" { "fell back: " (f) } }
            }
            td { (q.frameworks.join(", ")) }
            td class="words" {
                (q.use_case)
                @if v.source_quantized { span class="line why" { "made from a " (v.source_type) " source" } }
            }
        }
    }
}

const SHOWN: [Metric; 12] = [
    Metric::DecodeTokS,
    Metric::PrefillTokS,
    Metric::TtftNs,
    Metric::LatencyNs,
    Metric::ThroughputPerS,
    Metric::LoadNs,
    Metric::LoadColdNs,
    Metric::PeakRssBytes,
    Metric::SustainedRatio,
    Metric::EnergyPerTokenJ,
    Metric::PrefillEnergyPerTokenJ,
    Metric::EnergyPerInferenceJ,
];

/// Metrics of a list that at least one case has.
fn present(view: &View, of: &[Metric]) -> Vec<Metric> {
    of.iter().copied().filter(|m| view.cases.iter().any(|c| metric(c, *m).is_some())).collect()
}

pub(super) fn cases(view: &View) -> Markup {
    let metrics = present(view, &SHOWN);
    html! {
        h2 id="cases" { "All cases" }
        p class="note" {
            "Medians with 95 % intervals. n counts samples, r process runs: with one run the interval knows only the "
            "noise within it. Everything else is in the raw data."
        }
        (scroll("All cases", html! {
            table class="sortable" {
                thead { tr {
                    th scope="col" { "Framework" } th scope="col" { "Quantization" } th scope="col" { "Case" }
                    th scope="col" { "Outcome" }
                    @for m in &metrics { th scope="col" class="n" { (m.title()) } }
                    th scope="col" { "What ran" }
                } }
                tbody { @for c in &view.cases { (case_row(view, c, &metrics)) } }
            }
        }))
    }
}

fn case_row(view: &View, c: &CaseView, metrics: &[Metric]) -> Markup {
    let runs = if c.runs_completed < c.runs_total {
        format!("{} of {} runs", c.runs_completed, c.runs_total)
    } else {
        String::new()
    };
    html! {
        tr class=(if c.outcome == "completed" { "" } else { "off" }) {
            th scope="row" { (framework(view, &c.backend, &c.framework)) }
            td { (c.precision) }
            td class="id" { (short_id(view, c)) }
            td { (outcome(&c.outcome)) @if !runs.is_empty() { span class="line why" { (runs) } } }
            @for m in metrics { (metric_cell(metric(c, *m), *m)) }
            td class="words" { (what_ran(c)) }
        }
    }
}

pub(super) fn outcome(word: &str) -> Markup {
    let class = match word {
        "completed" => "within",
        "unsupported" | "skipped" => "not_measured",
        _ => "bad",
    };
    html! { span class={ "chip " (class) } { (word.replace('_', " ")) } }
}

fn metric_cell(m: Option<&MetricView>, of: Metric) -> Markup {
    let format = |x: f64| text::value(of.unit(), x);
    let range = |e: &Estimate| {
        let (low, high) = (format(e.low?), format(e.high?));
        // A unit that both ends share is said once.
        let bare =
            |low: &str| Some(low.strip_suffix(high.rsplit_once(' ')?.1)?.trim_end().to_owned());
        Some(format!("{} to {high}", bare(&low).unwrap_or(low)))
    };
    html! {
        @match m {
            Some(m) => {
                td class="n" data-v=(m.median.value) {
                    (format(m.median.value))
                    @if let Some(r) = range(&m.median) { span class="line why" { (r) } }
                    @if m.n > 1 { span class="line why" { "n " (m.n) ", r " (m.runs) } }
                    @if m.not_finite > 0 { span class="line why" { (m.not_finite) " not finite" } }
                }
            }
            None => { td class="n" data-v="" { "–" } }
        }
    }
}

fn what_ran(c: &CaseView) -> Markup {
    let e = &c.engine;
    let placement: Vec<String> = e.placement.iter().map(|(k, n)| format!("{k}: {n}")).collect();
    let settings: Vec<String> = e.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let first: Vec<&str> =
        [e.version.as_str(), &e.kernel, &e.path].into_iter().filter(|s| !s.is_empty()).collect();
    html! {
        (first.join(", "))
        @if let Some(energy) = c.energy.as_ref().filter(|e| e.missing.is_empty()) {
            span class="line why" {
                "energy of the " (energy.scope) " (" (energy.source) ")"
                @if let Some(load) = energy.load_w { ", " (significant(load)) " W under load" }
                @if let Some(idle) = energy.idle_w { ", less " (significant(idle)) " W idle" }
            }
        }
        @if !placement.is_empty() { span class="line why" { "placed " (placement.join(", ")) } }
        @if !settings.is_empty() { span class="line why" { (settings.join(", ")) } }
    }
}

const QUALITY: [Metric; 9] = [
    Metric::Top1Agreement,
    Metric::KlDivergence,
    Metric::TokenProbDelta,
    Metric::Perplexity,
    Metric::PerplexityRatio,
    Metric::CosineToReference,
    Metric::RankAgreement,
    Metric::Top5Agreement,
    Metric::OutputSnrDb,
];

pub(super) fn quality(view: &View) -> Markup {
    let metrics = present(view, &QUALITY);
    let completed = || view.cases.iter().filter(|c| c.outcome == "completed");
    let source = completed().filter_map(|c| c.variant.as_ref()).find(|v| v.source_quantized);
    html! {
        h2 id="quality" { "Quality against the reference" }
        @if let Some(v) = source {
            p class="note" {
                "The source model was itself quantized (" (v.source_type) "): the reference is that file's weights, "
                "so these figures say how well a variant keeps them, not how good it is against the original model."
            }
        }
        @if metrics.is_empty() { p { "Quality not measured: no case in this report has a quality figure." } }
        @else {
            (scroll("Quality", html! {
                table class="sortable" {
                    thead { tr {
                        th scope="col" { "Framework" } th scope="col" { "Quantization" } th scope="col" { "Case" }
                        @for m in &metrics { th scope="col" class="n" { (m.title()) } }
                    } }
                    tbody { @for c in completed() {
                        tr {
                            th scope="row" { (framework(view, &c.backend, &c.framework)) }
                            td { (c.precision) } td class="id" { (short_id(view, c)) }
                            @if metrics.iter().all(|m| metric(c, *m).is_none()) {
                                @for (i, _) in metrics.iter().enumerate() {
                                    td class="n" data-v="" { @if i == 0 { "quality not measured" } @else { "–" } }
                                }
                            } @else {
                                @for m in &metrics { (metric_cell(metric(c, *m), *m)) }
                            }
                        }
                    } }
                }
            }))
        }
    }
}

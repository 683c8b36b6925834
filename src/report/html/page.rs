//! The page: one self-contained file, complete without scripts and without a network.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::{downloads, headline, sections, tables};
use crate::report::plot::{self, Figure};
use crate::report::text;
use crate::report::view::{CaseView, View};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole report as HTML. The same view gives the same bytes.
pub fn render(view: &View) -> String {
    let (figures, left_out) = plot::figures(view);
    page(view, &figures, left_out).into_string()
}

/// Nothing is loaded from anywhere, and only our own script runs.
fn policy() -> String {
    let hash = text::base64(&Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; img-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

fn page(view: &View, figures: &[Figure], left_out: usize) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="edge-advisor";
                title { (view.title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (top(view))
                main {
                    (sections::devices(view))
                    (headline::section(view))
                    (plots(figures, left_out))
                    (tables::side_by_side(view))
                    (tables::quantizations(view))
                    (sections::matrices(view))
                    section class="sheet" { (tables::cases(view)) (tables::quality(view)) }
                    (sections::not_measured(view))
                    (sections::findings(view))
                    (sections::troubleshooting(view))
                    (sections::method(view))
                    (downloads::section(view))
                }
                footer {
                    "Made by edge-advisor from raw samples; the same record gives the same bytes. "
                    "Claims and ratings: " (view.claims_source) "."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn top(view: &View) -> Markup {
    const LINKS: [(&str, &str); 11] = [
        ("device", "Device"),
        ("headline", "Headline"),
        ("plots", "Plots"),
        ("quantizations", "Quantizations"),
        ("matrices", "Fit"),
        ("cases", "All cases"),
        ("quality", "Quality"),
        ("not-measured", "Not measured"),
        ("findings", "Findings"),
        ("troubleshooting", "Troubleshooting"),
        ("method", "Method"),
    ];
    let runs: Vec<String> = view
        .runs
        .iter()
        .flat_map(|r| r.run_ids.iter().map(move |id| format!("{id}, {}", r.created)))
        .collect();
    html! {
        header {
            h1 { (view.title) }
            @for run in runs.iter().take(4) { p class="sub" { (run) } }
            @if runs.len() > 4 { p class="sub" { "and " (text::count(runs.len() - 4, "more run")) } }
            div class="verdict" role="region" aria-label="Verdict" {
                @for sentence in &view.verdict { p { (sentence) } }
            }
            @if !view.notes.is_empty() {
                div class="notes" role="region" aria-label="Read this first" {
                    ul { @for note in &view.notes { li { (note) } } }
                }
            }
            nav aria-label="Sections" {
                @for (id, title) in LINKS { a href={ "#" (id) } { (title) } }
                a href="#download" { "Raw data" }
            }
        }
    }
}

fn plots(figures: &[Figure], left_out: usize) -> Markup {
    html! {
        h2 id="plots" { "Plots" }
        @if figures.is_empty() { p { "Nothing to plot: no case completed." } }
        @if left_out > 0 {
            p class="note" { "Plots of " (text::count(left_out, "more model or run")) " are left out; the tables have all." }
        }
        @for f in figures {
            figure id=(f.id) {
                h3 { (f.title) }
                div class="wide" role="img" aria-label={ (f.title) ". " (f.text) } { (PreEscaped(&f.wide_svg)) }
                div class="narrow" role="img" aria-label={ (f.title) ". " (f.text) } { (PreEscaped(&f.narrow_svg)) }
                figcaption { (f.text) }
            }
        }
    }
}

/// A framework's name with its colour in the plots.
pub(super) fn framework(view: &View, backend: &str, name: &str) -> Markup {
    let ink = view.frameworks.iter().position(|f| f.id == backend).unwrap_or(6).min(6);
    html! { span class={ "dot d" (ink) } aria-hidden="true" {} (name) }
}

/// A table that scrolls sideways on its own where it is too wide.
pub(super) fn scroll(label: &str, table: Markup) -> Markup {
    html! { div class="scroll" role="region" tabindex="0" aria-label=(label) { (table) } }
}

/// Model, framework, precision and what else tells cases apart.
pub(super) fn short_id(view: &View, c: &CaseView) -> String {
    if view.runs.len() > 1 { format!("{} [{}]", c.id, view.runs[c.run].name) } else { c.id.clone() }
}

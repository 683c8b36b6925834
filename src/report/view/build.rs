//! Puts a whole [`View`] together from records.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::model::{FindingKind, Metric, Precision};
use crate::probe::HIGH_NOISE;
use crate::record::RunRecord;
use crate::report::text;

use super::cases::{self, Baselines, Group};
use super::estimate;
use super::frameworks::FIELD;
use super::scope::{self, Grouping, Scope};
use super::types::{
    CaseView, FindingView, FrameworkView, PlatformView, QuantRow, REPORT_SCHEMA, RunView, SideRow,
    SustainedCurve, View,
};
use super::{headline, verdict};

/// Derives everything a report shows. Equal records give equal views.
///
/// Records are shown side by side or merged by fingerprint, see [`Grouping`]. A run id given twice counts once.
pub fn build(records: &[RunRecord], grouping: Grouping) -> View {
    let (scopes, duplicates) = scope::scopes(records, grouping);
    let (groups, outdated) = cases::group(&scopes);
    let baselines = Baselines::new(&groups);
    let views: Vec<CaseView> =
        groups.par_iter().map(|g| cases::case_view(g, &baselines, &scopes[g.scope])).collect();
    let mut notes = notes(&scopes, &views);
    if duplicates > 0 {
        notes.push(format!("{} given twice: counted once.", text::count(duplicates, "record")));
    }
    if outdated > 0 {
        let runs = text::count(outdated, "process run");
        notes.push(format!("{runs} of older engine versions left out: not to be pooled."));
    }
    let runs: Vec<RunView> =
        scopes.iter().enumerate().map(|(i, s)| s.view(cases::outcomes(&views, i))).collect();
    let sustained: Vec<SustainedCurve> = groups
        .iter()
        .enumerate()
        .filter(|(_, g)| g.completed())
        .filter_map(|(i, g)| cases::sustained(i, g))
        .collect();
    let mut view = View {
        schema: REPORT_SCHEMA.into(),
        title: title(&scopes),
        verdict: Vec::new(),
        headline: headline::rows(&views, &runs, &sustained),
        runs,
        quantizations: quantizations(&views),
        findings: findings(&groups),
        side_by_side: side_by_side(&groups, scopes.len()),
        frameworks: frameworks(&views),
        requirements: FIELD.requirement.iter().map(|r| r.title.clone()).collect(),
        platforms: platforms(&scopes),
        sustained,
        cases: views,
        claims_source: FIELD.claims_source.clone(),
        notes,
    };
    view.verdict = verdict::sentences(&view);
    view
}

fn title(scopes: &[Scope]) -> String {
    match scopes {
        [] => "No records".into(),
        [one] => {
            let suite = text::plain(&one.records[0].header.suite);
            format!("{suite} on {}", one.name)
        }
        many => format!("{} side by side", text::count(many.len(), "run")),
    }
}

fn notes(scopes: &[Scope], views: &[CaseView]) -> Vec<String> {
    let mut notes = Vec::new();
    for scope in scopes {
        let of = |what: &str| format!("{}: {what}", scope.name);
        let any = |test: fn(&&&RunRecord) -> bool| scope.records.iter().any(|r| test(&r));
        if any(|r| r.header.quick) {
            notes.push(of("a quick run, with fewer samples than the default protocol asks for."));
        }
        if any(|r| r.end.as_ref().is_some_and(|e| e.interrupted)) {
            notes.push(of("stopped by the user before all cases had run."));
        } else if any(|r| cases::cut_off(r)) {
            notes.push(of("cut off: the record has no end, later cases are missing."));
        }
        let noise = |r: &RunRecord| {
            let end = r.end.as_ref()?;
            Some(end.noise_before?.max(end.noise_after?))
        };
        let noise = scope.records.iter().filter_map(|r| noise(r)).fold(0.0, f64::max);
        if noise > HIGH_NOISE {
            notes.push(of(&format!(
                "the host was not quiet: a fixed piece of work varied by {:.0} %. Small differences mean nothing.",
                noise * 100.0
            )));
        }
        if any(|r| r.header.build.profile == "debug") {
            notes.push(of("measured by a debug build: speeds of built-in engines do not count."));
        }
    }
    let biased: BTreeSet<&str> = views
        .iter()
        .filter_map(|c| c.variant.as_ref())
        .filter(|v| v.source_quantized)
        .map(|v| v.source_type.as_str())
        .collect();
    if !biased.is_empty() {
        let types = biased.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!(
            "The source model was itself quantized ({types}). F16 and F32 files hold that source's weights, \
             so quality is relative to it and not to the original model."
        ));
    }
    notes
}

fn findings(groups: &[Group]) -> Vec<FindingView> {
    let mut found: Vec<FindingView> = Vec::new();
    let mut places: BTreeMap<(String, bool, String), usize> = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        let all = group.records.iter().flat_map(|r| r.findings.iter().chain(&r.session.findings));
        for f in all {
            let kind = kind_words(f.kind);
            let (detail, hint) = (text::plain(&f.detail), text::plain(&f.hint));
            let place =
                *places.entry((kind.clone(), f.invalidates, detail.clone())).or_insert_with(|| {
                    let invalidates = f.invalidates;
                    found.push(FindingView { kind, invalidates, detail, hint, cases: Vec::new() });
                    found.len() - 1
                });
            if found[place].cases.last() != Some(&index) {
                found[place].cases.push(index);
            }
        }
    }
    // What invalidates comes first; otherwise in order of appearance.
    found.sort_by_key(|f| !f.invalidates);
    found
}

/// `beyond roofline`, from the name serde gives.
fn kind_words(kind: FindingKind) -> String {
    let name = serde_json::to_value(kind).ok();
    name.as_ref().and_then(|v| v.as_str()).unwrap_or("note").replace('_', " ")
}

/// One row a file: same model, precision and bytes.
fn quantizations(views: &[CaseView]) -> Vec<QuantRow> {
    let mut rows: Vec<QuantRow> = Vec::new();
    let mut places: BTreeMap<(&str, &str, u64, &str), usize> = BTreeMap::new();
    for c in views {
        let Some(v) = &c.variant else { continue };
        let Ok(precision) = c.precision.parse::<Precision>() else { continue };
        let key = (c.model.as_str(), c.precision.as_str(), v.size_bytes, v.made_by.as_str());
        let place = *places.entry(key).or_insert_with(|| {
            rows.push(QuantRow {
                model: c.model.clone(),
                precision: c.precision.clone(),
                precision_class: c.precision_class.clone(),
                frameworks: Vec::new(),
                variant: v.clone(),
                nominal_bits: precision.bits_per_weight(),
                smaller_percent: (1.0 - v.bits_per_weight / 16.0) * 100.0,
                claim_percent: FIELD.size_claim(precision),
                use_case: FIELD.use_of(precision).to_owned(),
            });
            rows.len() - 1
        });
        if !rows[place].frameworks.contains(&c.framework) {
            rows[place].frameworks.push(c.framework.clone());
        }
    }
    rows.sort_by(|a, b| {
        let key = |r: &QuantRow| (r.model.clone(), r.variant.bits_per_weight);
        let ((ma, ba), (mb, bb)) = (key(a), key(b));
        ma.cmp(&mb).then(bb.total_cmp(&ba)).then(a.precision.cmp(&b.precision))
    });
    rows
}

/// Case x metric across scopes; empty for one scope.
fn side_by_side(groups: &[Group], scopes: usize) -> Vec<SideRow> {
    const SHOWN: [Metric; 6] = [
        Metric::DecodeTokS,
        Metric::PrefillTokS,
        Metric::TtftNs,
        Metric::LatencyNs,
        Metric::PeakRssBytes,
        Metric::KlDivergence,
    ];
    if scopes < 2 {
        return Vec::new();
    }
    let mut by_case: Vec<(String, Vec<Option<&Group>>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for g in groups {
        let id = g.case.id();
        let place = *places.entry(id.clone()).or_insert_with(|| {
            by_case.push((id, vec![None; scopes]));
            by_case.len() - 1
        });
        by_case[place].1[g.scope] = Some(g);
    }
    let mut rows = Vec::new();
    for (id, columns) in &by_case {
        for metric in SHOWN {
            let values: Vec<_> = columns
                .iter()
                .map(|g| g.filter(|g| g.completed())?.metric(metric).map(|m| m.median.clone()))
                .collect();
            let Some(first) = values.iter().flatten().next().cloned() else { continue };
            let ratio = |v: &Option<super::Estimate>| {
                Some(estimate::improvement(metric, v.as_ref()?, &first)?.value)
            };
            rows.push(SideRow {
                case: text::plain(id),
                metric: metric.key().into(),
                unit: metric.unit().symbol().into(),
                ratios: values.iter().map(ratio).collect(),
                values,
            });
        }
    }
    rows
}

fn frameworks(views: &[CaseView]) -> Vec<FrameworkView> {
    let one = |id: &str| {
        let f = FIELD.framework(id);
        let mine: Vec<&CaseView> = views.iter().filter(|c| c.backend == id).collect();
        let versions: BTreeSet<&str> = mine.iter().map(|c| c.engine.version.as_str()).collect();
        let rating = |key: &str| f.ratings.get(key).cloned().unwrap_or_default();
        FrameworkView {
            id: text::plain(id),
            name: text::plain(&f.name),
            completed: mine.iter().filter(|c| c.outcome == "completed").count(),
            cases: mine.len(),
            claim: f.claim.as_ref().map_or(String::new(), super::frameworks::Claim::text),
            use_case: f.use_case.clone(),
            ratings: FIELD.requirement.iter().map(|r| rating(&r.key)).collect(),
            hints: f.hints.clone(),
            versions: versions.into_iter().filter(|v| !v.is_empty()).map(str::to_owned).collect(),
        }
    };
    FIELD.order(views.iter().map(|c| c.backend.as_str())).into_iter().map(one).collect()
}

fn platforms(scopes: &[Scope]) -> Vec<PlatformView> {
    let rows: Vec<Option<usize>> = scopes.iter().map(|s| FIELD.platform_of(s.device())).collect();
    let one = |(index, p): (usize, &super::frameworks::Platform)| PlatformView {
        title: p.title.clone(),
        primary: FIELD.framework(&p.primary).name,
        secondary: FIELD.framework(&p.secondary).name,
        correction: p.correction.clone(),
        here: scopes
            .iter()
            .zip(&rows)
            .filter(|(_, row)| **row == Some(index))
            .map(|(s, _)| s.name.clone())
            .collect(),
    };
    FIELD.platform.iter().enumerate().map(one).collect()
}

//! The three sentences a report opens with.

use crate::model::Metric;
use crate::report::text::{count, significant};

use super::headline::metric;
use super::types::{CaseView, Chip, HeadlineRow, Judged, View};

/// What is best here; how the field's claims fared; how far to trust it.
pub(crate) fn sentences(view: &View) -> Vec<String> {
    vec![best(view), claims(&view.headline), trust(view)]
}

fn best(view: &View) -> String {
    let fastest = |m: Metric| {
        view.headline
            .iter()
            .filter_map(|r| {
                let case = &view.cases[r.case?];
                (case.outcome == "completed").then_some(())?;
                Some((case, metric(case, m)?.median.value, r))
            })
            .max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let on = |c: &CaseView| view.runs.get(c.run).map_or(String::new(), |r| r.name.clone());
    if let Some((case, speed, row)) = fastest(Metric::DecodeTokS) {
        let gain = match &row.decode.measured {
            Some(r) => format!(", {}x its own {} baseline", significant(r.value), row.baseline),
            None => String::new(),
        };
        let prefill = match fastest(Metric::PrefillTokS) {
            Some((p, v, _)) if p.id == case.id && p.run == case.run => {
                format!("; it also reads prompts fastest, at {} tok/s", significant(v))
            }
            Some((p, v, _)) => format!(
                "; prompts are read fastest by {} {} at {} tok/s",
                p.framework,
                p.precision,
                significant(v)
            ),
            None => String::new(),
        };
        return format!(
            "On {}, {} {} generates fastest: {} tok/s with {}{gain}{prefill}.",
            on(case),
            case.framework,
            case.precision,
            significant(speed),
            case.model
        );
    }
    if let Some((case, speed, _)) = fastest(Metric::ThroughputPerS) {
        return format!(
            "On {}, {} {} runs {} fastest: {} inferences a second.",
            on(case),
            case.framework,
            case.precision,
            case.model,
            significant(speed)
        );
    }
    "No case completed: there is nothing to recommend from this record.".into()
}

fn claims(rows: &[HeadlineRow]) -> String {
    let tally = |what: &str, pick: fn(&HeadlineRow) -> &Judged| {
        let judged = |chip: Chip| rows.iter().filter(|r| pick(r).chip == chip).count();
        let (within, below, above) =
            (judged(Chip::Within), judged(Chip::Below), judged(Chip::Above));
        let total = within + below + above;
        (total > 0).then(|| {
            let parts = [(within, "within"), (below, "below"), (above, "above")];
            let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}"));
            format!("{what} {} of {total}", parts.collect::<Vec<_>>().join(", "))
        })
    };
    let parts: Vec<String> = [
        tally("speed of generation", |r| &r.decode),
        tally("speed of prompt reading", |r| &r.prefill),
        tally("memory saved", |r| &r.memory_less),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        return "None of the field's claims could be checked: no claimed precision and its 16-bit baseline \
                both completed."
            .into();
    }
    format!("Against the field's claimed ranges: {}.", parts.join("; "))
}

fn trust(view: &View) -> String {
    let outcome = |w: &str| view.cases.iter().filter(|c| c.outcome == w).count();
    let (completed, invalid) = (outcome("completed"), outcome("invalid"));
    let missing = view.cases.len() - completed - invalid;
    let mut parts = vec![format!("{completed} of {} completed", count(view.cases.len(), "case"))];
    if invalid > 0 {
        parts.push(format!("{invalid} invalid"));
    }
    if missing > 0 {
        parts.push(format!("{missing} not measured"));
    }
    let quality = [Metric::KlDivergence, Metric::Top1Agreement, Metric::CosineToReference];
    let has_quality = view.cases.iter().any(|c| quality.iter().any(|q| metric(c, *q).is_some()));
    if !has_quality {
        parts.push("quality was not measured".into());
    } else if let Some(v) =
        view.cases.iter().filter_map(|c| c.variant.as_ref()).find(|v| v.source_quantized)
    {
        parts.push(format!("quality is relative to a {} source", v.source_type));
    }
    if view.cases.iter().all(|c| c.runs_completed <= 1) {
        parts.push(
            "each case is one process run, so intervals leave out the noise between runs".into(),
        );
    }
    format!("{}.", parts.join("; "))
}

//! Without a model: which of the known ones suits this device, judged one by one with the same engine.

use rayon::prelude::*;
use serde::Serialize;

use super::candidate::Candidate;
use super::command::{commands, threads};
use super::decide::{Input, judge};
use super::{Choice, ModelSource, Recommendation, Request, advise};
use crate::model::ModelSpec;

/// What people wait for without leaving.
#[derive(Debug, Clone, Copy)]
pub struct Comfort {
    /// Below this they wait for the text.
    pub decode_tok_s: f64,
    /// Until the first token of the prompt asked about.
    pub ttft_s: f64,
}

/// A model of the catalogue with its best way to run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatalogueChoice {
    pub model: String,
    pub parameters: u64,
    pub active_parameters: u64,
    pub choice: Choice,
    /// Size that stands for capability: the geometric mean of all and active parameters.
    pub capability: f64,
    /// How many times slower than is comfortable, by the worse of its speeds; 1 where it is not or where nothing is known.
    pub slowness: f64,
}

/// Ranks models: the most capable that is comfortable first, the rest by how little they miss that.
///
/// Returns every model that fits and the full answer for the first.
pub fn advise_catalogue(
    base: &Input<'_>,
    models: &[(ModelSpec, ModelSource)],
    comfort: Comfort,
) -> (Vec<CatalogueChoice>, Option<Recommendation>) {
    let best = |named| Some((choose(base, named, comfort)?, named));
    let mut fits: Vec<_> = models.par_iter().filter_map(best).collect();
    fits.sort_by(|(a, _), (b, _)| {
        let capability = b.capability.total_cmp(&a.capability);
        a.slowness.total_cmp(&b.slowness).then(capability)
    });
    let first = fits.first().and_then(|(_, (model, source))| {
        let request = request_for(base, model);
        advise(&Input { model, source, request: &request, ..*base }).ok()
    });
    (fits.into_iter().map(|(c, _)| c).collect(), first)
}

/// The best way to run one model; `None` where none is feasible.
fn choose(
    base: &Input<'_>,
    (model, source): &(ModelSpec, ModelSource),
    comfort: Comfort,
) -> Option<CatalogueChoice> {
    let request = request_for(base, model);
    let input = Input { model, source, request: &request, ..*base };
    if base.request.workload.is_some_and(|k| k != model.kind) || request.check(model).is_err() {
        return None;
    }
    let best = judge(&input).candidates.into_iter().next().filter(Candidate::feasible)?;
    Some(CatalogueChoice {
        model: model.name.clone(),
        parameters: model.parameters,
        active_parameters: model.active_parameters,
        capability: (model.parameters as f64 * model.active_parameters as f64).sqrt(),
        slowness: slowness(&best, comfort),
        choice: Choice {
            threads: threads(&input),
            commands: commands(&input, &best),
            candidate: best,
        },
    })
}

fn slowness(c: &Candidate, comfort: Comfort) -> f64 {
    let decode = c.decode_tok_s.as_ref().map_or(0.0, |d| comfort.decode_tok_s / d.value);
    let ttft = c.ttft_s.as_ref().map_or(0.0, |t| t.value / comfort.ttft_s);
    decode.max(ttft).max(1.0)
}

/// The request with no more context than the model has.
fn request_for(base: &Input<'_>, model: &ModelSpec) -> Request {
    let most = if model.context_length == 0 { u64::MAX } else { model.context_length };
    Request { context: base.request.context.min(most), workload: None, ..base.request.clone() }
}

//! Without a model: which of the known ones suits this device, judged one by one with the same engine.

use rayon::prelude::*;
use serde::Serialize;

use super::candidate::Candidate;
use super::command::{commands, threads};
use super::decide::{Input, judge};
use super::{Choice, ModelSource, Recommendation, Request, advise};
use crate::model::ModelSpec;

/// A model of the catalogue with its best way to run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatalogueChoice {
    pub model: String,
    pub parameters: u64,
    pub active_parameters: u64,
    pub choice: Choice,
    /// Size that stands for capability: the geometric mean of all and active parameters.
    pub capability: f64,
}

/// Ranks models: the most capable that is comfortable first, then the rest by capability.
///
/// "Comfortable" is a speed people can read along with. Returns every model that fits and the full answer for the first.
pub fn advise_catalogue(
    base: &Input<'_>,
    models: &[ModelSpec],
    comfortable_tok_s: f64,
) -> (Vec<CatalogueChoice>, Option<Recommendation>) {
    let best = |model| Some((choose(base, model)?, model));
    let mut fits: Vec<(CatalogueChoice, &ModelSpec)> = models.par_iter().filter_map(best).collect();
    let comfortable = |c: &CatalogueChoice| {
        let decode = c.choice.candidate.decode_tok_s.as_ref();
        decode.is_none_or(|d| d.value >= comfortable_tok_s)
    };
    fits.sort_by(|(a, _), (b, _)| {
        let capability = b.capability.total_cmp(&a.capability);
        comfortable(b).cmp(&comfortable(a)).then(capability)
    });
    let first = fits.first().and_then(|(_, model)| {
        let request = request_for(base, model);
        advise(&Input { model, request: &request, ..*base }).ok()
    });
    (fits.into_iter().map(|(c, _)| c).collect(), first)
}

/// The best way to run one model; `None` where none is feasible.
fn choose(base: &Input<'_>, model: &ModelSpec) -> Option<CatalogueChoice> {
    let request = request_for(base, model);
    let input = Input { model, request: &request, ..*base };
    if base.request.workload.is_some_and(|k| k != model.kind) || request.check(model).is_err() {
        return None;
    }
    let best = judge(&input).candidates.into_iter().next().filter(Candidate::feasible)?;
    Some(CatalogueChoice {
        model: model.name.clone(),
        parameters: model.parameters,
        active_parameters: model.active_parameters,
        capability: (model.parameters as f64 * model.active_parameters as f64).sqrt(),
        choice: Choice {
            threads: threads(&input),
            commands: commands(&input, &best, &ModelSource::None),
            candidate: best,
        },
    })
}

/// The request with no more context than the model has.
fn request_for(base: &Input<'_>, model: &ModelSpec) -> Request {
    let most = if model.context_length == 0 { u64::MAX } else { model.context_length };
    Request { context: base.request.context.min(most), workload: None, ..base.request.clone() }
}

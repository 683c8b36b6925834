//! Without a model: which of the known ones suits this device, judged one by one with the same engine.

use serde::Serialize;

use super::decide::{Input, judge};
use super::{Choice, Recommendation, advise};
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
pub fn advise_catalogue<'a>(
    base: &Input<'_>,
    models: impl IntoIterator<Item = &'a ModelSpec>,
    comfortable_tok_s: f64,
) -> (Vec<CatalogueChoice>, Option<Recommendation>) {
    let mut fits: Vec<(CatalogueChoice, &ModelSpec, bool)> = Vec::new();
    for model in models {
        if base.request.workload.is_some_and(|k| k != model.kind) {
            continue;
        }
        let context = match model.context_length {
            0 => base.request.context,
            n => base.request.context.min(n),
        };
        let request = super::Request { context, workload: None, ..base.request.clone() };
        let input = Input { model, request: &request, ..*base };
        if input.request.check(model).is_err() {
            continue;
        }
        let judged = judge(&input);
        let Some(best) = judged.candidates.first().filter(|c| c.feasible()) else { continue };
        let speed = best.decode_tok_s.as_ref().map(|d| d.value);
        let comfortable = speed.is_none_or(|s| s >= comfortable_tok_s);
        let commands = super::command::commands(&input, best, &super::ModelSource::None);
        fits.push((
            CatalogueChoice {
                model: model.name.clone(),
                parameters: model.parameters,
                active_parameters: model.active_parameters,
                capability: (model.parameters as f64 * model.active_parameters as f64).sqrt(),
                choice: Choice {
                    candidate: best.clone(),
                    threads: super::command::threads(&input),
                    commands,
                },
            },
            model,
            comfortable,
        ));
    }
    fits.sort_by(|a, b| b.2.cmp(&a.2).then(b.0.capability.total_cmp(&a.0.capability)));
    let first = fits.first().and_then(|(_, model, _)| {
        let context = base.request.context.min(match model.context_length {
            0 => u64::MAX,
            n => n,
        });
        let request = super::Request { context, workload: None, ..base.request.clone() };
        advise(&Input { model, request: &request, ..*base }).ok()
    });
    (fits.into_iter().map(|(c, ..)| c).collect(), first)
}

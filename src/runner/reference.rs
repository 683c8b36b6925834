//! What variants are compared with: the outputs of any backend that runs the model at a reference precision.

use std::path::Path;

use super::prepare::{self, Key};
use crate::backend::{self, BackendInfo};
use crate::model::{Precision, Variant};
use crate::worker::{Ended, Request, Supervisor};

/// The model that a reference is of.
pub(super) struct Of<'a> {
    pub model: &'a str,
    pub source: &'a Path,
    pub precision: Precision,
    /// Calibration inputs of a graph.
    pub inputs: Option<&'a Path>,
    pub variants: &'a Path,
}

/// What a caller wants of a backend's variant.
pub(super) enum Wanted<T> {
    /// It was made before.
    Here(T),
    /// `T` once the worker has done this.
    Ask(Request, T),
}

/// Tries each ready backend that `fits` in turn. `None` where the user stopped; the error is why each failed.
pub(super) fn from_any<T>(
    of: &Of<'_>,
    supervisor: &Supervisor,
    fits: impl Fn(&BackendInfo) -> bool,
    wanted: impl Fn(&str, Variant) -> Wanted<T>,
) -> Option<Result<T, Vec<String>>> {
    let mut reasons = Vec::new();
    for backend in backend::all() {
        let info = backend.info();
        let suits = info.listed && info.precisions.contains(&of.precision) && fits(info);
        if !suits || !backend.availability().is_ready() {
            continue;
        }
        let (id, model) = (info.id.to_owned(), of.model.to_owned());
        let key = Key { backend: id.clone(), model, precision: of.precision };
        let quiet = &mut |_: f64, _: &str| {};
        let (source, inputs) = (of.source, of.inputs);
        let made =
            prepare::prepare_one(&key, source, of.variants, None, inputs, supervisor, quiet)?;
        let outcome = match made {
            Ok(variant) => match wanted(&id, variant) {
                Wanted::Here(t) => return Some(Ok(t)),
                Wanted::Ask(request, t) => match supervisor.run(&request, &mut |_| {}).ended {
                    Ended::Done => return Some(Ok(t)),
                    Ended::Stopped => return None,
                    Ended::Outcome(outcome) => outcome,
                },
            },
            Err((outcome, _)) => outcome,
        };
        reasons.push(format!("{id}: {}", outcome.reason()));
    }
    Some(Err(reasons))
}

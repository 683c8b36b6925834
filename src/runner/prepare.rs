//! Variants are made before anything is measured, each once, in a worker of its own.

use std::collections::BTreeMap;
use std::path::Path;

use super::graph::{self, Graphs};
use super::plan::PlannedCase;
use crate::model::{CaseOutcome, Precision, Variant};
use crate::worker::{Ended, Event, PrepareTask, Request, Supervisor};

/// What a variant is made of: equal keys share one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub backend: String,
    pub model: String,
    pub precision: Precision,
}

impl Key {
    pub(crate) fn of(planned: &PlannedCase) -> Self {
        Self {
            backend: planned.case.backend.clone(),
            model: planned.case.model.clone(),
            precision: planned.case.precision,
        }
    }
}

/// The variant, or how making it ended.
pub(crate) type Prepared = Result<Variant, (CaseOutcome, String)>;

/// Makes every variant that `cases` need. `None` where the user stopped.
pub(crate) fn prepare_all(
    cases: &[PlannedCase],
    cache: &Path,
    corpus: Option<&Path>,
    graphs: &Graphs,
    supervisor: &Supervisor,
    on_progress: &mut dyn FnMut(&Key, f64, &str),
) -> Option<BTreeMap<Key, Prepared>> {
    let mut made = BTreeMap::new();
    for planned in cases.iter().filter(|c| c.skip.is_none()) {
        let key = Key::of(planned);
        if made.contains_key(&key) {
            continue;
        }
        let inputs = match graphs.get(&graph::key(planned)) {
            // Its cases end with that reason; another workload of the model may have inputs.
            Some(Err(_)) => continue,
            other => other.and_then(|g| g.as_ref().ok()),
        };
        let source = inputs.map_or(&planned.source, |g| &g.source);
        let inputs = inputs.map(|g| g.calibration.as_path());
        on_progress(&key, 0.0, "starting");
        let prepared =
            prepare_one(&key, source, cache, corpus, inputs, supervisor, &mut |fraction, step| {
                on_progress(&key, fraction, step);
            })?;
        made.insert(key, prepared);
    }
    Some(made)
}

/// Makes one variant, or finds it in the cache. `None` where the user stopped.
pub(crate) fn prepare_one(
    key: &Key,
    source: &Path,
    cache: &Path,
    corpus: Option<&Path>,
    inputs: Option<&Path>,
    supervisor: &Supervisor,
    on_progress: &mut dyn FnMut(f64, &str),
) -> Option<Prepared> {
    let request = Request::Prepare(PrepareTask {
        backend: key.backend.clone(),
        model: key.model.clone(),
        source: source.to_owned(),
        precision: key.precision,
        cache: cache.to_owned(),
        corpus: corpus.map(Path::to_owned),
        inputs: inputs.map(Path::to_owned),
    });
    let mut variant = None;
    let result = supervisor.run(&request, &mut |event| match event {
        Event::Variant { variant: v } => variant = Some(*v),
        Event::Progress { fraction, step } => on_progress(fraction, &step),
        _ => {}
    });
    Some(match (result.ended, variant) {
        (Ended::Stopped, _) => return None,
        (Ended::Outcome(outcome), _) => Err((outcome, result.stderr_tail)),
        (Ended::Done, Some(variant)) => Ok(variant),
        (Ended::Done, None) => {
            let detail = "the worker made no variant and no error".to_owned();
            Err((CaseOutcome::ProtocolError { detail }, result.stderr_tail))
        }
    })
}

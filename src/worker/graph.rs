//! Runs a graph over its whole input set: writes the reference, or scores against it.

use super::protocol::{Event, GraphTask};
use super::serve::Events;
use crate::backend::{BackendError, GraphSession};
use crate::inputs::{self, InputSet};
use crate::model::{Phase, Tensor, TensorData};
use crate::quality::{Pair, agreement};

/// The sample that is timed.
pub(crate) fn first(task: &GraphTask) -> Result<Vec<Tensor>, BackendError> {
    let failed = |e| BackendError::failed("inputs", e);
    InputSet::open(&task.inputs).map_err(failed)?.get(0).map_err(failed)
}

/// Keeps this session's outputs as the reference.
pub(crate) fn write_reference(
    session: &mut dyn GraphSession,
    task: &GraphTask,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Some(path) = &task.reference else { return Ok(()) };
    let outputs = outputs(session, task, events)?;
    let samples: Vec<Vec<Tensor>> = outputs.into_iter().map(|(_, output)| vec![output]).collect();
    inputs::write(path, &samples).map_err(|e| BackendError::failed("reference", e))
}

/// Scores this session's outputs against the reference: one sample an inference and metric.
pub(crate) fn score(
    session: &mut dyn GraphSession,
    task: &GraphTask,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Some(path) = &task.reference else { return Ok(()) };
    let failed = |e| BackendError::failed("reference", e);
    let mut set = InputSet::open(path).map_err(failed)?;
    let outputs = outputs(session, task, events)?;
    let references = (0..outputs.len()).map(|i| set.get(i)).collect::<Result<Vec<_>, _>>();
    let references = references.map_err(failed)?;
    let pairs: Vec<Pair<'_>> = outputs
        .iter()
        .zip(&references)
        .filter_map(|((inputs, output), reference)| {
            let mask = inputs.iter().find(|t| t.name.contains("mask"));
            Some(Pair { reference: reference.first()?, output, mask })
        })
        .collect();
    let scores = agreement(task.kind, task.documents, &pairs).map_err(BackendError::Failed)?;
    for (metric, value) in scores {
        let value = value.is_finite().then_some(value);
        events.send(&Event::Sample { metric, value, warmup: false });
    }
    Ok(())
}

/// Inputs and output of every sample of the set.
fn outputs(
    session: &mut dyn GraphSession,
    task: &GraphTask,
    events: &mut Events,
) -> Result<Vec<(Vec<Tensor>, Tensor)>, BackendError> {
    let mut set = InputSet::open(&task.inputs).map_err(|e| BackendError::failed("inputs", e))?;
    let mut out = Vec::with_capacity(set.count());
    for i in 0..set.count() {
        events.send(&Event::Phase { phase: Phase::Quality });
        let inputs = set.get(i).map_err(|e| BackendError::failed("inputs", e))?;
        session.set_inputs(&inputs)?;
        session.run()?;
        let values = session.output()?;
        let shape = session.output_shape().unwrap_or_else(|| vec![values.len()]);
        out.push((inputs, Tensor { name: "output".into(), shape, data: TensorData::F32(values) }));
    }
    Ok(out)
}

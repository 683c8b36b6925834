//! Runs the corpus through an opened session: writes the reference, or scores against it.

use super::protocol::{Event, QualityTask};
use super::serve::Events;
use crate::backend::{BackendError, TextSession};
use crate::model::{Metric, Phase};
use crate::quality::{self, ChunkScore, Reference, ReferenceWriter};

/// Makes the reference from this session's logits.
pub(crate) fn write_reference(
    session: &mut dyn TextSession,
    task: &QualityTask,
    events: &mut Events,
) -> Result<(), BackendError> {
    let failed = |e| BackendError::failed("quality reference", e);
    let mut writer = ReferenceWriter::create(&task.reference).map_err(failed)?;
    for_each_position(session, task, events, |_, logits, next| {
        writer.push(&quality::describe(logits, next)).map_err(failed)
    })?;
    writer.finish().map_err(failed)
}

/// Scores this session against the reference: one sample a chunk and metric.
pub(crate) fn score(
    session: &mut dyn TextSession,
    task: &QualityTask,
    events: &mut Events,
) -> Result<(), BackendError> {
    let failed = |e| BackendError::failed("quality reference", e);
    let mut reference = Reference::open(&task.reference).map_err(failed)?;
    let mut scores = vec![ChunkScore::default(); task.chunks.len()];
    for_each_position(session, task, events, |chunk, logits, next| {
        let position = reference.next_position().map_err(failed)?;
        quality::compare(&mut scores[chunk], &position, logits, next);
        Ok(())
    })?;
    for score in &scores {
        for (metric, value) in [
            (Metric::KlDivergence, score.kl_divergence()),
            (Metric::Top1Agreement, score.top1_agreement()),
            (Metric::TokenProbDelta, score.probability_delta()),
            (Metric::Perplexity, score.perplexity()),
            (Metric::PerplexityRatio, score.perplexity_ratio()),
        ] {
            let value = value.is_finite().then_some(value);
            events.send(&Event::Sample { metric, value, warmup: false });
        }
    }
    Ok(())
}

/// Feeds every chunk from an empty context and hands over the positions of its second half: chunk, logits, next token.
fn for_each_position(
    session: &mut dyn TextSession,
    task: &QualityTask,
    events: &mut Events,
    mut use_position: impl FnMut(usize, &[f32], u32) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    for (index, chunk) in task.chunks.iter().enumerate() {
        events.send(&Event::Phase { phase: Phase::Quality });
        session.reset()?;
        let mut result = Ok(());
        session.logits(chunk, &mut |i, logits| {
            // The last position has no next token.
            if i >= chunk.len() / 2 && i + 1 < chunk.len() && result.is_ok() {
                result = use_position(index, logits, chunk[i + 1]);
            }
        })?;
        result?;
    }
    Ok(())
}

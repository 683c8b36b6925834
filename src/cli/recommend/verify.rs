//! `recommend --verify`: runs the best candidates here for a short time, so that the answer rests on measurements.

use std::path::PathBuf;

use super::RecommendArgs;
use crate::advise::Recommendation;
use crate::backend;
use crate::catalog;
use crate::cli::{CliError, Output, bench, synthetic};
use crate::model::{Precision, ProcessorKind};

/// Benches the first `count` candidates of `answer` that are ready on this CPU; their records join the evidence.
pub(super) fn verify(
    args: &RecommendArgs,
    answer: &Recommendation,
    count: u32,
    output: &Output,
) -> Result<(), CliError> {
    let choices = answer.pick.iter().chain(&answer.ready_now);
    let all = choices.chain(answer.runners_up.iter().map(|r| &r.choice)).map(|c| &c.candidate);
    let ready = |id: &str| backend::find(id).is_some_and(|b| b.availability().is_ready());
    let mut cells: Vec<(&str, Precision)> = Vec::new();
    for c in all {
        let cell = (c.framework.as_str(), c.precision);
        let here = c.processor_kind == ProcessorKind::Cpu && ready(&c.framework) && !c.measured;
        if here && !cells.contains(&cell) && cells.len() < count as usize {
            cells.push(cell);
        }
    }
    if cells.is_empty() {
        output.note(
            "nothing to verify: the candidates are measured already, or not ready on this CPU",
        );
        return Ok(());
    }
    let source = source(args, answer, output)?;
    for (backend, precision) in cells {
        output.note(format!("measuring {backend} {precision} ..."));
        let (out, prompt) = (args.evidence.to_string_lossy(), args.prompt.to_string());
        let (model, precision) = (source.path.to_string_lossy(), precision.name());
        let mut words = vec!["--quick", "--allow-invalid", "--device", "cpu", "--backend", backend];
        words.extend(["--precision", precision, "--model", &model]);
        words.extend(["--out", &out, "--prompt", &prompt]);
        if source.synthetic {
            words.extend(["--no-quality", "--label", "weights=synthetic"]);
        }
        // A cell that fails is a row of its record; the others are still worth measuring.
        if let Err(e) = bench::run_inside(&words, output) {
            output.note(format!("{backend} {precision}: {}", e.cause));
        }
    }
    Ok(())
}

struct Source {
    path: PathBuf,
    synthetic: bool,
}

/// The model's file, or one of its shape with random weights where it is not here.
fn source(
    args: &RecommendArgs,
    answer: &Recommendation,
    output: &Output,
) -> Result<Source, CliError> {
    let name = args.model.as_deref().unwrap_or(&answer.model);
    if let Ok(here) = catalog::resolve_model(name) {
        return Ok(Source { path: here.path, synthetic: false });
    }
    let path = synthetic::of_name(name, &[], output)?;
    Ok(Source { path, synthetic: true })
}

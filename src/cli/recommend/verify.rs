//! `recommend --verify`: runs the best candidates here for a short time, so that the answer rests on measurements.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::RecommendArgs;
use crate::advise::Recommendation;
use crate::backend;
use crate::catalog;
use crate::cli::{CliError, Output, bench, synthetic};
use crate::model::{Precision, ProcessorKind};

/// Picks tried beyond those asked for, where one after the other fails here.
const FURTHER: usize = 3;

/// What was run already, well or not.
pub(super) type Tried = BTreeSet<(String, Precision)>;

/// Benches the first `count` candidates of `answer` that are ready on this CPU, or its pick alone where something was
/// tried before; their records join the evidence. False where nothing is left to measure.
pub(super) fn verify(
    args: &RecommendArgs,
    answer: &Recommendation,
    count: u32,
    tried: &mut Tried,
    output: &Output,
) -> Result<bool, CliError> {
    let first = tried.is_empty();
    if tried.len() >= count as usize + FURTHER {
        return Ok(false);
    }
    let others = answer.ready_now.iter().chain(answer.runners_up.iter().map(|r| &r.choice));
    let all = answer.pick.iter().chain(others.filter(|_| first)).map(|c| &c.candidate);
    let ready = |id: &str| backend::find(id).is_some_and(|b| b.availability().is_ready());
    let mut cells: Vec<(String, Precision)> = Vec::new();
    for c in all {
        let cell = (c.framework.clone(), c.precision);
        let here = c.processor_kind == ProcessorKind::Cpu && ready(&c.framework) && !c.measured;
        let new = here && !cells.contains(&cell) && !tried.contains(&cell);
        if new && cells.len() < count as usize {
            cells.push(cell);
        }
    }
    if cells.is_empty() {
        if first {
            output.note(
                "nothing to verify: the candidates are measured already, or not ready on this CPU",
            );
        }
        return Ok(false);
    }
    let source = source(args, answer, output)?;
    for (backend, precision) in cells {
        output.note(format!("measuring {backend} {precision} ..."));
        let (out, prompt) = (args.evidence.to_string_lossy(), args.prompt.to_string());
        let (model, name) = (source.path.to_string_lossy(), precision.name());
        let mut words =
            vec!["--quick", "--allow-invalid", "--device", "cpu", "--backend", &backend];
        words.extend(["--precision", name, "--model", &model]);
        words.extend(["--out", &out, "--prompt", &prompt]);
        if source.synthetic {
            words.extend(["--no-quality", "--label", "weights=synthetic"]);
        }
        // A cell that fails is a row of its record; the others are still worth measuring.
        if let Err(e) = bench::run_inside(&words, output) {
            output.note(format!("{backend} {precision}: {}", e.cause));
        }
        tried.insert((backend, precision));
    }
    Ok(true)
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

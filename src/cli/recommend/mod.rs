//! `recommend`: what to run on this device, or on a profile or recorded host, and why.

mod args;
mod human;
mod markdown;
mod setup;
mod verify;

pub use args::RecommendArgs;
pub(super) use setup::{Setup, setup};

use std::path::PathBuf;

use rayon::prelude::*;

use super::{CliError, CliResult, Format, Output, exit};
use crate::advise::{self, Comfort, Recommendation};
use crate::model::ModelKind;

/// Of the catalogue's pick: text as fast as it is read, and a first token before attention is lost (Nielsen, "Usability
/// Engineering", 1993: ten seconds).
const COMFORTABLE: Comfort = Comfort { decode_tok_s: 10.0, ttft_s: 10.0 };

pub fn run(args: &RecommendArgs, output: &Output) -> CliResult {
    let mut tried = verify::Tried::new();
    loop {
        let setup = setup(args, output)?;
        let Some(model) = &setup.model else {
            return match args.verify {
                Some(_) => Err(CliError::usage("--verify needs a MODEL to measure")),
                None => catalogue(args, output, &setup),
            };
        };
        let input = setup.input(&model.spec, &model.source);
        let answer = advise::advise(&input).map_err(request_error)?;
        // Measurements may change the pick, which is then measured too: each round tries another one.
        if let Some(count) = args.verify
            && verify::verify(args, &answer, count, &mut tried, output)?
        {
            continue;
        }
        return print(args, output, &setup, &answer);
    }
}

fn request_error(e: advise::RequestError) -> CliError {
    CliError::usage(e.what).hint(e.hint)
}

fn print(args: &RecommendArgs, output: &Output, setup: &Setup, r: &Recommendation) -> CliResult {
    match output.format {
        Format::Json => output.json(r)?,
        Format::Markdown => output.data(&markdown::render(r, args.explain))?,
        Format::Csv => return Err(CliError::usage("recommend prints human, json or markdown")),
        Format::Human if r.pick.is_some() => output.data(&human::render(r, setup, args.explain))?,
        Format::Human => {}
    }
    if r.pick.is_some() {
        return Ok(exit::OK);
    }
    if args.explain && output.format == Format::Human {
        output.data(&human::trace(r))?;
    }
    let (cause, hint) = human::nothing(r);
    Err(CliError::new(exit::NOTHING, cause).hint(hint))
}

/// No model given: the best of the catalogue for this device.
fn catalogue(args: &RecommendArgs, output: &Output, setup: &Setup) -> CliResult {
    let kind = args.workload.map_or(ModelKind::Llm, Into::into);
    let entries = setup.catalog.entries().par_iter();
    let named = |e| (setup::named(e), setup::hub_source(e));
    let models: Vec<_> = entries.filter(|e| e.kind == kind).map(named).collect();
    let Some((any, source)) = models.first() else {
        return Err(CliError::new(exit::NOTHING, "the catalogue has no model of that kind"));
    };
    let comfort = Comfort {
        decode_tok_s: args.min_decode_tok_s.unwrap_or(COMFORTABLE.decode_tok_s),
        ttft_s: args.max_ttft.unwrap_or(COMFORTABLE.ttft_s),
    };
    let (fits, answer) = advise::advise_catalogue(&setup.input(any, source), &models, comfort);
    let Some(answer) = answer else {
        return Err(CliError::new(
            exit::NOTHING,
            format!("no model of the catalogue fits {}", setup.device.name),
        )
        .hint(
            "relax the limits, or name a smaller model; `--explain` with a MODEL shows the numbers",
        ));
    };
    match output.format {
        Format::Json => output.json(&serde_json::json!({ "best": answer, "models": fits }))?,
        Format::Markdown => {
            output.data(&markdown::catalogue(&fits))?;
            output.data(&markdown::render(&answer, args.explain))?;
        }
        Format::Csv => return Err(CliError::usage("recommend prints human, json or markdown")),
        Format::Human => {
            output.data(&human::catalogue(&answer, &fits, setup, comfort, args.explain))?
        }
    }
    Ok(exit::OK)
}

/// Records under a directory of runs, those that can be read.
pub(super) fn records_in(dir: &PathBuf) -> Vec<crate::record::RunRecord> {
    const MAX_RUNS: usize = 200;
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join("record.ndjson").is_file())
        .collect();
    dirs.sort();
    dirs.iter()
        .rev()
        .take(MAX_RUNS)
        .filter_map(|d| crate::record::RunRecord::load(d).ok())
        .collect()
}

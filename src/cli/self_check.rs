//! `self-check`: does this program work on this machine? Everything it needs, tried once.

use std::path::Path;

use serde::Serialize;

use super::{CliError, CliResult, Format, Output, bench, devices, exit};
use crate::advise::{Frameworks, Rules};
use crate::backend;
use crate::catalog::Catalog;
use crate::compare::Policy;
use crate::dirs;
use crate::probe::{self, LiveHost, ProbeOptions};
use crate::profile::Library;
use crate::record::RunRecord;
use crate::record::history::History;
use crate::suite::{BUILTIN, Suite};

/// Try everything edge-advisor needs on this machine, once: directories, data, probe, workers, the embedded engine.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  edge-advisor self-check\n  edge-advisor self-check --format json"
)]
pub struct Args {}

/// What works, in a few words, or why not.
type Outcome = Result<String, String>;

/// Name and attempt.
type Check = (&'static str, fn() -> Outcome);

const CHECKS: &[Check] = &[
    ("data directory", || writable(&dirs::data())),
    ("cache directory", || writable(&dirs::cache())),
    ("shipped data", shipped),
    ("probe", probed),
    ("worker", worker),
    ("embedded engine", engine),
    ("history", history),
    ("frameworks", frameworks),
];

#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    ok: bool,
    detail: String,
}

pub fn run(_: &Args, output: &Output) -> CliResult {
    let mut rows = Vec::new();
    for (check, of) in CHECKS {
        let (ok, detail) = match of() {
            Ok(detail) => (true, detail),
            Err(why) => (false, why),
        };
        if output.format != Format::Json {
            let word = if ok { "ok" } else { "FAILED" };
            output.data(&format!("{check:<16} {word:<7} {}", crate::report::plain(&detail)))?;
        }
        rows.push(Row { check, ok, detail });
    }
    if output.format == Format::Json {
        output.json(&rows)?;
    }
    match rows.iter().filter(|r| !r.ok).count() {
        0 => Ok(exit::OK),
        n => Err(CliError::setup(format!("{n} of {} checks failed", rows.len())).hint(
            "each line above says what is wrong; docs/troubleshooting.md has the usual causes",
        )),
    }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn writable(dir: &Path) -> Outcome {
    let put = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        tempfile::NamedTempFile::new_in(dir).map(drop)
    };
    put().map_err(|e| format!("`{}`: {e}", dir.display()))?;
    Ok(dir.display().to_string())
}

fn shipped() -> Outcome {
    let devices = Library::new(None).all().map_err(text)?.len();
    let models = Catalog::load().map_err(text)?.entries().len();
    for (name, suite) in BUILTIN {
        Suite::parse(name, suite).map_err(|e| format!("suite {name}: {e}"))?;
    }
    // These three end the program where they are broken, so reaching the next line is the check.
    let (_, _, _) = (Rules::embedded(), Frameworks::embedded(), Policy::default());
    Ok(format!("{devices} devices, {models} models, {} suites", BUILTIN.len()))
}

fn probed() -> Outcome {
    let device = probe::run(&LiveHost::new(), ProbeOptions::default()).device();
    match device.cpu.threads {
        0 => Err("no CPU was found".to_owned()),
        n => Ok(format!("{}, {n} threads, fingerprint {}", device.name, device.id)),
    }
}

fn worker() -> Outcome {
    let answer = devices::of("null");
    match answer.problem.is_empty() && answer.devices.len() == 1 {
        true => Ok("starts and answers".to_owned()),
        false => Err(format!("it does not answer: {}", answer.problem)),
    }
}

/// A model of random weights, made, run in a worker, and judged like any case.
fn engine() -> Outcome {
    let dir = tempfile::tempdir().map_err(text)?;
    let quiet = Output { quiet: true, nested: true, ..Output::default() };
    let words = "--synthetic smollm2-135m --backend candle --precision Q8_0 --quick --prompt 16 --decode 8 \
                 --allow-invalid --no-history";
    let words: Vec<&str> = words.split_whitespace().collect();
    let runs = bench::run_into(dir.path(), &words, &quiet).map_err(|e| e.cause)?;
    let run = runs.first().ok_or("it made no record")?;
    let record = RunRecord::load(run).map_err(text)?;
    let case = record.cases.first().ok_or("it ran no case")?;
    match case.samples(crate::model::Metric::DecodeTokS) {
        [] => Err(format!("{}: {}", case.outcome.word(), case.outcome.reason())),
        _ => Ok(format!("runs, kernels {}", case.session.kernel)),
    }
}

fn history() -> Outcome {
    let open = History::open_default().map_err(text)?;
    Ok(format!("opens, {} cases", open.case_ids().map_err(text)?.len()))
}

/// Those installed must answer; those that are not are no failure.
fn frameworks() -> Outcome {
    let answers = devices::of_installed();
    let broken: Vec<String> = answers
        .iter()
        .filter(|(_, a)| !a.problem.is_empty())
        .map(|(id, a)| format!("{id}: {}", a.problem))
        .collect();
    if !broken.is_empty() {
        return Err(broken.join("; "));
    }
    let missing = backend::all().iter().filter(|b| b.info().listed);
    let missing = missing.filter(|b| !b.availability().is_ready()).count();
    let here: Vec<&str> = answers.keys().copied().collect();
    Ok(format!("candle {} answer, {missing} not installed", here.join(" ")))
}

//! `history`: every run of this machine, and how its numbers went over time.

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, CliResult, Format, Output, ci_files, exit, sides};
use crate::model::Metric;
use crate::record::history::{Filter, History, HistoryError, RunRow, Trend};
use crate::report::{plain, shorten, trend};

const EXAMPLES: &str = "Examples:
  edge-advisor history list --limit 20
  edge-advisor history add reports/20261122-101500-llm-1a2b3c
  edge-advisor history trend --case '*/Q4_0/candle/*' --metric decode_tok_s --svg trend.svg
  edge-advisor history export 20261122-101500 --out old-run.ndjson
  edge-advisor history prune --keep 100";

/// List, show, plot, prune and export the runs kept on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Runs, newest first.
    List {
        /// Only this device (fingerprint id).
        #[arg(long)]
        device: Option<String>,
        /// Only this suite.
        #[arg(long)]
        suite: Option<String>,
        /// Most runs to list.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One run: its cases and outcomes.
    Show {
        /// Run id, or the start of one.
        run: String,
    },
    /// A metric over time, with the points where its level stepped (advisory).
    Trend {
        /// Glob over case ids.
        #[arg(long, default_value = "*")]
        case: String,
        #[arg(long, default_value = "decode_tok_s")]
        metric: Metric,
        /// Draw it as SVG.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Remove old runs; baselines stay.
    Prune {
        /// Newest runs to keep of each device and suite.
        #[arg(long)]
        keep: u32,
    },
    /// Write a run as a record file.
    Export {
        /// Run id, or the start of one.
        run: String,
        #[arg(long, short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take runs made elsewhere into the history.
    Add {
        /// A run directory, a record, or a directory of them.
        record: PathBuf,
    },
}

pub(crate) fn run(args: &Args, output: &Output) -> CliResult {
    match &args.action {
        Action::List { device, suite, limit } => {
            let filter =
                Filter { device: device.clone(), suite: suite.clone(), limit: Some(*limit) };
            let runs = open()?.runs(&filter).map_err(failed)?;
            list(&runs, output)?;
        }
        Action::Show { run } => show(run, output)?,
        Action::Trend { case, metric, svg } => {
            return show_trend(case, *metric, svg.as_ref(), output);
        }
        Action::Prune { keep } => {
            let removed = open()?.prune(*keep).map_err(failed)?;
            output.note(format!("removed {removed} run(s)"));
        }
        Action::Export { run, out } => {
            let record = open()?.record(run).map_err(failed)?;
            ci_files::write_whole(out, &record.to_ndjson().map_err(CliError::from_error)?)?;
            output.note(format!("wrote {}", out.display()));
        }
        Action::Add { record } => {
            let records = sides::records(record)?;
            open()?.add_all(&records).map_err(failed)?;
            output.note(format!("added {} run(s)", records.len()));
        }
    }
    Ok(exit::OK)
}

/// The store of this user.
pub(super) fn open() -> Result<History, CliError> {
    History::open_default().map_err(failed)
}

/// Keeps a finished run. A history that cannot be written is a note: the record itself is safe on disk.
pub(super) fn keep(run: &std::path::Path, output: &Output) {
    let add = || -> Result<(), CliError> { open()?.add_all(&sides::records(run)?).map_err(failed) };
    if let Err(e) = add() {
        output.note(format!("not added to the history: {}", e.cause));
    }
}

fn failed(e: HistoryError) -> CliError {
    let hint = match &e {
        HistoryError::Open { .. } | HistoryError::Directory { .. } => {
            "EDGE_ADVISOR_DATA_DIR names the directory; it must be writable"
        }
        HistoryError::Newer { .. } => "it was written by a newer edge-advisor: update this one",
        HistoryError::NoRun(_) => "`edge-advisor history list` shows the run ids",
        HistoryError::Ambiguous { .. } => "give more of the run id",
        HistoryError::Database(_) | HistoryError::Content(_) => {
            "export what you need, then move the file away; records on disk are not affected"
        }
    };
    CliError::from_error(e).hint(hint)
}

fn list(runs: &[RunRow], output: &Output) -> Result<(), CliError> {
    if output.format == Format::Json {
        return output.json(&runs);
    }
    if runs.is_empty() {
        output.note("no runs yet; `bench` adds them, `history add` takes in others");
        return Ok(());
    }
    let mut text = format!("{:<32} {:<20} {:>9}  {}\n", "run", "device", "cases", "baseline");
    for run in runs {
        let line = format!(
            "{:<32} {:<20} {:>4}/{:<4}  {}",
            shorten(&plain(&run.run_id), 32),
            shorten(&plain(&run.device_name), 20),
            run.completed,
            run.cases,
            shorten(&plain(&run.baselines.join(" ")), 12)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    output.data(&text)
}

fn show(run: &str, output: &Output) -> Result<(), CliError> {
    let record = open()?.record(run).map_err(failed)?;
    if output.format == Format::Json {
        return output.json(&serde_json::json!({
            "header": record.header, "cases": record.cases, "end": record.end,
        }));
    }
    let header = &record.header;
    let mut text = format!(
        "{}\n  {} on {}, suite {}, {}\n",
        plain(&header.run_id),
        plain(&header.build.version),
        plain(&header.device.name),
        plain(&header.suite),
        plain(&header.created)
    );
    for case in &record.cases {
        let why = plain(&case.outcome.reason());
        let outcome = case.outcome.word();
        text.push_str(&format!("  {outcome:<12} {}\n", shorten(&plain(&case.case.id()), 65)));
        if !why.is_empty() {
            text.push_str(&format!("               {}\n", shorten(&why, 65)));
        }
    }
    output.data(&text)
}

fn show_trend(glob: &str, metric: Metric, svg: Option<&PathBuf>, output: &Output) -> CliResult {
    let matcher = globset::Glob::new(glob)
        .map_err(|e| CliError::usage(format!("`{glob}` is not a glob: {e}")))?
        .compile_matcher();
    let history = open()?;
    let mut trends: Vec<Trend> = Vec::new();
    for case in history.case_ids().map_err(failed)?.iter().filter(|c| matcher.is_match(c)) {
        trends.extend(history.trends(case, metric).map_err(failed)?);
    }
    if trends.is_empty() {
        return Err(CliError::new(
            exit::NOTHING,
            format!("no case matches `{glob}` with {metric}"),
        )
        .hint("`edge-advisor history show RUN` lists a run's cases"));
    }
    if let Some(path) = svg {
        ci_files::write_whole(path, &trend::svg(&trends).map_err(CliError::setup)?)?;
        output.note(format!("wrote {}", path.display()));
    }
    match output.format {
        Format::Json => output.json(&trends)?,
        _ => output.data(&trend::text(&trends))?,
    }
    Ok(exit::OK)
}

//! `report`: records in, HTML, CSV, JSON and Markdown out, the headline table on stdout.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CliError, CliResult, Format, Output, exit};
use crate::record::RunRecord;
use crate::report::{self, Grouping, ReportFormat, View};

/// Where runs and their reports live.
const REPORTS: &str = "reports";

/// Turn one or more records into a report: HTML, CSV, JSON, Markdown, and a table on stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  edge-advisor report reports/20261122-210405-ladder-a1b2c3
  edge-advisor report RUN --write html -o out
  edge-advisor report RUN --format markdown --write none > comment.md
  edge-advisor report BASE HEAD            # side by side

Files go to reports/<run>/ unless -o names a directory; the same record gives the same bytes.")]
pub(super) struct Args {
    /// Run directories, record files, or run ids under reports/; several are shown side by side.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// What is written where; shared with `merge`.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Files to write: html, csv, json, md, parquet, or none.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "FORMATS",
        default_value = "html,csv,json,md",
        value_parser = parse_format
    )]
    write: Vec<Written>,
    /// Directory for the files.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// One item of `--write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    None,
    File(ReportFormat),
}

fn parse_format(name: &str) -> Result<Written, String> {
    if name == "none" {
        return Ok(Written::None);
    }
    let known = ReportFormat::ALL.iter().copied();
    known.clone().find(|f| f.extension() == name).map(Written::File).ok_or_else(|| {
        let names: Vec<&str> = known.map(ReportFormat::extension).collect();
        format!("formats are {} and none", names.join(", "))
    })
}

pub(super) fn run(args: &Args, output: &Output) -> CliResult {
    let records = load(&args.runs)?;
    let view = report::build(&records, Grouping::ByRun);
    publish(&view, &args.target, output)
}

/// Reads every record; the first that cannot be read ends it.
pub(super) fn load(runs: &[PathBuf]) -> Result<Vec<RunRecord>, CliError> {
    runs.iter().map(|run| load_one(run)).collect()
}

fn load_one(run: &Path) -> Result<RunRecord, CliError> {
    let by_id = Path::new(REPORTS).join(run);
    let path = if !run.exists() && by_id.is_dir() { &by_id } else { run };
    RunRecord::load(path).map_err(|e| {
        CliError::from_error(e)
            .hint("give a run's directory, its record.ndjson, or a run id under reports/")
    })
}

/// Writes the files, then prints the view in the output's format.
pub(super) fn publish(view: &View, target: &Target, output: &Output) -> CliResult {
    let formats: Vec<ReportFormat> = target
        .write
        .iter()
        .filter_map(|w| match w {
            Written::File(f) => Some(*f),
            Written::None => None,
        })
        .collect();
    let directory = target.output.clone().unwrap_or_else(|| Path::new(REPORTS).join(folder(view)));
    // Everything is rendered before anything is written.
    let files: Vec<(PathBuf, Vec<u8>)> = formats
        .iter()
        .map(|f| (directory.join(format!("report.{}", f.extension())), f.render(view)))
        .collect();
    for (path, bytes) in &files {
        write_whole(path, bytes)?;
        output.note(format!("wrote {}", path.display()));
    }
    output.data(&match output.format {
        Format::Human => report::table::render(view),
        Format::Json => report::json::render(view),
        Format::Markdown => report::markdown::render(view),
        Format::Csv => report::csv::render(view),
    })?;
    Ok(exit::OK)
}

/// The run's id, or a name made from all ids where there are several; safe as a file name whatever a record says.
fn folder(view: &View) -> String {
    let ids: Vec<&str> =
        view.runs.iter().flat_map(|r| r.run_ids.iter().map(String::as_str)).collect();
    if let [id] = ids.as_slice() {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let name: String = id.chars().take(120).map(safe).collect();
        return match name.trim_start_matches('.') {
            "" => "run".into(),
            name => name.into(),
        };
    }
    let digest = Sha256::digest(ids.join("\n").as_bytes());
    let hex: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}-runs-{hex}", ids.len())
}

/// All or nothing: a reader never sees half a file.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let failed = |e: std::io::Error| {
        CliError::setup(format!("cannot write `{}`: {e}", path.display()))
            .hint("-o DIR writes the report elsewhere")
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut file =
        tempfile::Builder::new().prefix(".report-").tempfile_in(directory).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    readable_by_all(file.as_file()).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

/// Temporary files are private; a report is to be passed on.
#[cfg(unix)]
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

//! `baseline`: runs kept under a name, a device each, in the repository or in the history store.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::history::open;
use super::{CliError, CliResult, Format, Output, ci_files, exit, sides};
use crate::record::RunRecord;
use crate::report::plain;

/// Where a repository keeps its baselines: `<name>/<fingerprint>/<run>.ndjson`.
pub(super) const DIRECTORY: &str = ".edge-advisor/baselines";

const EXAMPLES: &str = "Examples:
  edge-advisor baseline save v1.2 reports/20261122-101500-llm-1a2b3c
  edge-advisor baseline save v1.2 reports/ci/ --in-repository
  edge-advisor baseline list
  edge-advisor gate baseline:v1.2 reports/pr

A name holds one set of runs a device; `gate` picks head's. The repository is searched first.";

/// Keep runs as a named baseline.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    /// Where baselines are kept in a repository.
    #[arg(long, global = true, value_name = "DIR", default_value = DIRECTORY)]
    baselines: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save runs under a name, replacing what it meant for their device.
    Save {
        #[arg(value_parser = name)]
        name: String,
        /// A run directory, a record, or a directory of them.
        record: PathBuf,
        /// Copy the records into the repository instead of the history store.
        #[arg(long)]
        in_repository: bool,
    },
    /// List baselines.
    List,
    /// Show a baseline's runs.
    Show {
        #[arg(value_parser = name)]
        name: String,
    },
}

/// Names become directories: letters, digits, `.`, `_`, `-`, not starting with a dot.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || text.len() > 100 || text.starts_with('.') || !text.chars().all(fits) {
        return Err("a name is letters, digits, `.`, `_` and `-`".to_owned());
    }
    Ok(text.to_owned())
}

/// A fingerprint or run id from a record as one path component.
fn component(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    text.chars().take(100).map(fits).collect()
}

pub(crate) fn run(args: &Args, output: &Output) -> CliResult {
    match &args.action {
        Action::Save { name, record, in_repository } => {
            let records = sides::records(record)?;
            // Refuses what a gate would refuse later.
            sides::side(&record.to_string_lossy(), &records)?;
            if *in_repository {
                save_in_repository(name, &records, &args.baselines)?;
            } else {
                save_in_history(name, &records)?;
            }
            let (count, device) = (records.len(), plain(&records[0].header.device.name));
            output.note(format!("baseline {name}: {count} run(s) of {device}"));
            Ok(exit::OK)
        }
        Action::List => list(None, args, output),
        Action::Show { name } => list(Some(name), args, output),
    }
}

fn save_in_history(name: &str, records: &[RunRecord]) -> Result<(), CliError> {
    let mut history = open()?;
    history.add_all(records).map_err(CliError::from_error)?;
    let ids: Vec<String> = records.iter().map(|r| r.header.run_id.clone()).collect();
    history.save_baseline(name, &ids).map_err(CliError::from_error)
}

fn save_in_repository(name: &str, records: &[RunRecord], root: &Path) -> Result<(), CliError> {
    let dir = root.join(name).join(component(&records[0].header.device.id));
    let failed = |e: std::io::Error| {
        CliError::setup(format!("cannot write `{}`: {e}", dir.display()))
            .hint("choose a directory that can be written with `--baselines`")
    };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let old: Vec<PathBuf> = files(&dir);
    let mut new = Vec::new();
    for record in records {
        let path = dir.join(component(&record.header.run_id)).with_extension("ndjson");
        ci_files::write_whole(&path, &record.to_ndjson().map_err(CliError::from_error)?)?;
        new.push(path);
    }
    for path in old.iter().filter(|p| !new.contains(p)) {
        std::fs::remove_file(path).map_err(failed)?;
    }
    Ok(())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|p| p.extension().is_some_and(|e| e == "ndjson")).collect();
    files.sort();
    files
}

/// The records of a baseline for a device: the repository's first, then the history's.
pub(super) fn find(name: &str, device: &str, root: &Path) -> Result<Vec<RunRecord>, CliError> {
    let name = self::name(name).map_err(CliError::usage)?;
    let dir = root.join(&name).join(component(device));
    if dir.is_dir() {
        return sides::records(&dir);
    }
    let history = open()?;
    let all = history.baselines().map_err(CliError::from_error)?;
    let wanted = all.iter().filter(|(n, d, _)| *n == name && d == device);
    let records: Vec<RunRecord> = wanted
        .map(|(_, _, run)| history.record(run).map_err(CliError::from_error))
        .collect::<Result<_, _>>()?;
    if !records.is_empty() {
        return Ok(records);
    }
    let elsewhere = root.join(&name).is_dir() || all.iter().any(|(n, ..)| *n == name);
    if elsewhere {
        let cause = format!("baseline `{name}` has no runs of this device ({})", plain(device));
        return Err(CliError::new(exit::NOT_COMPARABLE, cause)
            .hint("a baseline counts on the device it was measured on: save one here"));
    }
    Err(CliError::setup(format!("no baseline `{name}`"))
        .hint("`edge-advisor baseline list` shows them, `baseline save NAME RECORD` makes one"))
}

#[derive(serde::Serialize)]
struct Entry {
    name: String,
    device: String,
    run_id: String,
    kept: &'static str,
}

fn list(only: Option<&str>, args: &Args, output: &Output) -> CliResult {
    let mut entries = in_repository(&args.baselines);
    let stored = open()?.baselines().map_err(CliError::from_error)?;
    entries.extend(stored.into_iter().map(|(name, device, run_id)| Entry {
        name,
        device,
        run_id,
        kept: "history",
    }));
    entries.retain(|e| only.is_none_or(|name| e.name == name));
    if let (Some(name), true) = (only, entries.is_empty()) {
        return Err(CliError::setup(format!("no baseline `{name}`"))
            .hint("`edge-advisor baseline list` shows them"));
    }
    if output.format == Format::Json {
        output.json(&entries)?;
        return Ok(exit::OK);
    }
    if entries.is_empty() {
        output.note("no baselines; `edge-advisor baseline save NAME RECORD` makes one");
    }
    let mut text = String::new();
    for e in &entries {
        let (name, device, run) = (plain(&e.name), plain(&e.device), plain(&e.run_id));
        text.push_str(&format!("{name:<16} {device:<18} {:<10} {run}\n", e.kept));
    }
    if !text.is_empty() {
        output.data(&text)?;
    }
    Ok(exit::OK)
}

fn in_repository(root: &Path) -> Vec<Entry> {
    let subdirectories = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        let mut dirs: Vec<PathBuf> = entries.filter(|p| p.is_dir()).collect();
        dirs.sort();
        dirs
    };
    let text = |p: &Path| p.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
    let mut entries = Vec::new();
    for name in subdirectories(root) {
        for device in subdirectories(&name) {
            for file in files(&device) {
                entries.push(Entry {
                    name: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    device: device.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    run_id: text(&file),
                    kept: "repository",
                });
            }
        }
    }
    entries
}

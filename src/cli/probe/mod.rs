//! `probe`: what this device is and what this process may use of it.

mod accelerators;
mod view;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::devices::{self, Answer};
use super::{CliError, CliResult, Format, Output, exit};
use crate::probe::{
    self, CapturingHost, Host, LiveHost, MeasureOptions, ProbeOptions, ProbeReport, RecordedHost,
};

/// Show what this device is, what it can do, and what this process may use of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  edge-advisor probe                         facts with their sources, in a moment
  edge-advisor probe --measure               measure bandwidth and arithmetic too
  edge-advisor probe --format json           everything, for scripts
  edge-advisor probe --capture my-host       record this host for a bug report
  edge-advisor probe --from my-host          replay a recorded host
  edge-advisor probe --diff old.json new.json   what changed between two probes")]
pub struct Args {
    /// Measure memory bandwidth, arithmetic, disk speed, and GPUs and NPUs that a framework can use; kept for later
    /// commands.
    #[arg(long, conflicts_with_all = ["from", "diff", "capture"])]
    measure: bool,
    /// With --measure: leave the disk alone.
    #[arg(long, requires = "measure")]
    no_disk: bool,
    /// Replay a recorded host (a file, or a directory made by --capture) instead of this machine.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["diff", "capture"])]
    from: Option<PathBuf>,
    /// Record this host into DIR, without names, serial numbers or addresses.
    #[arg(long, value_name = "DIR", conflicts_with = "diff")]
    capture: Option<PathBuf>,
    /// Compare two fingerprints: each a JSON report or a recorded host.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    diff: Option<Vec<PathBuf>>,
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    if !matches!(output.format, Format::Json | Format::Human) {
        return Err(
            CliError::usage("probe prints human or json").hint("choose one of them with --format")
        );
    }
    if let Some([a, b]) = args.diff.as_deref() {
        return diff(a, b, output);
    }
    if let Some(dir) = &args.capture {
        return capture(dir, output);
    }
    // A replayed host's frameworks are not here to be asked.
    let devices = match args.from {
        Some(_) => Default::default(),
        None => devices::of_installed(),
    };
    let report = match &args.from {
        Some(path) => replay(path)?,
        None if args.measure => measured(args, &devices, output)?,
        None => probe::run(&LiveHost::new(), ProbeOptions::default()),
    };
    match output.format {
        Format::Json => {
            let mut value = serde_json::to_value(&report).map_err(std::io::Error::from)?;
            if !devices.is_empty() {
                value["framework_devices"] =
                    serde_json::to_value(&devices).map_err(std::io::Error::from)?;
            }
            output.json(&value)?;
        }
        _ => output.data(&(view::report(&report) + &view::frameworks(&devices)))?,
    }
    Ok(exit::OK)
}

fn replay(path: &Path) -> Result<ProbeReport, CliError> {
    let host = RecordedHost::load(path).map_err(|e| {
        CliError::from_error(e)
            .hint("a recorded host is a directory or file made by `probe --capture`")
    })?;
    Ok(probe::run(&host, ProbeOptions { use_cache: false }))
}

fn measured(
    args: &Args,
    devices: &BTreeMap<&str, Answer>,
    output: &Output,
) -> Result<ProbeReport, CliError> {
    let host = LiveHost::new();
    let mut report = probe::run(&host, ProbeOptions { use_cache: false });
    if cfg!(debug_assertions) {
        output.note("warning: this is a debug build; its figures are too low");
    }
    let show = output.progress();
    let mut progress = |step: &str, done: usize, total: usize| {
        if show {
            let _ = write!(std::io::stderr(), "\r\x1b[Kmeasuring {}/{total}: {step}", done + 1);
        }
    };
    let mut options = MeasureOptions { progress: &mut progress, disk: !args.no_disk };
    let mut result = probe::measure(&host, &report, &mut options);
    if show {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    // The runs that measure accelerators want to know the memory's rate.
    let _ = probe::store_measured(&result);
    result.accelerators = accelerators::measure(devices, output);
    match probe::store_measured(&result) {
        Ok(path) => output.note(format!("measurements kept in {}", path.display())),
        Err(e) => output.note(format!("warning: {e}")),
    }
    report.measured = Some(result);
    Ok(report)
}

fn capture(dir: &Path, output: &Output) -> CliResult {
    let live = LiveHost::new();
    let host = CapturingHost::new(&live);
    probe::run(&host as &dyn Host, ProbeOptions { use_cache: false });
    let _ = probe::host_state(&host);
    let captured = host
        .save(dir)
        .map_err(|e| CliError::from_error(e).hint("choose a directory that can be written"))?;
    output.data(&format!("{}", captured.path.display()))?;
    output.note(format!(
        "{} files recorded; read it before you share it: names and serial numbers are left out",
        captured.files
    ));
    Ok(exit::OK)
}

/// A report printed as JSON, or a recorded host to probe.
fn load(path: &Path) -> Result<ProbeReport, CliError> {
    if path.extension().is_some_and(|e| e == "json") {
        let text = std::fs::read_to_string(path)
            .map_err(|e| CliError::setup(format!("cannot read `{}`: {e}", path.display())))?;
        return serde_json::from_str(&text).map_err(|e| {
            CliError::setup(format!("`{}` is not a probe report: {e}", path.display()))
                .hint("make one with `edge-advisor probe --format json`")
        });
    }
    replay(path)
}

fn diff(a: &Path, b: &Path, output: &Output) -> CliResult {
    let (a, b) = (load(a)?, load(b)?);
    let changes = probe::fingerprint_diff(&a, &b);
    match output.format {
        Format::Json => output.json(&serde_json::json!({
            "a": a.fingerprint, "b": b.fingerprint, "same": changes.is_empty(), "changes": changes,
        }))?,
        _ => output.data(&view::diff(&a, &b, &changes))?,
    }
    Ok(exit::OK)
}

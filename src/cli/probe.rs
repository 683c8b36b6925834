//! `probe`: what this device is and what this process may use of it.

use std::path::PathBuf;

use super::{CliError, CliResult, Format, Output, exit};
use crate::probe::{self, Host, LiveHost, ProbeOptions, RecordedHost};

/// Show what this device is, what it can do, and what this process may use of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  edge-advisor probe
  edge-advisor probe --format json
  edge-advisor probe --from tests/fixtures/hosts/raspberry-pi-5.toml")]
pub struct Args {
    /// Replay a recorded host (a file, or a directory made by --capture) instead of this machine.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    let host: Box<dyn Host> = match &args.from {
        Some(path) => Box::new(RecordedHost::load(path).map_err(CliError::from_error)?),
        None => Box::new(LiveHost::new()),
    };
    let options = ProbeOptions { use_cache: args.from.is_none() };
    let report = probe::run(host.as_ref(), options);
    match output.format {
        Format::Json | Format::Human => output.json(&report)?,
        _ => return Err(CliError::usage("probe prints human or json")),
    }
    Ok(exit::OK)
}

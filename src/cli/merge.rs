//! `merge`: records of many devices become one report, a column a fingerprint.

use std::path::PathBuf;

use super::report::{Target, load, publish};
use super::{CliResult, Output};
use crate::report::{self, Grouping};

/// Merge records of many devices into one table and report, by fingerprint.
///
/// Runs of one device are pooled: each counts as further process runs of its cases. Runs of older engine versions of
/// the same case are left out and counted in a note.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  edge-advisor merge collected/*/record.ndjson -o fleet
  edge-advisor merge pi5.ndjson jetson.ndjson laptop.ndjson --write html,csv -o fleet")]
pub(super) struct Args {
    /// Run directories or record files, of any number of devices.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args, output: &Output) -> CliResult {
    let records = load(&args.runs)?;
    let view = report::build(&records, Grouping::ByDevice);
    publish(&view, &args.target, output)
}

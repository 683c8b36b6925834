//! `compare`: what changed between two sets of runs. Tells, does not judge a release.

use std::path::PathBuf;

use super::{CliResult, Output, ci_files, exit, sides};
use crate::compare::{Judging, Overall, compare};

const EXAMPLES: &str = "Examples:
  edge-advisor compare reports/yesterday reports/today
  edge-advisor compare baseline:v1.2 reports/today --format markdown
  edge-advisor compare pi5/ orin/ --allow-different-devices

A side is a run directory, a record file, or a directory of them: then each run counts.
Exit code 0, or 12 where the sides cannot be compared. See docs/statistics.md.";

/// Compare two runs, or two sets of runs, metric by metric.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The runs to compare with: a path, or `baseline:NAME`.
    base: String,
    /// The runs in question.
    head: PathBuf,
    /// Limits and noise to judge by [default: built in].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Show only what changed or cannot be told.
    #[arg(long)]
    changed: bool,
    /// Put numbers of different devices side by side.
    #[arg(long)]
    allow_different_devices: bool,
    /// Where baselines are kept in a repository.
    #[arg(long, value_name = "DIR", default_value = super::baseline::DIRECTORY)]
    baselines: PathBuf,
    #[command(flatten)]
    files: ci_files::CiFiles,
}

pub(crate) fn run(args: &Args, output: &Output) -> CliResult {
    let mut policy = sides::policy(args.policy.as_ref())?;
    policy.allow_different_devices |= args.allow_different_devices;
    let head = args.head.to_string_lossy();
    let (base, head) = sides::pair(&args.base, &head, &args.baselines)?;
    let comparison = compare(&base, &head, &policy, Judging::once(&policy));
    args.files.write(&comparison, &artifact(args.policy.as_ref()))?;
    ci_files::print(&comparison, !args.changed, "compare", output)?;
    Ok(match comparison.overall {
        Overall::NotComparable => exit::NOT_COMPARABLE,
        _ => exit::OK,
    })
}

/// The file that findings point at.
pub(super) fn artifact(policy: Option<&PathBuf>) -> String {
    policy.map_or_else(|| "edge-advisor".to_owned(), |p| p.to_string_lossy().into_owned())
}

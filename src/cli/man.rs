//! `man DIR`: a manual page a command.

use std::path::PathBuf;

use super::{CliError, CliResult, Output, exit};

/// Write manual pages, one a command, into a directory.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  edge-advisor man ~/.local/share/man/man1 && man edge-advisor-bench"
)]
pub struct Args {
    dir: PathBuf,
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(&args.dir)?;
        clap_mangen::generate_to(super::command(), &args.dir)
    };
    write().map_err(|e| {
        CliError::setup(format!("cannot write to `{}`: {e}", args.dir.display()))
            .hint("name a directory that can be written")
    })?;
    output.data(&args.dir.display().to_string())?;
    Ok(exit::OK)
}

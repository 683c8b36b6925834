//! `completions SHELL`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::{CliResult, Output, exit};

const EXAMPLES: &str = "Examples:
  edge-advisor completions bash > ~/.local/share/bash-completion/completions/edge-advisor
  edge-advisor completions zsh > ~/.zfunc/_edge-advisor
  edge-advisor completions fish > ~/.config/fish/completions/edge-advisor.fish";

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    shell: Shell,
}

pub fn run(args: &Args, output: &Output) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "edge-advisor", &mut script);
    output.data(&String::from_utf8_lossy(&script))?;
    Ok(exit::OK)
}

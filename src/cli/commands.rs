//! The list of commands, and the program's main path: parse, dispatch, print the error, exit.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::worker;

use super::{CliError, CliResult, Format, Output, bench, exit};

/// Benchmarks and advises on running AI models on edge devices.
#[derive(Debug, Parser)]
#[command(name = "edge-advisor", version, max_term_width = 100)]
struct Cli {
    /// Output format.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
    /// No progress and no notes on stderr.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

// One line a command: the variant here, its file beside this one, its arm in `dispatch`.
#[derive(Debug, Subcommand)]
enum Command {
    Baseline(super::baseline::Args),
    Compare(super::compare::Args),
    Gate(super::gate::Args),
    History(super::history::Args),
    Merge(super::merge::Args),
    Models(super::models::ModelsArgs),
    Probe(super::probe::Args),
    Profiles(super::profiles::ProfilesArgs),
    Bench(bench::Args),
    Recommend(Box<super::recommend::RecommendArgs>),
    Advise(super::advise::AdviseArgs),
    Predictor(super::predictor::Args),
    Report(super::report::Args),
    Calibrate(super::calibrate::Args),
    Runtime(super::runtime::Args),
    SelfCheck(super::self_check::Args),
    Completions(super::completions::Args),
    Man(super::man::Args),
}

fn dispatch(command: Command, output: &Output) -> CliResult {
    match command {
        Command::Baseline(args) => super::baseline::run(&args, output),
        Command::Compare(args) => super::compare::run(&args, output),
        Command::Gate(args) => super::gate::run(&args, output),
        Command::History(args) => super::history::run(&args, output),
        Command::Merge(args) => super::merge::run(&args, output),
        Command::Models(args) => super::models::run(&args, output),
        Command::Probe(args) => super::probe::run(&args, output),
        Command::Profiles(args) => super::profiles::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Recommend(args) => super::recommend::run(&args, output),
        Command::Advise(args) => super::advise::run(&args, output),
        Command::Predictor(args) => super::predictor::run(&args, output),
        Command::Report(args) => super::report::run(&args, output),
        Command::Calibrate(args) => super::calibrate::run(&args, output),
        Command::Runtime(args) => super::runtime::run(&args, output),
        Command::SelfCheck(args) => super::self_check::run(&args, output),
        Command::Completions(args) => super::completions::run(&args, output),
        Command::Man(args) => super::man::run(&args, output),
    }
}

/// The clap definition, for completions, man pages and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, runs the command, prints an error if there is one.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|a| a == worker::SUBCOMMAND) {
        return worker::serve();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let output = Output { format: cli.format, quiet: cli.quiet, nested: false };
    match dispatch(cli.command, &output) {
        Ok(code) => ExitCode::from(code),
        Err(e) => ExitCode::from(print_error(&e)),
    }
}

fn print_error(e: &CliError) -> u8 {
    if e.broken_pipe {
        return exit::OK;
    }
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "error: {}", e.cause);
    if let Some(hint) = &e.hint {
        let _ = writeln!(err, "\nhint: {hint}");
    }
    e.code
}

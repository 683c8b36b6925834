//! The binary: parse, run, turn the result into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_advisor::cli::main()
}

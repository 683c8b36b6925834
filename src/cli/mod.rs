//! The command line: one file a command. stdout is data; stderr is progress, warnings and errors.

mod bench;
mod commands;
mod error;
pub mod exit;
mod output;
mod probe;
mod profiles;
mod progress;
mod size;

pub use commands::{command, main};
pub use error::{CliError, CliResult};
pub use output::{Format, Output};

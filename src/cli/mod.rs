//! The command line: one file a command. stdout is data; stderr is progress, warnings and errors.

mod advise;
mod baseline;
mod bench;
mod calibrate;
mod ci_files;
mod commands;
mod compare;
mod completions;
mod devices;
mod error;
pub mod exit;
mod gate;
mod gate_live;
mod history;
mod man;
mod merge;
mod models;
mod output;
mod predictor;
mod probe;
mod profiles;
mod progress;
mod recommend;
mod report;
mod runtime;
#[cfg(test)]
mod schemas;
mod self_check;
mod sides;
mod size;
mod synthetic;

pub use commands::{command, main};
pub use error::{CliError, CliResult};
pub use output::{Format, Output};

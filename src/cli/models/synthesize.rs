//! `models synthesize`: a file of a model's shape with random weights.

use std::path::PathBuf;

use clap::Args;

use super::{count, size};
use crate::catalog::{Catalog, SynthesizeError, synthesize};
use crate::cli::{CliError, CliResult, Format, Output, exit};
use crate::model::Precision;

/// Writes a GGUF of a catalogue model's exact shape with random weights: its speed and memory are real, its words are not.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  edge-advisor models synthesize llama-3.2-1b --quant Q4_K_M -o llama.gguf"
)]
pub(super) struct SynthesizeArgs {
    /// Name from `edge-advisor models list`.
    name: String,
    /// GGUF precision.
    #[arg(long, default_value = "Q4_K_M")]
    quant: Precision,
    /// Only the first N layers.
    #[arg(long, value_name = "N")]
    layers: Option<u32>,
    /// Where to write it (default: NAME-QUANT-synthetic.gguf here).
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl From<SynthesizeError> for CliError {
    fn from(e: SynthesizeError) -> Self {
        CliError::setup(e.to_string()).hint(e.hint())
    }
}

pub(super) fn run(args: &SynthesizeArgs, output: &Output) -> CliResult {
    let catalog = Catalog::load()?;
    let entry = catalog.get(&args.name)?;
    let file = format!("{}-{}-synthetic.gguf", entry.name, args.quant);
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(file));
    let bar = super::pull::bar(output)?;
    let made = synthesize(entry, args.quant, args.layers, &path, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let made = made?;
    if output.format == Format::Json {
        output.json(&serde_json::json!({ "path": path, "synthesized": made }))?;
        return Ok(exit::OK);
    }
    output.note(format!(
        "{} parameters, {}, {:.2} bits per weight; random weights: quality does not apply",
        count(made.parameters),
        size(made.bytes),
        made.bits_per_weight
    ));
    output.data(&path.display().to_string())?;
    Ok(exit::OK)
}

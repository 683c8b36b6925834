//! `advise tree`: the decision tree itself, drawn, with the path a request takes.

use clap::{Args, Subcommand, ValueEnum};

use super::recommend::{RecommendArgs, setup};
use super::{CliError, CliResult, Format, Output, exit};
use crate::advise::{self, Rules, Walk};

/// The decision tree behind `recommend`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  edge-advisor advise tree                                   the tree as text
  edge-advisor advise tree qwen3-4b --device rpi-5           with the path taken marked
  edge-advisor advise tree llama-3.1-8b --as svg > tree.svg
  edge-advisor advise tree --format markdown > docs/decision-tree.md")]
pub struct AdviseArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Draws the tree; with a model or a device it marks the path taken.
    Tree(Box<TreeArgs>),
}

#[derive(Debug, Args)]
struct TreeArgs {
    /// How to draw it.
    #[arg(long = "as", value_enum, default_value_t)]
    drawing: Drawing,
    #[command(flatten)]
    request: RecommendArgs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Drawing {
    #[default]
    Text,
    Mermaid,
    Svg,
}

pub fn run(args: &AdviseArgs, output: &Output) -> CliResult {
    let Action::Tree(args) = &args.action;
    let rules = Rules::embedded();
    let walk = walk(args, output)?;
    match (output.format, args.drawing) {
        (Format::Markdown, _) => output.data(&advise::document(rules))?,
        (Format::Json, _) => output.json(&walk)?,
        (_, Drawing::Text) => output.data(&advise::text(rules, walk.as_ref()))?,
        (_, Drawing::Mermaid) => output.data(&advise::mermaid(rules, walk.as_ref()))?,
        (_, Drawing::Svg) => output.data(&advise::svg(rules, walk.as_ref()))?,
    }
    Ok(exit::OK)
}

/// The path of the request, where there is one: a model is what most nodes test.
fn walk(args: &TreeArgs, output: &Output) -> Result<Option<Walk>, CliError> {
    if args.request.model.is_none() && args.request.params.is_none() {
        return Ok(None);
    }
    let setup = setup(&args.request, output)?;
    let Some(model) = &setup.model else { return Ok(None) };
    Ok(Some(advise::walk(&setup.input(&model.spec, &model.source))))
}

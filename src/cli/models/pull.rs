//! `models pull`: one model of the catalogue onto this machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{From_, size};
use crate::catalog::{Catalog, models_dir};
use crate::cli::{CliError, CliResult, Format, Output, exit};
use crate::model::Precision;
use crate::runtime::pull;

/// Downloads a model, checks its checksum and keeps it in the data directory.
#[derive(Debug, Args)]
#[command(
    after_help = "A broken download goes on where it stopped. HF_ENDPOINT and PIP_INDEX_URL choose mirrors."
)]
pub(super) struct PullArgs {
    /// Name from `edge-advisor models list`.
    name: String,
    #[arg(long, value_enum, default_value_t)]
    source: From_,
    /// Which of the offered precisions (default: Q4_K_M where there is one).
    #[arg(long)]
    precision: Option<Precision>,
    /// Directory to keep models in, instead of `models` in the data directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &PullArgs, output: &Output) -> CliResult {
    let catalog = Catalog::load()?;
    let entry = catalog.get(&args.name)?;
    let models = args.dir.clone().unwrap_or_else(models_dir);
    output.note(format!("{}, licence {}", entry.title, entry.licence));
    let bar = bar(output)?;
    let mut progress = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let mut note = |text: &str| bar.suspend(|| output.note(text));
    let outcome =
        pull(entry, args.source.into(), args.precision, &models, &mut note, &mut progress);
    bar.finish_and_clear();
    let pulled = outcome?;
    let path = models.join(&entry.name).join(&pulled.files[0].name);
    if output.format == Format::Json {
        output.json(&serde_json::json!({ "path": path, "pulled": pulled }))?;
        return Ok(exit::OK);
    }
    let bytes = pulled.files.iter().map(|f| f.bytes).sum();
    output.note(format!(
        "{}, {}, from {}, checksum right ({})",
        size(bytes),
        pulled.precision,
        pulled.source,
        if pulled.pinned { "pinned" } else { "the hub's own: not pinned" },
    ));
    output.data(&path.display().to_string())?;
    Ok(exit::OK)
}

/// A bar of bytes on stderr, hidden where nobody watches.
pub(super) fn bar(output: &Output) -> Result<ProgressBar, CliError> {
    if !output.progress() {
        return Ok(ProgressBar::hidden());
    }
    let style = "{bytes:>10} of {total_bytes:<10} {wide_bar} {bytes_per_sec:>12} {eta:>4}";
    let style = ProgressStyle::with_template(style)
        .map_err(|e| CliError::new(exit::UNEXPECTED, e.to_string()))?;
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

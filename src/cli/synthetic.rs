//! Models of a known shape with random weights, made once and kept: their speed and memory are real, their words are not.

use std::path::PathBuf;

use super::{CliError, Output};
use crate::catalog::{Catalog, Entry, can_synthesize, synthesize};
use crate::dirs;
use crate::model::Precision;

/// Small, and every other precision can be made from it.
const USUAL: Precision = Precision::Q4_0;

/// The file of a catalogue model's shape at the first of `precisions` that can be written directly, else at [`USUAL`].
pub(super) fn of_name(
    name: &str,
    precisions: &[String],
    output: &Output,
) -> Result<PathBuf, CliError> {
    let catalog = Catalog::load()?;
    let entry = catalog.get(name)?;
    let wanted = precisions.iter().filter_map(|p| p.parse().ok()).find(|p| can_synthesize(*p));
    of(entry, wanted.unwrap_or(USUAL), output)
}

/// The file of `entry`'s shape at `precision`. Its stem is the name that records give the model.
pub(super) fn of(
    entry: &Entry,
    precision: Precision,
    output: &Output,
) -> Result<PathBuf, CliError> {
    let dir = dirs::cache().join("synthetic").join(precision.name());
    let path = dir.join(format!("{}.gguf", entry.name));
    if !path.is_file() {
        output.note(format!("writing {} at {precision} with random weights ...", entry.name));
        std::fs::create_dir_all(&dir)?;
        synthesize(entry, precision, None, &path, &mut |_, _| {})?;
    }
    Ok(path)
}

//! Weights beside the model file: inside its directory, there, and long enough.

use std::path::{Component, Path};

use super::model::ExternalFile;
use crate::formats::FormatError;

/// Notes that a tensor lies at `offset..offset+length` of `location`.
pub(super) fn note(
    files: &mut Vec<ExternalFile>,
    model: &Path,
    location: &str,
    offset: u64,
    length: u64,
) -> Result<(), FormatError> {
    let needed = offset.saturating_add(length);
    if let Some(file) = files.iter_mut().find(|f| f.name == location) {
        file.needed = file.needed.max(needed);
        return Ok(());
    }
    let plain = Path::new(location).components().all(|c| matches!(c, Component::Normal(_)));
    if location.is_empty() || !plain || location.contains(['\\', ':', '\0']) {
        let why = format!("external data at `{}`, outside its directory", location.escape_debug());
        return Err(FormatError::damaged(model, why));
    }
    if files.len() == 1000 {
        return Err(FormatError::damaged(model, "more than 1000 external files"));
    }
    files.push(ExternalFile { name: location.to_owned(), needed, bytes: 0 });
    Ok(())
}

/// Checks that every file is there and as long as its tensors need.
pub(super) fn check(files: &mut [ExternalFile], model: &Path) -> Result<(), FormatError> {
    let dir = model.parent().unwrap_or(Path::new(""));
    for file in files {
        let path = dir.join(&file.name);
        let Ok(meta) = std::fs::metadata(&path) else {
            return Err(FormatError::MissingPart { path: model.to_owned(), missing: path });
        };
        file.bytes = meta.len();
        if file.bytes < file.needed {
            return Err(FormatError::Truncated {
                path,
                what: "external data".into(),
                needed: file.needed,
                found: file.bytes,
            });
        }
    }
    Ok(())
}

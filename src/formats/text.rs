//! Small text files beside a model, read whole up to a limit.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::FormatError;

pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, FormatError> {
    let file = File::open(path).map_err(|e| FormatError::read(path, e))?;
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text);
    read.map_err(|e| FormatError::read(path, e))?;
    if text.len() as u64 > limit {
        return Err(FormatError::damaged(path, format!("longer than {limit} bytes")));
    }
    Ok(text)
}

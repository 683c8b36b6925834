//! One or several records behind one path: a file, a run's directory, or a directory of runs.

use std::path::{Path, PathBuf};

use super::file::{FILE_NAME, RecordError, RunRecord};

/// More records in one directory than any series of runs has.
const MAX_RECORDS: usize = 10_000;

/// `gate --live` keeps `side/round/run`: deeper than that is not ours.
const MAX_DEPTH: usize = 2;

impl RunRecord {
    /// Every record at `path`: a record file, a run directory, or a directory whose files (`*.ndjson`) or
    /// subdirectories (two levels) are records, in order of name.
    pub fn load_all(path: &Path) -> Result<Vec<Self>, RecordError> {
        if !path.is_dir() || path.join(FILE_NAME).is_file() {
            return Ok(vec![Self::load(path)?]);
        }
        let mut found = Vec::new();
        find(path, MAX_DEPTH, &mut found)?;
        if found.is_empty() || found.len() > MAX_RECORDS {
            let why = match found.len() {
                0 => "the directory holds no record".to_owned(),
                _ => format!("the directory holds more than {MAX_RECORDS} records"),
            };
            return Err(RecordError::NotARecord { path: path.to_owned(), why });
        }
        found.iter().map(|p| Self::load(p)).collect()
    }
}

fn find(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), RecordError> {
    let read = |source| RecordError::Read { path: dir.to_owned(), source };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        entries.push(entry.map_err(read)?.path());
    }
    entries.sort();
    for entry in entries {
        let is_file = entry.is_file() && entry.extension().is_some_and(|e| e == "ndjson");
        if is_file || entry.join(FILE_NAME).is_file() {
            found.push(entry);
        } else if depth > 1 && entry.is_dir() && !entry.is_symlink() {
            find(&entry, depth - 1, found)?;
        }
        if found.len() > MAX_RECORDS {
            break;
        }
    }
    Ok(())
}

//! What the areas share: the binary, a scratch directory, reading back a record.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use edge_advisor::record::RunRecord;

/// The binary under test.
pub fn edge_advisor() -> Command {
    Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
}

/// A file that stands for a model where no backend reads it.
pub fn any_file(dir: &Path) -> PathBuf {
    let path = dir.join("model.bin");
    std::fs::write(&path, b"not a model").expect("scratch directory is writable");
    path
}

/// The one run under `dir`.
pub fn only_run(dir: &Path) -> PathBuf {
    let mut runs: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("run directory").map(|e| e.expect("entry").path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

/// The record of the one run under `dir`.
pub fn only_record(dir: &Path) -> RunRecord {
    RunRecord::load(&only_run(dir)).expect("a readable record")
}

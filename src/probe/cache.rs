//! Measured capabilities on disk, by fingerprint, so that other commands need not measure again.

use std::path::PathBuf;

use super::capability::Measured;

/// Larger is not ours.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the measurements carry no fingerprint")]
    NoFingerprint,
    #[error("not kept, since other programs were busy meanwhile: measure again when it is quiet")]
    Busy,
    #[error("cannot write measurements to `{path}`: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

fn path(fingerprint: &str) -> Option<PathBuf> {
    let plain = fingerprint.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let plain = plain && !fingerprint.is_empty();
    plain.then(|| crate::dirs::cache().join("measured").join(format!("{fingerprint}.json")))
}

/// What an earlier `probe --measure` found on a device of this fingerprint; `None` where nothing usable is kept.
pub fn cached_measured(fingerprint: &str) -> Option<Measured> {
    use std::io::Read;
    let file = std::fs::File::open(path(fingerprint)?).ok()?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let measured: Measured = serde_json::from_str(&text).ok()?;
    (measured.fingerprint == fingerprint).then_some(measured)
}

/// Keeps measurements of a quiet machine, not those that other programs disturbed: written beside and renamed, so that a reader never sees half a file.
pub fn store_measured(measured: &Measured) -> Result<PathBuf, CacheError> {
    let path = path(&measured.fingerprint).ok_or(CacheError::NoFingerprint)?;
    if !measured.quiet() {
        return Err(CacheError::Busy);
    }
    let write = |source| CacheError::Write { path: path.clone(), source };
    let dir = path.parent().ok_or(CacheError::NoFingerprint)?;
    std::fs::create_dir_all(dir).map_err(write)?;
    let file = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
    serde_json::to_writer_pretty(&file, measured).map_err(|e| write(e.into()))?;
    file.persist(&path).map_err(|e| write(e.error))?;
    Ok(path)
}

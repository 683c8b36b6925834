//! The identity of a source file: its SHA-256, computed once and remembered beside the cache.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ConvertError;

/// What is remembered of a hashed file; it holds as long as size and time of change do.
#[derive(Serialize, Deserialize, PartialEq)]
struct Known {
    path: PathBuf,
    size: u64,
    modified_ns: u128,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    file: Known,
    sha256: String,
}

/// SHA-256 of `paths` in hex: of the file, or of the parts' hashes where a model is split. Hashes are kept
/// under `<cache>/sources`.
pub fn source_sha256(paths: &[PathBuf], cache: &Path) -> Result<String, ConvertError> {
    let each = paths.iter().map(|p| of_file(p, cache)).collect::<Result<Vec<_>, _>>()?;
    Ok(match each.as_slice() {
        [one] => one.clone(),
        parts => hex(&Sha256::digest(parts.join("\n"))),
    })
}

fn of_file(path: &Path, cache: &Path) -> Result<String, ConvertError> {
    let read = |e| ConvertError::read(path, e);
    let path = path.canonicalize().map_err(read)?;
    let meta = fs::metadata(&path).map_err(read)?;
    let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let modified_ns = modified.map_or(0, |d| d.as_nanos());
    let file = Known { path: path.clone(), size: meta.len(), modified_ns };
    let key = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
    let note = cache.join("sources").join(format!("{}.json", &key[..32]));
    if let Some(entry) = remembered(&note).filter(|e| e.file == file) {
        return Ok(entry.sha256);
    }
    let sha256 = hash(&path).map_err(read)?;
    // Remembering is a convenience: a cache that cannot be written is reported where the variant is.
    if let Some(dir) = note.parent() {
        let entry = Entry { file, sha256: sha256.clone() };
        let text = serde_json::to_vec(&entry).unwrap_or_default();
        let _ = fs::create_dir_all(dir).and_then(|()| {
            let mut temp = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut temp, &text)?;
            temp.persist(&note).map(drop).map_err(|e| e.error)
        });
    }
    Ok(sha256)
}

fn remembered(note: &Path) -> Option<Entry> {
    const MOST: u64 = 64 << 10;
    let mut text = String::new();
    File::open(note).ok()?.take(MOST).read_to_string(&mut text).ok()?;
    let entry: Entry = serde_json::from_str(&text).ok()?;
    let valid = entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then_some(entry)
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.gguf");
        let hash = || source_sha256(std::slice::from_ref(&file), dir.path()).unwrap();
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(), abc);
        assert_eq!(fs::read_dir(dir.path().join("sources")).unwrap().count(), 1);
        assert_eq!(hash(), abc);
        fs::write(&file, "abcd").unwrap();
        assert_ne!(hash(), abc);
    }

    #[test]
    fn a_damaged_note_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.gguf");
        fs::write(&file, "abc").unwrap();
        let first = source_sha256(std::slice::from_ref(&file), dir.path()).unwrap();
        let note =
            fs::read_dir(dir.path().join("sources")).unwrap().next().unwrap().unwrap().path();
        fs::write(note, "{\"sha256\":\"../../etc\"}").unwrap();
        assert_eq!(source_sha256(&[file], dir.path()).unwrap(), first);
    }
}

//! What is installed, and whether it is still what was installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::hash::sha256_file;
use super::lock::{Lock, lock, platform};

/// Written last into a runtime's directory: without it nothing there counts as installed.
pub(super) const MANIFEST: &str = "edge-advisor.json";

/// A runtime on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub name: String,
    pub version: String,
    pub flavour: String,
    pub dir: PathBuf,
    /// True for exactly the pinned packages, installed by us. Bindings that depend on struct layouts load
    /// nothing else.
    pub pinned: bool,
}

/// What was put into a runtime's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub name: String,
    pub version: String,
    pub flavour: String,
    /// SHA-256 of what it was made from: archives, or the requirements file.
    pub sources: Vec<String>,
    pub files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    /// Relative, with `/`.
    pub path: String,
    pub size: u64,
    pub sha256: String,
}

/// Directory of all runtimes.
pub(super) fn root() -> PathBuf {
    crate::dirs::data().join("runtimes")
}

pub(super) fn dir_of(lock: &Lock, flavour: &str) -> PathBuf {
    root().join(&lock.name).join(format!("{}-{flavour}", lock.version))
}

/// The variable that points at a build of the user's own, e.g. `EDGE_ADVISOR_LLAMA_CPP_DIR`.
pub fn override_variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("EDGE_ADVISOR_{}_DIR", name.chars().map(plain).collect::<String>())
}

/// Builds named on the command line, by runtime: they outrank the environment.
static CHOSEN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// Uses the build in `dir` for the rest of this process. Workers get it through [`override_variable`].
pub fn choose(name: &str, dir: PathBuf) {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), dir);
}

fn own_build(name: &str) -> Option<PathBuf> {
    let chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
    let variable = || std::env::var_os(override_variable(name)).filter(|v| !v.is_empty());
    chosen.or_else(|| variable().map(PathBuf::from))
}

/// The user's own build from [`choose`] or [`override_variable`], else the installed one; of several flavours the one that
/// reaches most hardware, since each includes the CPU.
///
/// Looks at names and sizes only; [`check`] also hashes.
pub fn find(name: &str) -> Option<Installed> {
    if let Some(dir) = own_build(name) {
        return dir.is_dir().then(|| Installed {
            name: name.to_owned(),
            version: "own build".to_owned(),
            flavour: "own".to_owned(),
            dir,
            pinned: false,
        });
    }
    let lock = lock(name)?;
    lock.flavours(&platform()).into_iter().rev().find_map(|flavour| find_flavour(lock, flavour))
}

pub(super) fn find_flavour(lock: &Lock, flavour: &str) -> Option<Installed> {
    let dir = dir_of(lock, flavour);
    let manifest = read_manifest(&dir).ok()?;
    let expected = sources(lock, flavour);
    let whole = manifest.files.iter().all(|f| {
        std::fs::metadata(dir.join(&f.path)).is_ok_and(|m| m.is_file() && m.len() == f.size)
    });
    (manifest.sources == expected && whole).then(|| Installed {
        name: lock.name.clone(),
        version: lock.version.clone(),
        flavour: flavour.to_owned(),
        dir,
        pinned: true,
    })
}

/// Hashes of what the lock says a flavour is made from.
pub(super) fn sources(lock: &Lock, flavour: &str) -> Vec<String> {
    match &lock.python {
        Some(python) => vec![super::hash::sha256_bytes(python.requirements.as_bytes())],
        None => {
            let packages = lock.packages_for(&platform(), flavour);
            packages.iter().map(|p| p.sha256.clone()).collect()
        }
    }
}

/// Hashes every installed file again: the names of those that are missing or changed.
pub fn check(dir: &Path) -> Result<Vec<String>, String> {
    let manifest = read_manifest(dir)?;
    let differs = |path: &Path, wanted: &str| !sha256_file(path).is_ok_and(|h| h == wanted);
    let changed = manifest.files.iter().filter(|f| differs(&dir.join(&f.path), &f.sha256));
    Ok(changed.map(|f| f.path.clone()).collect())
}

fn read_manifest(dir: &Path) -> Result<Manifest, String> {
    let path = dir.join(MANIFEST);
    let text =
        std::fs::read(&path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("`{}` is damaged: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_override_variable_follows_from_the_name() {
        assert_eq!(override_variable("llama.cpp"), "EDGE_ADVISOR_LLAMA_CPP_DIR");
        assert_eq!(override_variable("onnxruntime"), "EDGE_ADVISOR_ONNXRUNTIME_DIR");
    }
}

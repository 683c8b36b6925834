//! Where profiles are: embedded in the binary, and a directory that adds to or overrides them.

use std::io::Read;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::schema::{MAX_BYTES, Profile};
use super::suggest::did_you_mean;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles/devices");
/// A directory with more files is not a profile directory.
const MAX_FILES: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("unknown device profile `{id}`: {hint}")]
    Unknown { id: String, hint: String },
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("profile `{name}`: {why}")]
    Invalid { name: String, why: String },
}

/// The profiles a command sees.
#[derive(Debug, Clone, Default)]
pub struct Library {
    dir: Option<PathBuf>,
}

impl Library {
    /// The embedded profiles, and those of `dir` before them.
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_owned) }
    }

    /// Ids of all profiles, sorted.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn ids(&self) -> Result<Vec<String>, ProfileError> {
        let mut ids: Vec<String> =
            EMBEDDED.files().filter_map(|f| stem(f.path())).map(str::to_owned).collect();
        if let Some(dir) = &self.dir {
            let read = |source| ProfileError::Read { path: dir.clone(), source };
            for entry in std::fs::read_dir(dir).map_err(read)?.take(MAX_FILES) {
                let path = entry.map_err(read)?.path();
                ids.extend(stem(&path).map(str::to_owned));
            }
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Reads one profile, the directory's before the embedded one.
    ///
    /// # Errors
    /// Unknown id (with the nearest one), unreadable or invalid file.
    pub fn load(&self, id: &str) -> Result<Profile, ProfileError> {
        let file = format!("{id}.toml");
        let plain = !id.is_empty() && !id.contains(['/', '\\']) && !id.starts_with('.');
        if let Some(path) =
            self.dir.as_ref().map(|d| d.join(&file)).filter(|p| plain && p.is_file())
        {
            return read_file(&path);
        }
        let Some(found) = EMBEDDED.get_file(&file).filter(|_| plain) else {
            let ids = self.ids()?;
            let hint = did_you_mean(
                id,
                ids.iter().map(String::as_str),
                "`edge-advisor profiles list` shows all",
            );
            return Err(ProfileError::Unknown { id: id.chars().take(80).collect(), hint });
        };
        let text = found.contents_utf8().unwrap_or_default();
        parse(text, id)
    }

    /// All profiles, in the order of their ids.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn all(&self) -> Result<Vec<Profile>, ProfileError> {
        self.ids()?.iter().map(|id| self.load(id)).collect()
    }
}

/// Reads and checks one profile file; its id must be the file's name.
///
/// # Errors
/// The file cannot be read, is too large, or is not a valid profile.
pub fn read_file(path: &Path) -> Result<Profile, ProfileError> {
    let read = |source| ProfileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(read)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    parse(&text, stem(path).unwrap_or_default())
}

fn parse(text: &str, name: &str) -> Result<Profile, ProfileError> {
    let invalid = |why| ProfileError::Invalid { name: name.to_owned(), why };
    let profile = Profile::parse(text).map_err(invalid)?;
    if profile.id != name {
        return Err(invalid(format!("its id is `{}`; file name and id must agree", profile.id)));
    }
    Ok(profile)
}

fn stem(path: &Path) -> Option<&str> {
    (path.extension()? == "toml").then(|| path.file_stem()?.to_str())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_profile_is_valid_and_there_are_enough() {
        let all = Library::default().all().unwrap();
        assert!(all.len() >= 120, "{}", all.len());
        for needed in ["phone", "sbc", "laptop", "desktop", "workstation", "server"] {
            let n = all.iter().filter(|p| serde_json::to_value(p.class).unwrap() == needed).count();
            assert!(n >= 5, "{needed}: {n}");
        }
    }

    #[test]
    fn an_unknown_id_names_the_nearest_and_a_path_is_no_id() {
        let e = Library::default().load("rtx-4900").unwrap_err().to_string();
        assert!(e.contains("did you mean `rtx-4"), "{e}");
        assert!(Library::default().load("../devices/rpi-5").is_err());
    }

    #[test]
    fn a_directory_overrides_an_embedded_profile() {
        let dir = tempfile::tempdir().unwrap();
        let text = EMBEDDED.get_file("rpi-5.toml").unwrap().contents_utf8().unwrap();
        std::fs::write(dir.path().join("rpi-5.toml"), text.replace("17.1", "16.5")).unwrap();
        let library = Library::new(Some(dir.path()));
        assert_eq!(library.load("rpi-5").unwrap().memory.bandwidth_gbs, Some(16.5));
        assert!(library.load("rtx-4090").is_ok());
    }
}

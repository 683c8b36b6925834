//! Unpacks wheels (zip) and npm packages (gzipped tar): regular files only, inside the target, bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Most bytes and entries an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: u64,
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 << 30, entries: 50_000 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("cannot read archive `{path}`: {why}")]
    Read { path: PathBuf, why: String },
    #[error("`{path}` is neither a zip archive nor a gzipped tar")]
    UnknownKind { path: PathBuf },
    #[error("refusing to unpack `{path}`: {why}")]
    Unsafe { path: PathBuf, why: String },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Unpacks into `into` (made if missing) the entries for which `place` gives a relative path; returns how
/// many files were written. Entries with a path that leaves the target, links and special files are errors
/// even where `place` would not want them.
pub fn extract(
    archive: &Path,
    into: &Path,
    limits: Limits,
    place: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<usize, ExtractError> {
    let read = |e: io::Error| ExtractError::Read { path: archive.to_owned(), why: e.to_string() };
    let mut magic = [0u8; 4];
    let mut file = File::open(archive).map_err(read)?;
    file.read_exact(&mut magic).map_err(read)?;
    let file = File::open(archive).map_err(read)?;
    let mut unpacker = Unpacker { archive, into, limits, place, bytes: 0, entries: 0, written: 0 };
    match magic {
        [b'P', b'K', 3, 4] => unpacker.zip(file)?,
        [0x1f, 0x8b, ..] => unpacker.tgz(file)?,
        _ => return Err(ExtractError::UnknownKind { path: archive.to_owned() }),
    }
    Ok(unpacker.written)
}

struct Unpacker<'a> {
    archive: &'a Path,
    into: &'a Path,
    limits: Limits,
    place: &'a dyn Fn(&str) -> Option<PathBuf>,
    bytes: u64,
    entries: usize,
    written: usize,
}

impl Unpacker<'_> {
    fn zip(&mut self, file: File) -> Result<(), ExtractError> {
        let mut zip =
            zip::ZipArchive::new(io::BufReader::new(file)).map_err(|e| self.damaged(e))?;
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(|e| self.damaged(e))?;
            let name = entry.name().map_err(|e| self.damaged(e))?.into_owned();
            // Wheels made on Windows leave the mode out; a link always has one.
            let kind = entry.unix_mode().unwrap_or(0) & 0o170_000;
            if entry.is_symlink() || !matches!(kind, 0 | 0o100_000 | 0o040_000) {
                return Err(self.hostile(&name, "a link or special file"));
            }
            let executable = entry.unix_mode().is_some_and(|m| m & 0o100 != 0);
            let is_dir = entry.is_dir();
            self.entry(&name, is_dir, executable, &mut entry)?;
        }
        Ok(())
    }

    fn tgz(&mut self, file: File) -> Result<(), ExtractError> {
        let plain = flate2::read::MultiGzDecoder::new(io::BufReader::new(file));
        let mut tar = tar::Archive::new(plain);
        for entry in tar.entries().map_err(|e| self.damaged(e))? {
            let mut entry = entry.map_err(|e| self.damaged(e))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            if kind.is_pax_global_extensions() {
                continue;
            }
            if !kind.is_file() && !kind.is_dir() {
                return Err(self.hostile(&name, "a link or special file"));
            }
            let executable = entry.header().mode().is_ok_and(|m| m & 0o100 != 0);
            self.entry(&name, kind.is_dir(), executable, &mut entry)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        name: &str,
        is_dir: bool,
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), ExtractError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.hostile(name, "too many entries"));
        }
        if !is_inside(name) {
            return Err(self.hostile(name, "its path leaves the target directory"));
        }
        let Some(target) = (self.place)(name).filter(|_| !is_dir) else { return Ok(()) };
        let target = self.into.join(target);
        let write = |source| ExtractError::Write { path: target.clone(), source };
        if let Some(dir) = target.parent() {
            std::fs::create_dir_all(dir).map_err(write)?;
        }
        // `create_new` also refuses a second entry of the same name.
        let mut out =
            OpenOptions::new().write(true).create_new(true).open(&target).map_err(write)?;
        let left = self.limits.bytes - self.bytes;
        let copied = io::copy(&mut content.take(left.saturating_add(1)), &mut out);
        let copied = copied.map_err(|e| self.damaged(e))?;
        if copied > left {
            return Err(self.hostile(name, "it unpacks to more than the limit"));
        }
        self.bytes += copied;
        self.written += 1;
        if executable {
            set_executable(&out).map_err(write)?;
        }
        Ok(())
    }

    fn damaged(&self, e: impl std::fmt::Display) -> ExtractError {
        ExtractError::Read { path: self.archive.to_owned(), why: e.to_string() }
    }

    fn hostile(&self, name: &str, why: &str) -> ExtractError {
        let why = format!("entry `{}`: {why}", name.escape_debug());
        ExtractError::Unsafe { path: self.archive.to_owned(), why }
    }
}

/// A relative path of plain names, on every platform.
fn is_inside(name: &str) -> bool {
    let plain =
        Path::new(name).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    plain && !name.is_empty() && !name.contains(['\\', ':', '\0'])
}

#[cfg(unix)]
fn set_executable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn set_executable(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tgz(dir: &Path, entries: &[(&str, tar::EntryType, &[u8])]) -> PathBuf {
        let path = dir.join("a.tgz");
        let gz = flate2::write::GzEncoder::new(File::create(&path).unwrap(), Default::default());
        let mut builder = tar::Builder::new(gz);
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_old();
            // Written raw: the crate's own setter refuses hostile names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if kind.is_symlink() {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        path
    }

    fn everything(name: &str) -> Option<PathBuf> {
        Some(name.into())
    }

    #[test]
    fn a_tgz_and_a_zip_unpack_to_the_wanted_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = tar::EntryType::Regular;
        let archive = tgz(dir.path(), &[("p/a", file, b"one"), ("p/b", file, b"two")]);
        let only_a = |n: &str| n.strip_prefix("p/").filter(|n| *n == "a").map(PathBuf::from);
        let into = dir.path().join("t");
        assert_eq!(extract(&archive, &into, Limits::default(), &only_a).unwrap(), 1);
        assert_eq!(std::fs::read(into.join("a")).unwrap(), b"one");
        assert!(!into.join("b").exists());

        let zip_path = dir.path().join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&zip_path).unwrap());
        zip.start_file("x/y", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"three").unwrap();
        zip.finish().unwrap();
        let into = dir.path().join("z");
        assert_eq!(extract(&zip_path, &into, Limits::default(), &everything).unwrap(), 1);
        assert_eq!(std::fs::read(into.join("x/y")).unwrap(), b"three");
    }

    #[test]
    fn paths_that_leave_the_target_and_links_are_refused() {
        let file = tar::EntryType::Regular;
        let hostile = [
            ("../evil", file),
            ("/evil", file),
            ("a/../../evil", file),
            ("a\\..\\evil", file),
            ("C:evil", file),
            ("link", tar::EntryType::Symlink),
            ("dev", tar::EntryType::Char),
        ];
        for (name, kind) in hostile {
            let dir = tempfile::tempdir().unwrap();
            let archive = tgz(dir.path(), &[(name, kind, b"")]);
            let into = dir.path().join("in");
            let e = extract(&archive, &into, Limits::default(), &everything).unwrap_err();
            assert!(matches!(e, ExtractError::Unsafe { .. }), "{name}: {e}");
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn a_zip_with_a_hostile_name_or_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (i, link) in [(0, false), (1, true)] {
            let path = dir.path().join(format!("{i}.zip"));
            let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
            let options = zip::write::SimpleFileOptions::default();
            if link {
                zip.add_symlink("l", "/etc", options).unwrap();
            } else {
                zip.start_file("../evil", options).unwrap();
            }
            zip.finish().unwrap();
            let into = dir.path().join("in");
            let e = extract(&path, &into, Limits::default(), &everything).unwrap_err();
            assert!(matches!(e, ExtractError::Unsafe { .. }), "{e}");
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_too_much_stops_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0u8; 100_000];
        let archive = tgz(dir.path(), &[("bomb", tar::EntryType::Regular, &zeros)]);
        let limits = Limits { bytes: 1000, entries: 5 };
        let into = dir.path().join("in");
        let e = extract(&archive, &into, limits, &everything).unwrap_err();
        assert!(e.to_string().contains("more than the limit"), "{e}");
        assert!(std::fs::metadata(into.join("bomb")).unwrap().len() <= 1001);
    }

    #[test]
    fn damaged_and_foreign_files_are_one_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
        let e = extract(&path, dir.path(), Limits::default(), &everything).unwrap_err();
        assert!(matches!(e, ExtractError::Read { .. }), "{e}");
        std::fs::write(&path, b"GGUF....").unwrap();
        let e = extract(&path, dir.path(), Limits::default(), &everything).unwrap_err();
        assert!(matches!(e, ExtractError::UnknownKind { .. }), "{e}");
    }
}

//! Cold loads: a variant's files leave the page cache before they are read.

use std::path::{Path, PathBuf};

/// Files of one variant at most; adapters and shards stay far below.
const MAX_FILES: usize = 4096;

/// Drops the files of `variant` (a file with its siblings of the same stem, or a directory) from the page cache.
///
/// Needs no privilege: dirty pages are written back first. Pages that another process has mapped stay.
pub(super) fn evict(variant: &Path) -> Result<(), String> {
    for file in files(variant) {
        drop_pages(&file).map_err(|e| format!("`{}`: {e}", file.display()))?;
    }
    Ok(())
}

fn files(variant: &Path) -> Vec<PathBuf> {
    let of = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        entries.map(|e| e.path()).filter(|p| p.is_file()).take(MAX_FILES).collect()
    };
    if variant.is_dir() {
        return of(variant);
    }
    // `model.xml` and `model.bin`, `model.onnx` and `model.onnx.data`.
    let stem = variant.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let belongs = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with('.'))
    };
    of(variant.parent().unwrap_or(Path::new("."))).into_iter().filter(belongs).collect()
}

#[cfg(target_os = "linux")]
fn drop_pages(file: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(file)?;
    rustix::fs::fdatasync(&file)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn drop_pages(_: &Path) -> std::io::Result<()> {
    Err(std::io::Error::other("this system offers no way to empty the page cache of a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_its_file_with_the_data_beside_it_or_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["m.onnx", "m.onnx.data", "m.json", "model.onnx", "m2.onnx"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        let names = |path: &Path| {
            let mut names: Vec<String> = files(path)
                .iter()
                .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&dir.path().join("m.onnx")), ["m.json", "m.onnx", "m.onnx.data"]);
        assert_eq!(names(dir.path()).len(), 5);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn evicted_files_keep_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        evict(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 1 << 20]);
    }
}

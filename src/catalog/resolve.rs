//! From what a user typed, a name or a path, to a file on this machine.

use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::load::{Catalog, CatalogError};

/// A model that is here.
#[derive(Debug, Clone)]
pub struct ResolvedModel {
    /// Catalogue name, or the file's stem.
    pub name: String,
    /// A file, or a directory for a model of several files.
    pub path: PathBuf,
    /// Where the name is in the catalogue.
    pub entry: Option<Entry>,
}

/// Where pulled models are kept: one directory each, named as in the catalogue.
pub fn models_dir() -> PathBuf {
    crate::dirs::data().join("models")
}

/// Finds a model by path or by catalogue name. Fails with a hint how to get it where it is not here.
pub fn resolve_model(name_or_path: &str) -> Result<ResolvedModel, CatalogError> {
    resolve_in(name_or_path, &models_dir())
}

fn resolve_in(name_or_path: &str, models: &Path) -> Result<ResolvedModel, CatalogError> {
    let catalog = Catalog::load()?;
    let path = Path::new(name_or_path);
    if path.exists() {
        return Ok(from_path(path, models, &catalog));
    }
    if looks_like_path(path) {
        return Err(CatalogError::NoFile { path: path.to_owned() });
    }
    let entry = catalog.get(name_or_path)?;
    match find_model(&models.join(&entry.name)) {
        Some(path) => {
            Ok(ResolvedModel { name: entry.name.clone(), path, entry: Some(entry.clone()) })
        }
        None => Err(CatalogError::NotHere { name: entry.name.clone() }),
    }
}

fn looks_like_path(path: &Path) -> bool {
    path.components().count() > 1
        || path.extension().is_some_and(|e| ["gguf", "onnx", "safetensors"].iter().any(|x| e == *x))
}

fn from_path(path: &Path, models: &Path, catalog: &Catalog) -> ResolvedModel {
    let parent = path.parent().and_then(Path::file_name);
    let pulled = path.starts_with(models).then_some(parent).flatten();
    let entry = pulled.and_then(|name| catalog.get(name.to_str()?).ok()).cloned();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = entry.as_ref().map_or(stem, |e| e.name.clone());
    ResolvedModel { name, path: path.to_owned(), entry }
}

/// What to open in a model's directory: a GGUF (the largest, so the closest to the original), an ONNX file, or the
/// directory itself where it holds safetensors.
pub(crate) fn find_model(dir: &Path) -> Option<PathBuf> {
    let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|item| Some((item.metadata().ok().filter(|m| m.is_file())?.len(), item.path())))
        .collect();
    files.sort();
    let largest = |extension: &str| {
        files.iter().rfind(|(_, p)| p.extension().is_some_and(|e| e == extension))
    };
    if let Some((_, path)) = largest("gguf").or_else(|| largest("onnx")) {
        return Some(first_part(path).unwrap_or_else(|| path.clone()));
    }
    largest("safetensors").map(|(_, path)| match dir.join("config.json").is_file() {
        true => dir.to_owned(),
        false => path.clone(),
    })
}

/// `x-00001-of-00003.gguf` for any part of a split model.
fn first_part(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (head, count) = name.rsplit_once("-of-")?;
    let (stem, number) = head.rsplit_once('-')?;
    let digits = number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| path.with_file_name(format!("{stem}-00001-of-{count}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_resolves_once_its_file_is_there() {
        let dir = tempfile::TempDir::new().unwrap();
        let missing = resolve_in("smollm2-135m", dir.path()).unwrap_err();
        assert!(matches!(missing, CatalogError::NotHere { .. }));
        assert_eq!(missing.hint(), "edge-advisor models pull smollm2-135m");
        let home = dir.path().join("smollm2-135m");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("a.gguf.part"), "12345").unwrap();
        assert!(resolve_in("smollm2-135m", dir.path()).is_err(), "a partial file is no model");
        std::fs::write(home.join("a.gguf"), "1").unwrap();
        std::fs::write(home.join("b.gguf"), "123").unwrap();
        let found = resolve_in("SmolLM2-135M", dir.path()).unwrap();
        assert_eq!((found.name.as_str(), &found.path), ("smollm2-135m", &home.join("b.gguf")));
        let by_path = resolve_in(found.path.to_str().unwrap(), dir.path()).unwrap();
        assert_eq!(by_path.entry.unwrap().name, "smollm2-135m");
    }

    #[test]
    fn a_missing_path_is_not_taken_for_a_name() {
        let dir = tempfile::TempDir::new().unwrap();
        for path in ["no/such/file", "nothing.gguf"] {
            assert!(matches!(resolve_in(path, dir.path()), Err(CatalogError::NoFile { .. })));
        }
    }

    #[test]
    fn a_split_model_opens_at_its_first_part() {
        let path = Path::new("d/m-00003-of-00004.gguf");
        assert_eq!(first_part(path), Some(PathBuf::from("d/m-00001-of-00004.gguf")));
        assert_eq!(first_part(Path::new("d/m.gguf")), None);
    }
}

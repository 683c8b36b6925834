//! Split models: `name-00001-of-00003.gguf` and its siblings read as one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::head::Gguf;
use crate::formats::FormatError;

const MAX_PARTS: u64 = 1000;

/// The files that make up the model of which `first` is one; `None` where it is whole.
pub(super) fn expected_parts(
    first: &Gguf,
    path: &Path,
) -> Result<Option<Vec<PathBuf>>, FormatError> {
    let count = first.u64("split.count").unwrap_or(1);
    if count <= 1 {
        return Ok(None);
    }
    if count > MAX_PARTS {
        return Err(FormatError::damaged(path, format!("{count} parts, the limit is {MAX_PARTS}")));
    }
    let stem = stem(path, count).ok_or_else(|| {
        let why =
            format!("one of {count} parts, but its name does not end in -NNNNN-of-{count:05}.gguf");
        FormatError::damaged(path, why)
    })?;
    let paths = (1..=count)
        .map(|n| path.with_file_name(format!("{stem}-{n:05}-of-{count:05}.gguf")))
        .collect::<Vec<_>>();
    match paths.iter().find(|p| !p.is_file()) {
        Some(missing) => {
            Err(FormatError::MissingPart { path: path.to_owned(), missing: missing.clone() })
        }
        None => Ok(Some(paths)),
    }
}

fn stem(path: &Path, count: u64) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(&format!("-of-{count:05}.gguf"))?;
    let (stem, number) = name.rsplit_once('-')?;
    (number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit())).then_some(stem)
}

/// Opens all parts; metadata is the first one's.
pub(super) fn merge(path: &Path, paths: &[PathBuf]) -> Result<Gguf, FormatError> {
    let mut whole = Gguf::open_one(&paths[0])?;
    let wanted = whole.u64("split.tensors.count");
    let mut names: HashSet<String> = whole.tensors.iter().map(|t| t.name.clone()).collect();
    for (number, part_path) in paths.iter().enumerate().skip(1) {
        let part = Gguf::open_one(part_path)?;
        if part.u64("split.no") != Some(number as u64) {
            let why = format!("its split.no is not {number}");
            return Err(FormatError::damaged(part_path, why));
        }
        for mut tensor in part.tensors {
            if !names.insert(tensor.name.clone()) {
                let why = format!("tensor `{}` is in two parts", tensor.name);
                return Err(FormatError::damaged(part_path, why));
            }
            tensor.part = number;
            whole.tensors.push(tensor);
        }
        whole.parts.extend(part.parts);
    }
    match wanted {
        Some(n) if n != whole.tensors.len() as u64 => {
            let why = format!("{n} tensors declared, {} in its parts", whole.tensors.len());
            Err(FormatError::damaged(path, why))
        }
        _ => Ok(whole),
    }
}

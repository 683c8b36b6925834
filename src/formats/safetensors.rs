//! safetensors headers, single or sharded, and the `config.json` beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::FormatError;
use super::config::Config;
use super::inspect::main_type;
use super::names::{SAFETENSORS_TYPES, role_of_path};
use crate::model::{ModelKind, ModelSpec, Role, TensorSpec};

/// The format's own limit.
const MAX_HEADER: u64 = 100_000_000;
const MAX_TENSORS: usize = 1 << 18;
const MAX_SHARDS: usize = 1000;
const MAX_INDEX: u64 = 64 << 20;

/// Tensors of one or more files.
#[derive(Debug, Clone, PartialEq)]
pub struct Safetensors {
    pub files: Vec<(PathBuf, u64)>,
    pub tensors: Vec<TensorSpec>,
}

impl Safetensors {
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(TensorSpec::elements).sum()
    }

    /// Storage type of most bytes.
    pub fn main_type(&self) -> String {
        main_type(self.tensors.iter().map(|t| (t.dtype.clone(), t.bytes)))
    }

    /// The weights and the configuration of the Hugging Face directory they were read from.
    pub fn source_files(&self, dir: &Path) -> Vec<PathBuf> {
        let weights = self.files.iter().map(|(path, _)| path.clone());
        weights.chain([dir.join("config.json")]).collect()
    }
}

#[derive(Deserialize)]
struct Item {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads a `.safetensors` file, or a directory with one, with an index of several, or with several.
pub fn read(path: &Path) -> Result<Safetensors, FormatError> {
    let paths = if path.is_dir() { shards(path)? } else { vec![path.to_owned()] };
    let mut out = Safetensors { files: Vec::new(), tensors: Vec::new() };
    for file in paths {
        let bytes = read_header(&file, &mut out.tensors)?;
        out.files.push((file, bytes));
    }
    out.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = out.tensors.windows(2).find(|p| p[0].name == p[1].name) {
        let why = format!("tensor `{}` appears twice", pair[0].name);
        return Err(FormatError::damaged(path, why));
    }
    Ok(out)
}

/// The model's shape: layers from `config.json` where there is one.
pub fn to_spec(path: &Path, read: &Safetensors) -> Result<ModelSpec, FormatError> {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let config = Config::read(&dir.join("config.json"))?;
    let mut spec = config.unwrap_or_default().spec(path)?;
    let packing = spec.packed_bits;
    let elements = |t: &TensorSpec| match (t.dtype.as_str(), packing) {
        // MLX packs 32 / bits weights into one number.
        ("U32", Some(bits)) => t.elements().saturating_mul(32) / bits,
        _ => t.elements(),
    };
    let counted = |t: &&TensorSpec| !matches!(t.dtype.as_str(), "I64" | "I32" | "BOOL");
    let all = read.tensors.iter().filter(counted);
    spec.model.parameters = all.clone().map(elements).fold(0, u64::saturating_add);
    let routed = all.filter(|t| t.role == Role::Expert).map(elements).fold(0, u64::saturating_add);
    let idle = match u64::from(spec.model.experts) {
        0 => 0,
        n => routed / n * (n - u64::from(spec.model.experts_used.min(spec.model.experts))),
    };
    spec.model.active_parameters = spec.model.parameters - idle;
    let has_head = read.tensors.iter().any(|t| t.role == Role::Output);
    spec.model.tied_output |= !has_head && spec.model.kind == ModelKind::Llm;
    spec.model.tensors = read.tensors.clone();
    Ok(spec.model)
}

fn shards(dir: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = dir.join("model.safetensors.index.json");
    if index.is_file() {
        return indexed(dir, &index);
    }
    let items = std::fs::read_dir(dir).map_err(|e| FormatError::read(dir, e))?;
    let mut found: Vec<PathBuf> = items
        .flatten()
        .map(|i| i.path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .take(MAX_SHARDS)
        .collect();
    found.sort();
    match found.is_empty() {
        true => Err(FormatError::NotThisFormat {
            path: dir.to_owned(),
            wanted: "a model directory",
            why: "it has no .safetensors file".into(),
        }),
        false => Ok(found),
    }
}

fn indexed(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, FormatError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = super::read_text(index, MAX_INDEX)?;
    let parsed: Index =
        serde_json::from_str(&text).map_err(|e| FormatError::damaged(index, e.to_string()))?;
    let names: std::collections::BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.len() > MAX_SHARDS {
        return Err(FormatError::damaged(index, format!("{} files", names.len())));
    }
    let mut out = Vec::new();
    for name in names {
        if name.contains(['/', '\\', ':']) || name.starts_with('.') {
            let why = format!("`{}` is no plain file name", name.escape_debug());
            return Err(FormatError::damaged(index, why));
        }
        let path = dir.join(&name);
        if !path.is_file() {
            return Err(FormatError::MissingPart { path: dir.to_owned(), missing: path });
        }
        out.push(path);
    }
    Ok(out)
}

/// Appends the tensors of one file; returns its size.
fn read_header(path: &Path, tensors: &mut Vec<TensorSpec>) -> Result<u64, FormatError> {
    let mut file = File::open(path).map_err(|e| FormatError::read(path, e))?;
    let length = file.metadata().map_err(|e| FormatError::read(path, e))?.len();
    let wrong = |why: String| FormatError::NotThisFormat {
        path: path.to_owned(),
        wanted: "a safetensors file",
        why,
    };
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| wrong(format!("it has {length} bytes")))?;
    let header = u64::from_le_bytes(size);
    if header > MAX_HEADER {
        return Err(wrong(format!("a header of {header} bytes, the limit is {MAX_HEADER}")));
    }
    let start = header + 8;
    if start > length {
        return Err(FormatError::Truncated {
            path: path.to_owned(),
            what: "the header".into(),
            needed: start,
            found: length,
        });
    }
    let mut text = vec![0; header as usize];
    file.read_exact(&mut text).map_err(|e| FormatError::read(path, e))?;
    let items: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&text).map_err(|e| wrong(format!("its header is no JSON: {e}")))?;
    let first = tensors.len();
    let mut end = 0;
    let mut ranges = Vec::new();
    for (name, value) in items {
        if name == "__metadata__" {
            continue;
        }
        if tensors.len() == MAX_TENSORS {
            return Err(FormatError::damaged(path, format!("more than {MAX_TENSORS} tensors")));
        }
        let item: Item = serde_json::from_value(value)
            .map_err(|e| FormatError::damaged(path, format!("tensor `{name}`: {e}")))?;
        let tensor = tensor_of(path, name, item, &mut ranges)?;
        end = end.max(ranges.last().map_or(0, |r: &(u64, u64)| r.1));
        tensors.push(tensor);
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|p| p[0].1 > p[1].0) {
        return Err(FormatError::damaged(path, "tensors overlap"));
    }
    if start.saturating_add(end) > length {
        return Err(FormatError::Truncated {
            path: path.to_owned(),
            what: format!("data of {} tensors", tensors.len() - first),
            needed: start.saturating_add(end),
            found: length,
        });
    }
    Ok(length)
}

fn tensor_of(
    path: &Path,
    name: String,
    item: Item,
    ranges: &mut Vec<(u64, u64)>,
) -> Result<TensorSpec, FormatError> {
    let [from, to] = item.data_offsets;
    let bytes = to.checked_sub(from);
    let elements = item.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let bits = SAFETENSORS_TYPES.iter().find(|(t, _)| *t == item.dtype).map(|(_, b)| *b);
    let fits = match (bytes, elements, bits) {
        (Some(bytes), Some(n), Some(bits)) => {
            u128::from(n) * u128::from(bits) == u128::from(bytes) * 8
        }
        // A type newer than our table: only its offsets can be checked.
        (Some(_), Some(_), None) => true,
        _ => false,
    };
    let Some(bytes) = bytes.filter(|_| fits) else {
        let why = format!("tensor `{name}` of {} {:?} in {from}..{to}", item.dtype, item.shape);
        return Err(FormatError::damaged(path, why));
    };
    ranges.push((from, to));
    Ok(TensorSpec {
        role: role_of_path(&name),
        name,
        shape: item.shape.into_iter().rev().collect(),
        dtype: item.dtype,
        bytes,
    })
}

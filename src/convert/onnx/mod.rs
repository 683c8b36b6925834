//! From a source GGUF to an ONNX graph in the cache, weights beside it.

mod blocks;
mod decoder;
mod encoder;
mod graph;
mod proto;
mod recipe;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::graph::Builder;
use self::recipe::Store;
use self::source::Source;
use super::{ConvertError, source_sha256};
use crate::backend::BackendError;
use crate::backend::candle::config::Config;
use crate::formats::gguf::{Gguf, Mixture, TensorInfo};
use crate::formats::onnx;
use crate::model::{Precision, TypeCount, Variant};

pub use encoder::graph_source;
pub use recipe::ONNX_PRECISIONS;

/// What makes the variants; part of the cache path, so a change of graph or recipe makes them anew.
const TOOL: &str = "edge-advisor-onnx1";

/// Makes `source`, a GGUF decoder, into an ONNX graph at `precision`, or finds it under `cache`.
///
/// Fails where the architecture is not one that `Config` knows, the precision not one of [`ONNX_PRECISIONS`], or a tensor
/// cannot be expanded.
pub fn onnx_variant(
    model: &str,
    source: &Path,
    precision: Precision,
    cache: &Path,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<Variant, ConvertError> {
    let gguf = Gguf::open(source)?;
    let config = Config::read(&gguf).map_err(|e| match e {
        BackendError::Unsupported(why) => ConvertError::Unsupported(why),
        other => ConvertError::Damaged(other.to_string()),
    })?;
    let plan = Plan::new(&gguf, precision)?;
    progress(0.0, "hashing the source");
    let parts: Vec<PathBuf> = gguf.parts.iter().map(|p| p.path.clone()).collect();
    let sha256 = source_sha256(&parts, cache)?;
    let parent = cache.join(&sha256).join(TOOL);
    let dir = parent.join(precision.to_string());
    // The reader checks that the weights are all there.
    if onnx::read(&dir.join("model.onnx")).is_err() {
        let write = |e| ConvertError::write(&parent, e);
        fs::create_dir_all(&parent).map_err(write)?;
        let staging =
            tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(write)?;
        let mut builder = Builder::create(staging.path())?;
        let source = Source::open(&gguf, progress)?;
        decoder::write(&config, source, &|t| plan.store(t), &mut builder)?;
        builder.finish(staging.path())?;
        keep(staging, &dir).map_err(write)?;
    }
    let size = |name: &str| {
        let path = dir.join(name);
        fs::metadata(&path).map(|m| m.len()).map_err(|e| ConvertError::read(&path, e))
    };
    let size_bytes = size("model.onnx")? + size(graph::DATA)?;
    Ok(plan.describe(model, precision, &gguf, dir.join("model.onnx"), size_bytes, sha256))
}

/// Puts a finished variant in place of a damaged one; one that another process has made meanwhile stays.
fn keep(staging: tempfile::TempDir, dir: &Path) -> std::io::Result<()> {
    if onnx::read(&dir.join("model.onnx")).is_ok() {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    let made = staging.keep();
    fs::rename(&made, dir).or_else(|e| {
        fs::remove_dir_all(&made)?;
        onnx::read(&dir.join("model.onnx")).map(drop).map_err(|_| e)
    })
}

/// How each matrix is stored.
struct Plan {
    stores: BTreeMap<String, Store>,
    /// `wanted -> used: count`.
    fallbacks: Vec<String>,
}

impl Plan {
    fn new(gguf: &Gguf, precision: Precision) -> Result<Self, ConvertError> {
        let mixture = Mixture::of_file(precision, gguf);
        let mut notes: BTreeMap<String, u64> = BTreeMap::new();
        let mut stores = BTreeMap::new();
        for tensor in gguf.tensors.iter().filter(|t| is_matrix(t)) {
            let (store, note) =
                recipe::store(precision, mixture.as_ref(), tensor).ok_or_else(|| {
                    ConvertError::Unsupported(format!(
                        "{precision} has no form in ONNX graphs made from GGUF"
                    ))
                })?;
            if let Some(note) = note {
                *notes.entry(note).or_default() += 1;
            }
            stores.insert(tensor.name.clone(), store);
        }
        let fallbacks = notes.into_iter().map(|(note, n)| format!("{note}: {n}")).collect();
        Ok(Self { stores, fallbacks })
    }

    fn store(&self, tensor: &TensorInfo) -> Result<Store, ConvertError> {
        let text = || {
            ConvertError::Unsupported(format!("not supported here: `{}` as a matrix", tensor.name))
        };
        self.stores.get(&tensor.name).copied().ok_or_else(text)
    }

    fn describe(
        &self,
        model: &str,
        precision: Precision,
        gguf: &Gguf,
        path: PathBuf,
        size_bytes: u64,
        source_sha256: String,
    ) -> Variant {
        let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut source: BTreeMap<String, u64> = BTreeMap::new();
        for t in &gguf.tensors {
            let (name, bytes) = match self.stores.get(&t.name) {
                Some(s) => (s.name(), s.bytes(t.elements() / t.shape[0].max(1), t.shape[0])),
                None => ("F32".to_owned(), t.elements() * 4),
            };
            let entry = types.entry(name).or_default();
            *entry = (entry.0 + 1, entry.1 + bytes);
            *source.entry(t.type_name()).or_default() += t.bytes;
        }
        let mut types: Vec<TypeCount> = types
            .into_iter()
            .map(|(dtype, (tensors, bytes))| TypeCount { dtype, tensors, bytes })
            .collect();
        types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        let bytes: u64 = types.iter().map(|t| t.bytes).sum();
        let elements: u64 = gguf.tensors.iter().map(TensorInfo::elements).sum();
        let most = source.into_iter().max_by_key(|(_, bytes)| *bytes);
        Variant {
            model: model.to_owned(),
            precision,
            path,
            size_bytes,
            bits_per_weight: bytes as f64 * 8.0 / elements.max(1) as f64,
            types,
            made_by: TOOL.to_owned(),
            source_sha256,
            source_type: most.map(|(name, _)| name).unwrap_or_default(),
            fallbacks: self.fallbacks.clone(),
        }
    }
}

fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.shape.len() == 2 && tensor.name.ends_with(".weight")
}

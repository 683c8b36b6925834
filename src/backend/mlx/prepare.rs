//! Makes MLX model directories: floats from the source, then mlx-lm's own quantizer and writer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::config::Config;
use super::recipe::{Recipe, recipe};
use super::{environment, run};
use crate::backend::{BackendError, PrepareRequest};
use crate::convert::{gguf_variant, source_sha256};
use crate::formats::gguf::{Gguf, TensorInfo};
use crate::formats::main_type;
use crate::formats::safetensors::{self, Safetensors};
use crate::model::{Precision, TensorSpec, TypeCount, Variant};

/// Part of the cache path beside MLX's version: a change of `convert.py` makes variants anew.
const SCRIPT: &str = "1";
/// A variant may hold this much more than its precision says, in bits per weight: norms, rounding of rows.
const BITS_SLACK: f64 = 0.5;
const MAX_CONFIG: u64 = 4 << 20;

/// Where the floats come from.
enum Source {
    Gguf(Box<Gguf>),
    /// A Hugging Face directory: `config.json` and safetensors.
    Directory(Safetensors),
}

impl Source {
    fn open(path: &Path) -> Result<Self, BackendError> {
        let unreadable = |e: crate::formats::FormatError| {
            BackendError::Unsupported(format!("{e} (hint: {})", e.hint()))
        };
        if path.is_dir() {
            return safetensors::read(path).map(Source::Directory).map_err(unreadable);
        }
        Gguf::open(path).map(|g| Source::Gguf(Box::new(g))).map_err(unreadable)
    }

    fn files(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Source::Gguf(g) => g.parts.iter().map(|p| p.path.clone()).collect(),
            Source::Directory(s) => s.source_files(path),
        }
    }

    fn elements(&self) -> u64 {
        match self {
            Source::Gguf(g) => g.tensors.iter().map(TensorInfo::elements).sum(),
            Source::Directory(s) => s.elements(),
        }
    }

    /// Storage type of most bytes.
    fn main_type(&self) -> String {
        match self {
            Source::Gguf(g) => main_type(g.tensors.iter().map(|t| (t.type_name(), t.bytes))),
            Source::Directory(s) => s.main_type(),
        }
    }
}

/// Makes the variant, or finds it in the cache.
pub(super) fn prepare(mut request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    let precision = request.precision;
    let recipe = recipe(precision)
        .ok_or_else(|| BackendError::Unsupported(format!("MLX has no {precision}")))?;
    let env = environment()?;
    let source = Source::open(request.source)?;
    let config = match &source {
        Source::Gguf(gguf) => Some(Config::read(gguf)?),
        Source::Directory(_) => None,
    };
    (request.progress)(0.0, "hashing the source");
    let sha256 = source_sha256(&source.files(request.source), request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let tool = format!("mlx-{}-{SCRIPT}", env.version);
    let dir = request.cache.join(&sha256).join(&tool);
    let path = dir.join(precision.name());
    if let Some(known) = remembered(&path, &request) {
        return Ok(known);
    }
    let floats = match &source {
        Source::Gguf(gguf) => Some(floats(gguf, &mut request)?),
        Source::Directory(_) => None,
    };
    let cannot = |e: std::io::Error| BackendError::failed("cannot write the variant", e);
    fs::create_dir_all(&dir).map_err(cannot)?;
    let staging = tempfile::Builder::new().prefix(".part-").tempdir_in(&dir).map_err(cannot)?;
    let made = staging.path().join("model");
    let (dtype, quantize) = match recipe {
        Recipe::Float(dtype) => (dtype, None),
        // What published MLX models keep their scales and norms in.
        Recipe::Quantized(q) => ("float16", Some(q)),
    };
    let job = json!({
        "gguf": floats,
        "directory": request.source,
        "config": config.as_ref().map(|c| &c.json),
        "paired": config.as_ref().is_some_and(|c| c.paired),
        "dtype": dtype,
        "quantize": quantize,
        "out": made,
    });
    let step = &mut |fraction: f64, step: &str| (request.progress)(0.3 + 0.7 * fraction, step);
    run(&env, include_str!("convert.py"), &job, step)?;
    let weights = safetensors::read(&made).map_err(|e| BackendError::failed("MLX's file", e))?;
    let (types, fallbacks) = histogram(&weights, &quantization(&made)?, precision);
    let bytes: u64 = weights.tensors.iter().map(|t| t.bytes).sum();
    let bits = bytes as f64 * 8.0 / source.elements().max(1) as f64;
    if bits > precision.bits_per_weight() + BITS_SLACK {
        return Err(BackendError::Failed(format!(
            "MLX wrote {bits:.2} bits per weight, {precision} is {}: tensors were left unquantized",
            precision.bits_per_weight()
        )));
    }
    if path.exists() {
        fs::remove_dir_all(&path).map_err(cannot)?;
    }
    fs::rename(&made, &path).map_err(cannot)?;
    let variant = Variant {
        model: request.model.to_owned(),
        precision,
        size_bytes: size_of(&path).unwrap_or(bytes),
        path,
        bits_per_weight: bits,
        types,
        made_by: format!("mlx {}", env.version),
        source_sha256: sha256,
        source_type: source.main_type(),
        fallbacks,
    };
    remember(&variant);
    Ok(variant)
}

/// The source as one GGUF file of floats, which MLX reads: 16-bit unless the source or the wish is wider.
fn floats(gguf: &Gguf, request: &mut PrepareRequest<'_>) -> Result<PathBuf, BackendError> {
    let wide = gguf.tensors.iter().any(|t| t.shape.len() > 1 && matches!(t.type_id, F32 | BF16));
    let wanted = match request.precision {
        Precision::F32 | Precision::BF16 => Precision::F32,
        _ if wide => Precision::F32,
        _ => Precision::F16,
    };
    let progress = &mut *request.progress;
    let made =
        gguf_variant(request.model, request.source, wanted, request.cache, &mut |f, step| {
            progress(0.3 * f, step);
        })
        .map_err(|e| BackendError::Unsupported(e.to_string()))?;
    if made.path == request.source && gguf.parts.len() > 1 {
        return Err(BackendError::Unsupported(
            "a GGUF file split into parts is not read by MLX".into(),
        ));
    }
    Ok(made.path)
}

/// ggml's type ids.
const F32: u32 = 0;
const BF16: u32 = 30;

/// `quantization` of the written `config.json`: the default, and what single layers have instead.
#[derive(Debug, Default, Deserialize)]
struct Quantization {
    group_size: u32,
    bits: u32,
    #[serde(default = "affine")]
    mode: String,
    #[serde(flatten)]
    layers: BTreeMap<String, serde_json::Value>,
}

fn affine() -> String {
    "affine".to_owned()
}

impl Quantization {
    /// `4-bit g64`, `MXFP4`.
    fn label(&self) -> String {
        match self.mode.as_str() {
            "affine" => format!("{}-bit g{}", self.bits, self.group_size),
            mode => mode.to_uppercase(),
        }
    }

    fn of(&self, layer: &str) -> String {
        let own = self.layers.get(layer).and_then(|v| Quantization::deserialize(v).ok());
        own.map_or_else(|| self.label(), |q| q.label())
    }
}

fn quantization(dir: &Path) -> Result<Option<Quantization>, BackendError> {
    #[derive(Deserialize)]
    struct File {
        quantization: Option<Quantization>,
    }
    let path = dir.join("config.json");
    let bad = |why: String| BackendError::Failed(format!("MLX's config.json: {why}"));
    if fs::metadata(&path).map_err(|e| bad(e.to_string()))?.len() > MAX_CONFIG {
        return Err(bad("too large".into()));
    }
    let text = fs::read(&path).map_err(|e| bad(e.to_string()))?;
    let file: File = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    Ok(file.quantization)
}

/// Tensors and bytes by type, most bytes first: scales and biases belong to the matrix they are of. Beside it the
/// matrices that stayed floats.
fn histogram(
    weights: &Safetensors,
    quantization: &Option<Quantization>,
    precision: Precision,
) -> (Vec<TypeCount>, Vec<String>) {
    let by_name: BTreeMap<&str, &TensorSpec> =
        weights.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    for tensor in &weights.tensors {
        let Some((layer, part)) = tensor.name.rsplit_once('.') else { continue };
        let packed = by_name.contains_key(format!("{layer}.scales").as_str());
        let label = match quantization {
            Some(q) if packed => q.of(layer),
            Some(_) if part == "weight" && tensor.shape.len() > 1 => {
                *left.entry(tensor.dtype.clone()).or_default() += 1;
                tensor.dtype.clone()
            }
            _ => tensor.dtype.clone(),
        };
        let entry = types.entry(label).or_default();
        entry.0 += u64::from(!packed || part == "weight");
        entry.1 = entry.1.saturating_add(tensor.bytes);
    }
    let mut types: Vec<_> = types
        .into_iter()
        .map(|(dtype, (tensors, bytes))| TypeCount { dtype, tensors, bytes })
        .collect();
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    let left = left.into_iter().map(|(dtype, n)| format!("{precision} -> {dtype}: {n}")).collect();
    (types, left)
}

/// Bytes of the files of a directory.
fn size_of(dir: &Path) -> Option<u64> {
    fs::read_dir(dir).ok()?.map(|f| Some(f.ok()?.metadata().ok()?.len())).sum()
}

fn note_of(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// A variant made earlier, as long as its directory still has the size that was described.
fn remembered(path: &Path, request: &PrepareRequest<'_>) -> Option<Variant> {
    let known: Variant = serde_json::from_slice(&fs::read(note_of(path)).ok()?).ok()?;
    let whole = known.precision == request.precision && size_of(path) == Some(known.size_bytes);
    whole.then(|| Variant { model: request.model.to_owned(), path: path.to_owned(), ..known })
}

/// Best effort: without the note the variant is made again.
fn remember(variant: &Variant) {
    if let Ok(text) = serde_json::to_vec_pretty(variant) {
        let _ = fs::write(note_of(&variant.path), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[u64], dtype: &str, bytes: u64) -> TensorSpec {
        let role = crate::model::Role::Other;
        TensorSpec { name: name.into(), role, shape: shape.to_vec(), dtype: dtype.into(), bytes }
    }

    #[test]
    fn a_matrix_counts_with_its_scales_and_one_left_alone_is_named() {
        let tensors = vec![
            tensor("a.weight", &[8, 64], "U32", 2048),
            tensor("a.scales", &[1, 64], "F16", 128),
            tensor("a.biases", &[1, 64], "F16", 128),
            tensor("b.weight", &[12, 64], "U32", 3072),
            tensor("b.scales", &[1, 64], "F16", 128),
            tensor("c.weight", &[100, 7], "F16", 1400),
            tensor("norm.weight", &[64], "F16", 128),
        ];
        let weights = Safetensors { files: Vec::new(), tensors };
        let text = r#"{"group_size": 64, "bits": 4, "b": {"group_size": 64, "bits": 6, "mode": "affine"}}"#;
        let q: Quantization = serde_json::from_str(text).unwrap();
        let (types, left) = histogram(&weights, &Some(q), Precision::MlxQ4G64);
        let shown: Vec<_> = types.iter().map(|t| (t.dtype.as_str(), t.tensors, t.bytes)).collect();
        assert_eq!(shown, [("6-bit g64", 1, 3200), ("4-bit g64", 1, 2304), ("F16", 2, 1528)]);
        assert_eq!(left, ["4BIT_G64 -> F16: 1"]);
    }
}

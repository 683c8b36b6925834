//! Makes variants, or finds them in the cache: GGUF becomes IR through GenAI's reader, weights are compressed by NNCF.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::compress::{Recipe, precision_of, recipe};
use crate::backend::{BackendError, PrepareRequest};
use crate::convert::{gguf_variant, source_sha256};
use crate::formats::gguf::Gguf;
use crate::formats::{FormatError, OpenVinoIr, onnx};
use crate::model::{Precision, TypeCount, Variant};
use crate::probe::{LiveHost, host_state};
use crate::runtime::{self, ScriptLimits};

/// The managed environment with OpenVINO GenAI and NNCF.
const TOOLS: &str = "openvino-tools";
/// Part of the cache path beside the tools' version: another way of making gets its own place.
const METHOD: &str = "nncf1";
const SCRIPT: &str = include_str!("make.py");
/// A 7B model takes NNCF minutes; longer is a hang.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// A script may use this share of the memory that is free.
const MEMORY_SHARE: f64 = 0.9;

/// What a variant is made from.
enum Source {
    Gguf(Gguf),
    Ir(OpenVinoIr),
    Onnx(onnx::OnnxSummary),
}

impl Source {
    fn open(path: &Path) -> Result<Self, BackendError> {
        let refused =
            |e: FormatError| BackendError::Unsupported(format!("{e} (hint: {})", e.hint()));
        if let Some(xml) = OpenVinoIr::at(path) {
            return OpenVinoIr::open(&xml).map(Source::Ir).map_err(refused);
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("gguf") => Gguf::open(path).map(Source::Gguf).map_err(refused),
            Some("onnx") => onnx::read(path).map(Source::Onnx).map_err(refused),
            _ => Err(BackendError::Unsupported(format!(
                "OpenVINO reads .gguf, .onnx and IR (.xml), not `{}`",
                path.display()
            ))),
        }
    }

    /// All files that make it up.
    fn files(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Source::Gguf(g) => g.parts.iter().map(|p| p.path.clone()).collect(),
            Source::Ir(ir) => {
                let weights = Some(&ir.weights).filter(|w| w.is_file());
                std::iter::once(&ir.xml).chain(weights).cloned().collect()
            }
            Source::Onnx(o) => {
                let beside = |name: &String| path.with_file_name(name);
                let external = o.external.iter().map(|e| beside(&e.name));
                std::iter::once(path.to_owned()).chain(external).collect()
            }
        }
    }

    /// The precision that the file itself has, where it needs no making.
    fn own(&self) -> Option<Precision> {
        match self {
            Source::Gguf(_) => None,
            Source::Ir(ir) => precision_of(ir),
            Source::Onnx(o) => match main_type(o) {
                Some("FLOAT") => Some(Precision::F32),
                Some("FLOAT16") => Some(Precision::F16),
                Some("BFLOAT16") => Some(Precision::BF16),
                Some(_) => Some(Precision::Int8),
                None => None,
            },
        }
    }

    fn main_type_name(&self) -> String {
        match self {
            Source::Gguf(g) => first(types(g.tensors.iter().map(|t| (t.type_name(), t.bytes)))),
            Source::Ir(ir) => first(types_of(ir)),
            Source::Onnx(o) => main_type(o).unwrap_or_default().to_owned(),
        }
    }
}

fn main_type(onnx: &onnx::OnnxSummary) -> Option<&str> {
    let bytes = |dtype: &str| {
        onnx.tensors.iter().filter(|t| t.dtype == dtype).map(|t| t.bytes).sum::<u64>()
    };
    let weights = onnx.tensors.iter().filter(|t| !matches!(t.dtype.as_str(), "INT64" | "BOOL"));
    weights.map(|t| t.dtype.as_str()).max_by_key(|t| bytes(t))
}

fn first(types: Vec<TypeCount>) -> String {
    types.into_iter().next().map(|t| t.dtype).unwrap_or_default()
}

/// Makes the variant, or finds it in the cache.
pub(super) fn prepare(mut request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    let precision = request.precision;
    let source = Source::open(request.source)?;
    (request.progress)(0.0, "hashing the source");
    let sha256 = source_sha256(&source.files(request.source), request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let own = source.own();
    if own == Some(precision) {
        return as_it_is(&request, &source, sha256);
    }
    let recipe = recipe(precision).ok_or_else(|| {
        BackendError::Unsupported(format!("OpenVINO's tools make no {precision}"))
    })?;
    if let Some(own) = own.filter(|p| !is_float(*p)) {
        let why =
            format!("the model is {own} already: compressed weights are not compressed again");
        return Err(BackendError::Unsupported(why));
    }
    let tools = Tools::here()?;
    let dir = request.cache.join(&sha256).join(&tools.tag);
    fs::create_dir_all(&dir).map_err(|e| BackendError::failed("cannot make the cache", e))?;
    // Another set of calibration inputs makes another variant.
    let set = match (recipe, request.inputs) {
        (Recipe::Calibrated, Some(inputs)) => inputs.file_stem().and_then(|s| s.to_str()),
        (Recipe::Calibrated, None) => {
            let why = "static quantization needs calibration inputs";
            return Err(BackendError::Unsupported(why.into()));
        }
        _ => None,
    };
    let name = set.map_or_else(|| precision.to_string(), |s| format!("{precision}-{s}"));
    let path = dir.join(format!("{name}.xml"));
    if let Some(known) = remembered(&path, &request) {
        return Ok(known);
    }
    let made_by = tools.tag.clone();
    let base = match &source {
        Source::Gguf(_) => tools.base_ir(&mut request, &dir)?,
        Source::Ir(ir) => ir.xml.clone(),
        Source::Onnx(_) => request.source.to_owned(),
    };
    // The reader's own output is F16 already.
    if base != path {
        let inputs = request.inputs.map(Path::to_owned);
        tools.run(&mut request, &path, |target| {
            let mut text = recipe.request();
            text["task"] = json!("variant");
            text["source"] = json!(base);
            text["target"] = json!(target);
            text["inputs"] = json!(inputs);
            text
        })?;
    }
    let variant = describe(&request, &source, &path, recipe, made_by, sha256)?;
    remember(&path, &variant);
    Ok(variant)
}

fn is_float(p: Precision) -> bool {
    matches!(p, Precision::F32 | Precision::F16 | Precision::BF16)
}

/// The environment and what it calls itself in cache paths and records.
struct Tools {
    env: runtime::PythonEnv,
    tag: String,
}

impl Tools {
    fn here() -> Result<Self, BackendError> {
        let env = runtime::python_env(TOOLS).ok_or_else(|| BackendError::NotInstalled {
            hint: format!("edge-advisor runtime install {TOOLS}"),
        })?;
        Ok(Self { tag: format!("{TOOLS}-{}-{METHOD}", env.version), env })
    }

    /// The F16 IR of a GGUF file, made once: GenAI's reader takes F16 without loss, other types not or not well.
    fn base_ir(
        &self,
        request: &mut PrepareRequest<'_>,
        dir: &Path,
    ) -> Result<PathBuf, BackendError> {
        let path = dir.join(format!("{}.xml", Precision::F16));
        if OpenVinoIr::open(&path).is_ok() {
            return Ok(path);
        }
        let f16 = gguf_variant(
            request.model,
            request.source,
            Precision::F16,
            request.cache,
            request.progress,
        )
        .map_err(|e| BackendError::failed("cannot make the F16 file that is converted", e))?;
        let work = dir.join(format!("reading-{}", std::process::id()));
        let made = self.run(request, &path, |target| {
            json!({ "task": "from_gguf", "gguf": f16.path, "work": work, "target": target })
        });
        let _ = fs::remove_dir_all(&work);
        made.map(|()| path)
    }

    /// Runs one task into a temporary file, then gives it its name: the weights first, since the graph makes it count.
    fn run(
        &self,
        request: &mut PrepareRequest<'_>,
        path: &Path,
        task: impl Fn(&Path) -> Value,
    ) -> Result<(), BackendError> {
        let temporary = path.with_extension(format!("part-{}.xml", std::process::id()));
        let free = host_state(&LiveHost::new()).memory_available_bytes;
        let limits = ScriptLimits {
            timeout: TIMEOUT,
            memory: free.map(|b| (b as f64 * MEMORY_SHARE) as u64),
        };
        let text = task(&temporary);
        let done = runtime::run_script(&self.env, TOOLS, SCRIPT, &text, limits, request.progress);
        let bin = |p: &Path| p.with_extension("bin");
        let renamed = done.map_err(BackendError::of_script).and_then(|_| {
            fs::rename(bin(&temporary), bin(path))
                .and_then(|()| fs::rename(&temporary, path))
                .map_err(|e| BackendError::failed("cannot keep the variant", e))
        });
        if renamed.is_err() {
            let _ = fs::remove_file(&temporary);
            let _ = fs::remove_file(bin(&temporary));
        }
        renamed
    }
}

fn as_it_is(
    request: &PrepareRequest<'_>,
    source: &Source,
    source_sha256: String,
) -> Result<Variant, BackendError> {
    let (path, types, parameters) = match source {
        Source::Ir(ir) => (ir.xml.clone(), types_of(ir), parameters(ir)),
        Source::Onnx(o) => {
            let types = types(o.tensors.iter().map(|t| (t.dtype.clone(), t.bytes)));
            (request.source.to_owned(), types, o.parameters)
        }
        Source::Gguf(_) => return Err(BackendError::Failed("a GGUF is never run as it is".into())),
    };
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    let sizes = source.files(request.source).iter().map(|p| fs::metadata(p).map(|m| m.len())).sum();
    let size: std::io::Result<u64> = sizes;
    Ok(Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        path,
        size_bytes: size.map_err(|e| BackendError::failed("cannot read the source", e))?,
        bits_per_weight: bytes as f64 * 8.0 / parameters.max(1) as f64,
        types,
        made_by: "source".to_owned(),
        source_sha256,
        source_type: source.main_type_name(),
        fallbacks: Vec::new(),
    })
}

fn describe(
    request: &PrepareRequest<'_>,
    source: &Source,
    path: &Path,
    recipe: Recipe,
    made_by: String,
    source_sha256: String,
) -> Result<Variant, BackendError> {
    let ir = OpenVinoIr::open(path).map_err(|e| BackendError::failed("what was made", e))?;
    if !recipe.took(&ir) {
        let why = format!("the graph has no weights that {} compresses", request.precision);
        let _ = fs::remove_file(path);
        let _ = fs::remove_file(&ir.weights);
        return Err(BackendError::Unsupported(why));
    }
    let graph = fs::metadata(path).map_or(0, |m| m.len());
    let parameters = match source {
        Source::Onnx(o) => o.parameters,
        _ => parameters(&ir),
    };
    let types = types_of(&ir);
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    Ok(Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        path: path.to_owned(),
        size_bytes: ir.weight_file_bytes + graph,
        bits_per_weight: bytes as f64 * 8.0 / parameters.max(1) as f64,
        types,
        made_by,
        source_sha256,
        source_type: source.main_type_name(),
        fallbacks: recipe.fallbacks(&ir),
    })
}

/// Elements of matrices and kernels, without scales.
fn parameters(ir: &OpenVinoIr) -> u64 {
    let weights = ir.constants.iter().filter(|c| c.is_weight());
    weights.map(|c| c.elements()).fold(0, u64::saturating_add)
}

fn types_of(ir: &OpenVinoIr) -> Vec<TypeCount> {
    let weights = ir.constants.iter().filter(|c| !c.is_index() && c.elements() > 1);
    types(weights.map(|c| (c.dtype.clone(), c.bytes)))
}

/// Tensors and bytes by type, most bytes first.
fn types(tensors: impl Iterator<Item = (String, u64)>) -> Vec<TypeCount> {
    let mut types: Vec<TypeCount> = Vec::new();
    for (dtype, bytes) in tensors {
        match types.iter_mut().find(|t| t.dtype == dtype) {
            Some(t) => {
                t.tensors += 1;
                t.bytes = t.bytes.saturating_add(bytes);
            }
            None => types.push(TypeCount { dtype, tensors: 1, bytes }),
        }
    }
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    types
}

/// A variant made earlier, as long as its files are still those that were described.
fn remembered(path: &Path, request: &PrepareRequest<'_>) -> Option<Variant> {
    let text = fs::read(path.with_extension("json")).ok()?;
    let known: Variant = serde_json::from_slice(&text).ok()?;
    let size = |p: &Path| fs::metadata(p).ok().map(|m| m.len());
    let there = size(path)? + size(&path.with_extension("bin"))?;
    (known.precision == request.precision && known.size_bytes == there).then(|| Variant {
        model: request.model.to_owned(),
        path: path.to_owned(),
        ..known
    })
}

/// Best effort: without the note the variant is made again.
fn remember(path: &Path, variant: &Variant) {
    if let Ok(text) = serde_json::to_vec_pretty(variant) {
        let _ = fs::write(path.with_extension("json"), text);
    }
}

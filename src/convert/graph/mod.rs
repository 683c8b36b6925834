//! Variants of an ONNX graph, made by ONNX Runtime's quantizers or by Olive's passes in a pinned Python environment.

mod decoder;
mod why;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::source_sha256;
use crate::backend::{BackendError, PrepareRequest};
use crate::formats;
use crate::formats::onnx::{self, OnnxSummary};
use crate::model::{Precision, Variant};
use crate::runtime::{PythonEnv, ScriptLimits, python_env, run_script};

pub use decoder::{BUILT_PRECISIONS, built_decoder};
pub use why::explain;

const SCRIPT: &str = include_str!("tools.py");
/// Static quantization of a large graph is the slowest; what takes longer has hung.
const LIMITS: ScriptLimits = ScriptLimits { timeout: Duration::from_secs(1800), memory: None };
/// Raised when the script makes other files of the same request.
const VERSION: u32 = 1;

/// Who makes a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphTool {
    /// `onnxruntime.quantization` and `onnxruntime.transformers`.
    OnnxRuntime,
    Olive,
}

impl GraphTool {
    /// Name of the environment it runs in.
    pub fn runtime(self) -> &'static str {
        match self {
            GraphTool::OnnxRuntime => "onnx-tools",
            GraphTool::Olive => "olive",
        }
    }

    fn name(self) -> &'static str {
        match self {
            GraphTool::OnnxRuntime => "onnxruntime",
            GraphTool::Olive => "olive",
        }
    }

    /// What it can make of a graph in FP32, widest first.
    pub const fn precisions(self) -> &'static [Precision] {
        match self {
            GraphTool::OnnxRuntime => &[
                Precision::F32,
                Precision::F16,
                Precision::Int8,
                Precision::Int8Dynamic,
                Precision::Int8DynamicPerChannel,
                Precision::Int8Static,
                Precision::Int4SymG32,
                Precision::Int4SymG128,
                Precision::Int4AsymG32,
            ],
            GraphTool::Olive => &[
                Precision::F16,
                Precision::Int8Dynamic,
                Precision::Int8DynamicPerChannel,
                Precision::Int8Static,
                Precision::Int4KQuant,
                Precision::Int4Hqq,
                Precision::Int4Rtn,
            ],
        }
    }
}

/// Makes `request.source`, an ONNX file, at the wanted precision, or finds it in the cache. The file itself is the
/// variant where it is stored so already.
pub fn graph_variant(
    tool: GraphTool,
    request: PrepareRequest<'_>,
) -> Result<Variant, BackendError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |e: std::io::Error| BackendError::failed(&what, e)
    };
    let summary = read(request.source)?;
    (request.progress)(0.0, "hashing the source");
    let source = source_sha256(&files(request.source, &summary), request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let stored = stored(&summary);
    let of = (summary.parameters, first_type(&summary));
    if stored == Some(request.precision) && tool == GraphTool::OnnxRuntime {
        return Ok(describe(&request, request.source, &summary, of, "source", &source));
    }
    if stored != Some(Precision::F32) {
        let stored = stored.map_or("in no precision known here".to_owned(), |p| format!("in {p}"));
        return Err(BackendError::Unsupported(format!(
            "the ONNX file is stored {stored}: variants are made of FP32 graphs"
        )));
    }
    if !tool.precisions().contains(&request.precision) {
        let text = format!("{} makes no {} of a graph", tool.name(), request.precision);
        return Err(BackendError::Unsupported(text));
    }
    let env = environment(tool)?;
    let maker = format!("{}-{}-{VERSION}", tool.name(), env.version);
    let dir = request.cache.join(&source).join(maker);
    let calibrated = request.precision == Precision::Int8Static;
    let tag = match request.inputs.filter(|_| calibrated) {
        // A set is named after what it was made of.
        Some(inputs) => format!("-{}", inputs.file_stem().unwrap_or_default().display()),
        None => String::new(),
    };
    let path = dir.join(format!("{}{tag}.onnx", request.precision));
    let note = path.with_extension("json");
    if let Some(made_by) = remembered(&note)
        && let Ok(made) = onnx::read(&path)
    {
        return Ok(describe(&request, &path, &made, of, &made_by, &source));
    }
    std::fs::create_dir_all(&dir).map_err(failed("cannot write the cache"))?;
    // In the cache's own directory: tools leave their working files beside the output.
    let work = tempfile::tempdir_in(&dir).map_err(failed("cannot write the cache"))?;
    let out = work.path().join("model.onnx");
    let source_path =
        std::path::absolute(request.source).map_err(failed("cannot find the source"))?;
    let ask = json!({
        "tool": tool.name(),
        "recipe": request.precision.name(),
        "source": source_path.to_string_lossy(),
        "out": out.to_string_lossy(),
        "inputs": request.inputs.map(|p| p.to_string_lossy()),
    });
    let step = format!("quantizing with {}", tool.name());
    let done = make(tool, &env, &ask, &step, &mut *request.progress)?;
    // Tools have been seen to end well without a model.
    let made = onnx::read(&out)
        .map_err(|e| BackendError::failed(&format!("{} left no model", tool.name()), e))?;
    std::fs::rename(&out, &path).map_err(failed("cannot move the variant into the cache"))?;
    let text = serde_json::to_vec(&done).unwrap_or_default();
    std::fs::write(&note, text).map_err(failed("cannot write the cache"))?;
    Ok(describe(&request, &path, &made, of, &done.made_by, &source))
}

fn environment(tool: GraphTool) -> Result<PythonEnv, BackendError> {
    python_env(tool.runtime()).ok_or_else(|| BackendError::NotInstalled {
        hint: format!("edge-advisor runtime install {}", tool.runtime()),
    })
}

/// Runs the script to its end.
fn make(
    tool: GraphTool,
    env: &PythonEnv,
    ask: &Value,
    step: &str,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<Done, BackendError> {
    progress(0.0, step);
    let done = run_script(env, tool.name(), SCRIPT, ask, LIMITS, &mut |fraction, _| {
        progress(fraction, step)
    })
    .map_err(BackendError::of_script)?;
    serde_json::from_value(done)
        .map_err(|e| BackendError::failed(&format!("{} said nonsense", tool.name()), e))
}

#[derive(Deserialize, serde::Serialize)]
struct Done {
    made_by: String,
}

fn remembered(note: &Path) -> Option<String> {
    const MOST: u64 = 64 << 10;
    if std::fs::metadata(note).ok()?.len() > MOST {
        return None;
    }
    serde_json::from_slice::<Done>(&std::fs::read(note).ok()?).ok().map(|d| d.made_by)
}

fn read(path: &Path) -> Result<OnnxSummary, BackendError> {
    onnx::read(path).map_err(|e| BackendError::Failed(e.to_string()))
}

fn files(path: &Path, summary: &OnnxSummary) -> Vec<PathBuf> {
    let beside = summary.external.iter().map(|f| path.with_file_name(&f.name));
    std::iter::once(path.to_owned()).chain(beside).collect()
}

/// The precision of the quantized matrices, else of most weight bytes.
fn stored(summary: &OnnxSummary) -> Option<Precision> {
    let integer = ["MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"];
    if integer.iter().any(|op| summary.operators.contains_key(*op)) {
        return None;
    }
    let mut blocks = summary.block_weights.iter().map(|b| (b.bits, b.block, b.zero_points));
    if let Some(first) = blocks.next() {
        return match (first, blocks.next()) {
            ((4, 32, false), None) => Some(Precision::Int4SymG32),
            ((4, 64, false), None) => Some(Precision::Int4SymG64),
            ((4, 128, false), None) => Some(Precision::Int4SymG128),
            ((4, 32, true), None) => Some(Precision::Int4AsymG32),
            ((4, 64, true), None) => Some(Precision::Int4AsymG64),
            ((4, 128, true), None) => Some(Precision::Int4AsymG128),
            ((8, 32, false), None) => Some(Precision::Int8),
            _ => None,
        };
    }
    match formats::histogram(&summary.spec("")).first()?.dtype.as_str() {
        "FLOAT" => Some(Precision::F32),
        "FLOAT16" => Some(Precision::F16),
        _ => None,
    }
}

fn first_type(s: &OnnxSummary) -> String {
    formats::histogram(&s.spec("")).first().map(|t| t.dtype.clone()).unwrap_or_default()
}

/// `made` is what the variant holds; the pair, parameters and main storage type of what it was made of.
fn describe(
    request: &PrepareRequest<'_>,
    path: &Path,
    made: &OnnxSummary,
    (parameters, source_type): (u64, String),
    made_by: &str,
    source_sha256: &str,
) -> Variant {
    let size = |p: &PathBuf| std::fs::metadata(p).map_or(0, |m| m.len());
    let types = formats::histogram(&made.spec(""));
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        path: path.to_owned(),
        size_bytes: files(path, made).iter().map(size).sum(),
        // Weights of the model, not the scales and zero points that quantizing adds.
        bits_per_weight: bytes as f64 * 8.0 / parameters.max(1) as f64,
        types,
        made_by: made_by.to_owned(),
        source_sha256: source_sha256.to_owned(),
        source_type,
        fallbacks: Vec::new(),
    }
}

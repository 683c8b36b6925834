//! Decoders that Olive's ModelBuilder makes of a Hugging Face directory, in an environment of the user's with torch.

use serde_json::json;

use super::{Done, GraphTool, LIMITS, SCRIPT, VERSION, describe, read, remembered};
use crate::backend::{BackendError, PrepareRequest};
use crate::convert::source_sha256;
use crate::formats::safetensors;
use crate::model::{Precision, Variant};
use crate::runtime::{python_env, run_script};

/// What ModelBuilder makes for a CPU, widest first.
pub const BUILT_PRECISIONS: &[Precision] = &[
    Precision::F32,
    Precision::Int4KQuant,
    Precision::Int4SymG32,
    Precision::Int4SymG128,
    Precision::Int4AsymG32,
];

/// Builds the directory `request.source` at the wanted precision, or finds it in the cache.
pub fn built_decoder(request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    let failed = |what: &'static str| move |e: std::io::Error| BackendError::failed(what, e);
    let weights = safetensors::read(request.source)
        .map_err(|e| BackendError::Unsupported(format!("{e} (hint: {})", e.hint())))?;
    let tool = GraphTool::Olive;
    let Some(env) = python_env(tool.runtime()) else {
        let hint = format!("edge-advisor runtime install {}", tool.runtime());
        return Err(BackendError::NotInstalled { hint });
    };
    (request.progress)(0.0, "hashing the source");
    let mut files: Vec<_> = weights.files.iter().map(|(path, _)| path.clone()).collect();
    files.push(request.source.join("config.json"));
    let source = source_sha256(&files, request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let dir = request.cache.join(&source).join(format!("olive-builder-{}-{VERSION}", env.version));
    let built = dir.join(request.precision.name());
    let (model, note) = (built.join("model.onnx"), built.join("made.json"));
    let elements = weights.tensors.iter().map(|t| t.elements()).sum();
    let dtype = weights.tensors.iter().max_by_key(|t| t.bytes).map(|t| t.dtype.clone());
    let of = (elements, dtype.unwrap_or_default());
    if let Some(made_by) = remembered(&note) {
        return Ok(describe(&request, &model, &read(&model)?, of, &made_by, &source));
    }
    std::fs::create_dir_all(&dir).map_err(failed("cannot write the cache"))?;
    let work = tempfile::tempdir_in(&dir).map_err(failed("cannot write the cache"))?;
    let out = work.path().join("built");
    let from = std::path::absolute(request.source).map_err(failed("cannot find the source"))?;
    let ask = json!({
        "tool": "olive-builder",
        "recipe": request.precision.name(),
        "source": from.to_string_lossy(),
        "out": out.to_string_lossy(),
        "inputs": null,
    });
    let step = "building with Olive's ModelBuilder";
    (request.progress)(0.0, step);
    let done = run_script(&env, "olive", SCRIPT, &ask, LIMITS, &mut |fraction, _| {
        (request.progress)(fraction, step)
    })
    .map_err(BackendError::of_script)?;
    let done: Done =
        serde_json::from_value(done).map_err(|e| BackendError::failed("olive said nonsense", e))?;
    read(&out.join("model.onnx"))?;
    std::fs::write(out.join("made.json"), serde_json::to_vec(&done).unwrap_or_default())
        .map_err(failed("cannot write the cache"))?;
    std::fs::rename(&out, &built).map_err(failed("cannot move the variant into the cache"))?;
    Ok(describe(&request, &model, &read(&model)?, of, &done.made_by, &source))
}

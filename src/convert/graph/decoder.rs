//! Decoders that Olive's ModelBuilder makes of a Hugging Face directory, in an environment of the user's with torch.

use serde_json::json;

use super::{GraphTool, VERSION, describe, environment, make, read, remembered};
use crate::backend::{BackendError, PrepareRequest};
use crate::convert::source_sha256;
use crate::formats::safetensors;
use crate::model::{Precision, Variant};

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
    let env = environment(GraphTool::Olive)?;
    (request.progress)(0.0, "hashing the source");
    let source = source_sha256(&weights.source_files(request.source), request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let dir = request.cache.join(&source).join(format!("olive-builder-{}-{VERSION}", env.version));
    let built = dir.join(request.precision.name());
    let (model, note) = (built.join("model.onnx"), built.join("made.json"));
    let of = (weights.elements(), weights.main_type());
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
    let done = make(GraphTool::Olive, &env, &ask, step, &mut *request.progress)?;
    let made = read(&out.join("model.onnx"))?;
    std::fs::write(out.join("made.json"), serde_json::to_vec(&done).unwrap_or_default())
        .map_err(failed("cannot write the cache"))?;
    std::fs::rename(&out, &built).map_err(failed("cannot move the variant into the cache"))?;
    Ok(describe(&request, &model, &made, of, &done.made_by, &source))
}

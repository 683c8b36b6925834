//! Makes variants: an ONNX file is its own variant at the precision it is stored in; a GGUF decoder becomes a graph.

use std::path::PathBuf;

use crate::backend::{BackendError, PrepareRequest};
use crate::convert::{self, ConvertError, source_sha256};
use crate::formats;
use crate::formats::onnx::OnnxSummary;
use crate::model::{Precision, Variant, Workload};

use super::session::checked;

/// What can be made and run, widest first: of decoders and of other graphs.
pub(super) const PRECISIONS: &[Precision] = &[
    Precision::F32,
    Precision::F16,
    Precision::Q8_0,
    Precision::Q4_0,
    Precision::Int8,
    Precision::Int8Sym,
    Precision::Int8Asym,
    Precision::Int8Dynamic,
    Precision::Int8DynamicPerChannel,
    Precision::Int8Static,
    Precision::Int4SymG32,
    Precision::Int4SymG64,
    Precision::Int4SymG128,
    Precision::Int4AsymG32,
    Precision::Int4AsymG64,
    Precision::Int4AsymG128,
];

/// Those that fit a kind of work.
pub(super) fn precisions(workload: &Workload) -> &'static [Precision] {
    match workload {
        Workload::Generate { .. } => convert::ONNX_PRECISIONS,
        Workload::Infer { .. } => &[Precision::F32, Precision::F16],
    }
}

pub(super) fn prepare(mut request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    match request.source.extension().and_then(|e| e.to_str()) {
        Some("onnx") => as_it_is(&mut request),
        _ => from_gguf(request),
    }
}

fn from_gguf(r: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    convert::onnx_variant(r.model, r.source, r.precision, r.cache, r.progress).map_err(
        |e| match e {
            ConvertError::Unsupported(why) => BackendError::Unsupported(why),
            other => BackendError::failed("cannot make the variant", other),
        },
    )
}

/// The file itself, where it is stored in the precision that is wanted.
fn as_it_is(request: &mut PrepareRequest<'_>) -> Result<Variant, BackendError> {
    let summary = checked(request.source)?;
    let stored = stored(&summary);
    if stored != Some(request.precision) {
        let stored = stored.map_or("in no precision known here".to_owned(), |p| format!("in {p}"));
        let text = format!("the ONNX file is stored {stored}, not in {}", request.precision);
        return Err(BackendError::Unsupported(text));
    }
    (request.progress)(0.0, "hashing the source");
    describe(request, &summary)
}

/// The precision of most weight bytes.
fn stored(summary: &OnnxSummary) -> Option<Precision> {
    match formats::histogram(&summary.spec("")).first()?.dtype.as_str() {
        "FLOAT" => Some(Precision::F32),
        "FLOAT16" => Some(Precision::F16),
        _ => None,
    }
}

fn describe(request: &PrepareRequest<'_>, summary: &OnnxSummary) -> Result<Variant, BackendError> {
    let dir = request.source.parent().map(PathBuf::from).unwrap_or_default();
    let mut files = vec![request.source.to_owned()];
    files.extend(summary.external.iter().map(|f| dir.join(&f.name)));
    let source_sha256 = source_sha256(&files, request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    let size = |p: &PathBuf| std::fs::metadata(p).map_or(0, |m| m.len());
    let types = formats::histogram(&summary.spec(""));
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    Ok(Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        path: request.source.to_owned(),
        size_bytes: files.iter().map(size).sum(),
        bits_per_weight: bytes as f64 * 8.0 / summary.parameters.max(1) as f64,
        source_type: types.first().map(|t| t.dtype.clone()).unwrap_or_default(),
        types,
        made_by: "source".to_owned(),
        source_sha256,
        fallbacks: Vec::new(),
    })
}

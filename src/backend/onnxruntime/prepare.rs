//! Makes variants: an ONNX file is its own variant at the precision it is stored in; a GGUF decoder becomes a graph.

use crate::backend::{BackendError, PrepareRequest};
use crate::convert::{self, ConvertError, GraphTool};
use crate::model::{Precision, Variant, Workload};

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
        Workload::Infer { .. } => GraphTool::OnnxRuntime.precisions(),
    }
}

pub(super) fn prepare(request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    match request.source.extension().and_then(|e| e.to_str()) {
        Some("onnx") => convert::graph_variant(GraphTool::OnnxRuntime, request),
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

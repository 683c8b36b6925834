//! Makes variants of a model: GGUF at another precision, or as an ONNX graph, kept in a content-addressed cache.

mod error;
mod graph;
mod onnx;
mod quantize;
mod recipe;
mod source;
mod variant;

pub use error::ConvertError;
pub use graph::{BUILT_PRECISIONS, GraphTool, built_decoder, explain, graph_variant};
pub use onnx::{ONNX_PRECISIONS, graph_source, onnx_variant};
pub use recipe::PRECISIONS;
pub use source::source_sha256;
pub use variant::gguf_variant;

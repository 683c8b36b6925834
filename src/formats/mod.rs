//! Readers of model files. Every header is untrusted: bounded memory, checked arithmetic, no panic.

mod config;
mod error;
pub mod gguf;
mod inspect;
mod names;
pub mod onnx;
mod openvino_ir;
pub mod safetensors;
mod text;
pub mod tokenizer;

pub use error::FormatError;
pub use inspect::{InspectedFile, Inspection, Tokenizer, histogram, inspect, main_type};
pub use openvino_ir::{IrConstant, OpenVinoIr};
use text::read_text;

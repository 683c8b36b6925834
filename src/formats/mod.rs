//! Readers of model files. Every header is untrusted: bounded memory, checked arithmetic, no panic.

mod error;
pub mod gguf;
pub mod tokenizer;

pub use error::FormatError;

//! Makes variants of a model: GGUF at another precision, kept in a content-addressed cache.

mod error;
mod quantize;
mod recipe;
mod source;
mod variant;

pub use error::ConvertError;
pub use recipe::PRECISIONS;
pub use source::source_sha256;
pub use variant::gguf_variant;

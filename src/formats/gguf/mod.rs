//! GGUF: head-only reader (never loads tensor data), streaming writer, and the model's shape.

mod head;
mod input;
mod mixture;
mod shape;
mod split;
mod types;
mod value;
mod windows;
mod write;

#[cfg(test)]
mod tests;

pub use head::{Gguf, Part, TensorInfo};
pub use mixture::{Mixture, base};
pub(crate) use shape::role_of;
pub use shape::to_spec;
pub use types::{GgmlType, TYPES, ggml_type, ggml_type_named};
pub use value::{Array, Encoded, Value, ValueType};
pub(crate) use windows::layer_window;
pub use write::{GgufWriter, TensorDecl};

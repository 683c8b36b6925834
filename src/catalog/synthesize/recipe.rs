//! The types and sizes that a model's tensors would have as a GGUF file.

use crate::formats::gguf::{GgmlType, Mixture, ggml_type};
use crate::model::{ModelSpec, Precision, TensorSpec};

/// `F32`, which everything stays that a mixture leaves alone.
const PLAIN: u32 = 0;

/// Type and bytes of each tensor in a GGUF of this precision; `None` for a precision or for tensor names of another format.
pub fn stored_as(spec: &ModelSpec, precision: Precision) -> Option<Vec<(&'static str, u64)>> {
    let mixture = Mixture::of_spec(precision, spec)?;
    spec.tensors.iter().find(|t| t.name == "token_embd.weight")?;
    let stored = |t: &TensorSpec| {
        let row = t.shape.first().copied().unwrap_or(1);
        let kind = stored_type(&mixture, t);
        Some((kind.name, kind.bytes(row, t.elements())?))
    };
    spec.tensors.iter().map(stored).collect()
}

/// The type of one tensor.
pub(super) fn stored_type(mixture: &Mixture, t: &TensorSpec) -> &'static GgmlType {
    let plain = || ggml_type(PLAIN).expect("F32 is a type");
    mixture.types(&t.name, &t.shape).map_or_else(plain, |(_, used)| used)
}

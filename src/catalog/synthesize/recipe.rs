//! The types and sizes that a model's tensors would have as a GGUF file.

use crate::formats::gguf::{GgmlType, Mixture, ggml_type_named};
use crate::model::{ModelSpec, Precision, TensorSpec};

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

/// The type of one tensor. What a mixture leaves alone stays as llama.cpp's converter writes it.
pub(super) fn stored_type(mixture: &Mixture, t: &TensorSpec) -> &'static GgmlType {
    let wide = t.name.starts_with("per_layer_model_proj");
    let plain = || ggml_type_named(if wide { "BF16" } else { "F32" }).expect("both are types");
    mixture.types(&t.name, &t.shape).map_or_else(plain, |(_, used)| used)
}

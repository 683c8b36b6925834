//! One file (or directory) of a model at one precision, and how it was made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Precision;

/// How many tensors and bytes are stored in one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCount {
    /// Storage type as the file spells it, e.g. `Q5_0`.
    pub dtype: String,
    pub tensors: u64,
    pub bytes: u64,
}

/// A model at one precision, on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    pub model: String,
    pub precision: Precision,
    /// What to open: a file, or a directory for formats that are several files.
    pub path: PathBuf,
    /// All files together.
    pub size_bytes: u64,
    /// From tensor bytes, not from the precision's name.
    pub bits_per_weight: f64,
    /// The tensor-type histogram, largest first.
    pub types: Vec<TypeCount>,
    /// Tool and version that made it; `source` for the file as it came.
    pub made_by: String,
    /// SHA-256 of the source file it was made from, hex.
    pub source_sha256: String,
    /// Storage type most of the source's weights had, so that a reader knows what quality is relative to.
    pub source_type: String,
    /// Tensors that could not take the wanted type: `wanted -> used: count`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
}

impl Variant {
    /// True where the source was itself quantized: quality is relative to that file, not to the original.
    pub fn source_is_quantized(&self) -> bool {
        !self.source_type.is_empty() && !is_float(&self.source_type)
    }
}

/// Whether a storage type is a plain float; ONNX writes the names out.
fn is_float(dtype: &str) -> bool {
    let known = ["F16", "F32", "BF16", "F64", "FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"];
    known.iter().any(|f| dtype.eq_ignore_ascii_case(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_known_however_a_format_spells_them() {
        assert!(["F16", "bf16", "FLOAT", "FLOAT16"].iter().all(|t| is_float(t)));
        assert!(["Q4_1", "INT8", ""].iter().all(|t| !is_float(t)));
    }
}

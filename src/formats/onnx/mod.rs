//! ONNX: what a model file holds, read field by field without loading weights.

mod external;
mod model;
mod wire;

#[cfg(test)]
mod tests;

pub use model::{BlockWeights, Dim, ExternalFile, OnnxSummary, OperatorSet, Port, read};

//! QNN: Qualcomm's execution provider as a plugin of ONNX Runtime. What it adds to that backend is which processor
//! really runs, whether its answers are right, and what its profile says.

mod backend;
mod options;
mod profile;
mod session;
mod target;

pub(crate) use backend::Qnn;

/// Runtime name and registry key.
const NAME: &str = "qnn";

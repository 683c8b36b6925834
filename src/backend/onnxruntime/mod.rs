//! ONNX Runtime: its own library, loaded at run time inside a worker. Plain graphs and decoders with a key-value cache.

mod backend;
mod graph;
mod library;
mod options;
mod placement;
mod prepare;
mod providers;
mod session;
mod text;

pub(super) use backend::OnnxRuntime;

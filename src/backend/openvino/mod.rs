//! OpenVINO: the pinned library, loaded at run time; variants made by GenAI's GGUF reader and NNCF in a managed
//! Python environment.

mod backend;
mod compress;
mod graph;
mod library;
mod model;
mod options;
mod text;
mod variant;

pub(crate) use backend::OpenVino;

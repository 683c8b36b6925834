//! The frameworks: each is one module here and one line in `registry`.
//!
//! A backend makes variants of a model, opens them, and runs them. It never times itself: the
//! harness in `worker` does, around the smallest call that returns when the device is done.

pub mod candle;
mod fault;
mod greedy;
mod llama_cpp;
mod mlx;
mod null;
mod olive;
mod onnxruntime;
mod openvino;
mod qnn;
mod registry;
mod traits;

pub use registry::{all, find};
pub use traits::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, Claim, GraphSession,
    OpenRequest, PrepareRequest, Session, TextSession, ToolSession,
};

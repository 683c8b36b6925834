//! The embedded engine: llama-family GGUF models on the CPU, with candle's block formats and kernels and our own
//! forward pass. Weights stay in the mapped file; nothing is allocated or copied per token.

#![allow(unsafe_code)]

mod backend;
mod cache;
pub(crate) mod config;
mod engine;
mod gemm;
pub mod kernels;
mod model;
mod pool;
mod session;
mod weights;

pub(super) use backend::Candle;

/// Version of candle-core this build is made with; keep it equal to Cargo.lock.
const CANDLE_VERSION: &str = "0.11.1";

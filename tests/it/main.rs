//! One integration binary: a module an area.

mod advise;
mod bad_input;
mod browser;
mod ci_scripts;
mod commands;
mod compare;
mod engine;
mod faults;
mod fuzz;
mod gate;
mod history;
mod interruptions;
mod llama_cpp;
mod mlx;
mod models;
mod olive;
mod onnx_workloads;
mod onnxruntime;
mod openvino;
mod perplexity;
mod probe;
mod qnn;
mod readers;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod runtime;
#[path = "../support/schema.rs"]
mod schema;
mod sessions;
mod simulation;
mod support;
#[cfg(unix)]
mod terminal;
mod tidy;
mod trust;

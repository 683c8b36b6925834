//! One integration binary: a module an area.

mod bad_input;
mod compare;
mod faults;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod llama_cpp;
mod runtime;
mod support;
mod tidy;

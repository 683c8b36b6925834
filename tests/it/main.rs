//! One integration binary: a module an area.

mod bad_input;
mod compare;
mod faults;
mod llama_cpp;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod runtime;
mod support;
mod tidy;

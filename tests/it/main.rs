//! One integration binary: a module an area.

mod bad_input;
mod compare;
mod faults;
mod models;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod support;
mod tidy;

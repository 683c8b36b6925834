//! One integration binary: a module an area.

mod advise;
mod bad_input;
mod browser;
mod compare;
mod faults;
mod models;
mod probe;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod support;
mod tidy;

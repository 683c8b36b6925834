//! One integration binary: a module an area.

mod advise;
mod bad_input;
mod browser;
mod compare;
mod faults;
mod probe;
mod ci_scripts;
mod compare;
mod faults;
mod gate;
mod history;
mod models;
mod records;
mod report;
#[path = "../support/records.rs"]
mod report_records;
mod simulation;
mod support;
mod tidy;

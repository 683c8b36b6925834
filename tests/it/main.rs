//! One integration binary: a module an area.

mod bad_input;
mod compare;
mod faults;
mod records;
mod support;
mod tidy;

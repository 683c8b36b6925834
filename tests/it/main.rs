//! One integration binary: a module an area.

mod bad_input;
mod faults;
mod support;
mod tidy;

//! Suites: what to measure, as TOML. Expanding one into cases is `runner`'s work.

mod builtin;
mod schema;

pub use builtin::{BUILTIN, builtin};
pub use schema::{Group, ProtocolChoice, Suite, SuiteError};

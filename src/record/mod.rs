//! What is kept on disk of a run: one append-only NDJSON file, a line a case, readable after any crash.

mod file;
pub mod history;
mod schema;
mod set;

pub use file::{RecordError, RecordWriter, RunRecord};
pub use schema::{BuildInfo, CaseRecord, RunEnd, RunHeader, SCHEMA_VERSION, Series, SessionFacts};

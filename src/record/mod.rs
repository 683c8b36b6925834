//! What is kept on disk of a run: one append-only NDJSON file, a line a case, readable after any crash.

mod file;
mod schema;

pub use file::{RecordError, RecordWriter, RunRecord};
pub use schema::{BuildInfo, CaseRecord, RunEnd, RunHeader, SCHEMA_VERSION, Series, SessionFacts};

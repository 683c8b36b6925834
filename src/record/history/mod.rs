//! Every run of this machine (or fleet) in one SQLite file: whole records, and an index for trends.

mod migrate;
mod query;
mod store;

pub use query::{Filter, Point, RunRow, Trend};
pub use store::{History, HistoryError};

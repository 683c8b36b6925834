//! One process per case: the same program executed again, driven over NDJSON on stdin and stdout.
//!
//! A native crash, abort, hang or runaway allocation ends the worker and becomes an outcome; the run goes on.

mod build;
mod child;
mod cold;
mod energy;
mod graph;
mod measure;
mod process;
mod protocol;
mod quality;
mod serve;

pub use build::WorkerBuild;
pub use child::{Ended, Supervisor, WorkerResult};
pub(crate) use process::{rss_bytes, signal_of};
pub use protocol::{
    Event, GraphTask, MeasureRequest, PROTOCOL_VERSION, PrepareTask, QualityTask, Request,
    WireError,
};
pub(crate) use serve::write_raw;
pub use serve::{SUBCOMMAND, serve};

//! A record becomes a report, a comparison becomes what a CI system reads: one renderer a format.

mod cells;
pub mod ci;
pub mod csv;
mod formats;
pub mod html;
pub mod json;
pub mod markdown;
pub mod parquet;
pub mod plot;
mod rows;
pub mod table;
mod text;
pub mod trend;
mod view;

pub use formats::ReportFormat;
pub(crate) use text::{paragraph, plain, shorten, wrap};
pub use view::*;

//! The HTML report.

mod downloads;
mod headline;
mod page;
mod sections;
mod tables;

pub use page::render;

//! What is shown: a plain view derived from records alone.

mod build;
mod cases;
mod estimate;
mod frameworks;
mod headline;
mod scope;
mod types;
mod verdict;

pub use build::build;
pub(crate) use headline::metric;
pub use scope::Grouping;
pub use types::*;

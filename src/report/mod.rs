//! A record becomes a report, a comparison becomes what a CI system reads.

pub mod ci;
mod text;
pub mod trend;

pub(crate) use text::{plain, shorten};

//! GPUs: what the buses list, what their drivers say, and what tables publish of them.

mod nvidia;
mod read;

pub(crate) use read::read;

//! GPUs: what the buses list, what their drivers say, and what tables publish of them.

mod bus;
mod nvidia;
mod read;
mod soc;

pub(crate) use read::read;

//! The processor: identity, topology, caches, instruction sets, and what slows it down.

mod cache;
mod identity;
mod isa;
mod read;
mod topology;

pub(crate) use read::{current_mhz, read};

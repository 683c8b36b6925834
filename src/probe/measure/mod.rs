//! `probe --measure`: what memory and arithmetic units really reach here, in a few seconds.

#![allow(unsafe_code)]

mod bandwidth;
mod compute;
mod disk;
mod kernels;
mod memory;
mod run;
mod stable;
mod team;

pub use run::{MeasureOptions, measure, measure_essentials, ram_bandwidth};

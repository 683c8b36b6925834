//! edge-advisor: probe a device, advise what to run on it, measure it, and gate releases on it.
//!
//! Modules in reading order; a lower layer never imports a higher one (`tests/it/tidy.rs` checks it).

// Allowed again in the few modules that call hardware, the kernel or a foreign library: docs/reliability.md lists them.
#![deny(unsafe_code)]

// L0: plain data and pure maths.
pub mod model;
pub mod stats;
// L1: files in, files out.
pub mod catalog;
pub mod dirs;
pub mod formats;
pub mod profile;
pub mod record;
pub mod suite;
// L2: what is here, what to expect, what to advise, what changed.
pub mod advise;
pub mod compare;
pub mod inputs;
pub mod predict;
pub mod probe;
pub mod quality;
// L3: frameworks, how their files are made and installed, and the process that runs them.
pub mod backend;
pub mod convert;
pub mod runtime;
pub mod worker;
// L4: a plan becomes a record, a record becomes a report.
pub mod report;
pub mod runner;
// L5: the command line.
pub mod cli;

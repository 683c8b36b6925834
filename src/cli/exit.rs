//! Exit codes: documented in docs/exit-codes.md, stable.

/// Done, nothing to complain about.
pub const OK: u8 = 0;
/// A defect of edge-advisor or of the machine.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A file, setup or input is wrong or missing.
pub const SETUP: u8 = 3;
/// No case ran, or no candidate fits.
pub const NOTHING: u8 = 4;
/// Some cases failed or are invalid.
pub const SOME_FAILED: u8 = 5;
/// The gate found a regression or a goal missed.
pub const REGRESSED: u8 = 10;
/// The gate cannot tell with the data it has.
pub const INCONCLUSIVE: u8 = 11;
/// The two sides cannot be compared.
pub const NOT_COMPARABLE: u8 = 12;
/// Stopped by the user (128 + SIGINT).
pub const INTERRUPTED: u8 = 130;

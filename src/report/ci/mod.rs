//! A comparison for people and for CI systems: one renderer a format.

mod fingerprint;
pub mod github;
pub mod gitlab;
pub mod junit;
mod lines;
pub mod markdown;
pub mod sarif;
pub mod terminal;

use fingerprint::fingerprint;
pub use lines::headline;

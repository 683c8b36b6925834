//! What a graph is fed: inputs that look like its real ones, the same for every framework and every run.
//!
//! Pure: `runner` makes a set once and keeps it in the cache, workers read it, calibration uses a part of its own.

mod audio;
mod bytes;
mod image;
mod plan;
mod set;
mod text;

pub use plan::{InputError, Inputs, Made, make};
pub use set::{InputSet, SetError, write};
pub use text::DOCUMENTS;

use rand::SeedableRng;
use rand_pcg::Pcg64;

/// What an input set is for: the parts share no sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Timed and scored.
    Evaluation,
    /// Seen by quantizers only.
    Calibration,
}

impl Part {
    fn salt(self) -> u64 {
        match self {
            Part::Evaluation => 0,
            Part::Calibration => 1 << 32,
        }
    }
}

/// The random numbers of one sample.
fn random(part: Part, index: usize) -> Pcg64 {
    Pcg64::seed_from_u64(0x0065_6467_6500 ^ part.salt() ^ index as u64)
}

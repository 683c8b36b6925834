//! A GGUF with the exact shapes of a catalogue model and random weights: speed and memory before the download.

mod blocks;
mod metadata;
mod recipe;
mod write;

pub use recipe::stored_as;
pub use write::{SynthesizeError, Synthesized, can_synthesize, synthesize};

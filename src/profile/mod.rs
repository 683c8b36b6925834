//! Device profiles: published figures of devices that are not here, one TOML file each.
//!
//! Embedded in the binary, overridable by a directory. Reads and checks files; makes a [`crate::model::Device`]; finds the profile of a live device.

mod device;
mod library;
mod matching;
mod schema;
mod suggest;

pub use device::Overrides;
pub use library::{Library, ProfileError, read_file};
pub use matching::{Match, identify};
pub use schema::{CpuProfile, MemoryProfile, ProcessorProfile, Profile};
pub use suggest::{did_you_mean, nearest};

//! The models we know by name: exact shapes, licences, and where to get them.

pub mod build;
mod entry;
mod load;
mod resolve;
mod synthesize;

pub use build::build;
pub use entry::{Entry, Graph, HubSource, PackageSource, Shape};
pub use load::{Catalog, CatalogError};
pub(crate) use resolve::find_model;
pub use resolve::{ResolvedModel, models_dir, resolve_model};
pub use synthesize::{SynthesizeError, Synthesized, can_synthesize, stored_as, synthesize};

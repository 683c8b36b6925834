//! What can go wrong while a variant is made.

use std::io;
use std::path::{Path, PathBuf};

use crate::formats::FormatError;

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A limit of the converter: a precision it does not make, a source type it cannot expand.
    #[error("{0}")]
    Unsupported(String),
    /// The source contradicts itself.
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot quantize `{tensor}`: {why}")]
    Quantize { tensor: String, why: String },
}

impl ConvertError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

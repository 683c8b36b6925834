//! The one error of all readers and writers of model files.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// The file is of another type.
    #[error("`{path}` is not {wanted}: {why}")]
    NotThisFormat { path: PathBuf, wanted: &'static str, why: String },
    /// The file ends before its header says it should.
    #[error("`{path}` is truncated: {what} needs {needed} bytes, the file has {found}")]
    Truncated { path: PathBuf, what: String, needed: u64, found: u64 },
    /// The header contradicts itself or goes beyond a limit.
    #[error("`{path}` is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
    /// Well-formed as far as we can tell, but of a kind this build does not read.
    #[error("`{path}` is not supported: {why}")]
    Unsupported { path: PathBuf, why: String },
    /// One file of a split model is not there.
    #[error("part `{missing}` of split model `{path}` is missing")]
    MissingPart { path: PathBuf, missing: PathBuf },
    /// The caller declared or wrote something that no file can hold.
    #[error("cannot make `{path}`: {why}")]
    Invalid { path: PathBuf, why: String },
}

impl FormatError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; `edge-advisor models list` shows what is on this machine"
            }
            Self::Read { .. } => "check that the file is readable",
            Self::Write { .. } => "check free space and permissions, or choose another directory",
            Self::NotThisFormat { .. } => {
                "give a .gguf, .onnx or .safetensors file, or a Hugging Face directory"
            }
            Self::Truncated { .. } => "the download did not finish: fetch the file again",
            Self::Damaged { .. } => "fetch the file again, or convert it anew from its source",
            Self::Unsupported { .. } => "convert it with a current version of its toolchain",
            Self::MissingPart { .. } => "put all parts of the split model into one directory",
            Self::Invalid { .. } => "this is a defect of edge-advisor: please report it",
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn unsupported(path: &Path, why: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn invalid(path: &Path, why: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), why: why.into() }
    }
}

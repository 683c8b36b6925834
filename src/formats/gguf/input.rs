//! Reads little-endian fields from a file of known length; no read allocates more than its limit.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::formats::FormatError;

pub(super) struct Input {
    file: BufReader<File>,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) pos: u64,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path).map_err(|e| FormatError::read(path, e))?;
        let meta = file.metadata().map_err(|e| FormatError::read(path, e))?;
        if !meta.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(FormatError::read(path, error));
        }
        let file = BufReader::with_capacity(64 << 10, file);
        Ok(Self { file, path: path.to_owned(), len: meta.len(), pos: 0 })
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> FormatError {
        FormatError::damaged(&self.path, why)
    }

    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.pos)
    }

    fn need(&self, bytes: u64, what: &str) -> Result<(), FormatError> {
        if bytes <= self.left() {
            return Ok(());
        }
        Err(FormatError::Truncated {
            path: self.path.clone(),
            what: what.to_owned(),
            needed: self.pos.saturating_add(bytes),
            found: self.len,
        })
    }

    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FormatError> {
        self.need(N as u64, what)?;
        let mut out = [0; N];
        self.file.read_exact(&mut out).map_err(|e| FormatError::read(&self.path, e))?;
        self.pos += N as u64;
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    /// Exactly `count` bytes; the caller has checked `count` against a limit.
    pub(super) fn vec(&mut self, count: u64, what: &str) -> Result<Vec<u8>, FormatError> {
        self.need(count, what)?;
        let mut out = vec![0; count as usize];
        self.file.read_exact(&mut out).map_err(|e| FormatError::read(&self.path, e))?;
        self.pos += count;
        Ok(out)
    }

    /// A string whose length goes before it, at most `limit` bytes.
    pub(super) fn string(&mut self, limit: u64, what: &str) -> Result<Vec<u8>, FormatError> {
        let length = self.u64(what)?;
        self.need(length, what)?;
        if length > limit {
            return Err(self.damaged(format!("{what} of {length} bytes, the limit is {limit}")));
        }
        self.vec(length, what)
    }

    pub(super) fn skip(&mut self, count: u64, what: &str) -> Result<(), FormatError> {
        self.need(count, what)?;
        // Within the file's length, which fits into an i64.
        self.file.seek_relative(count as i64).map_err(|e| FormatError::read(&self.path, e))?;
        self.pos += count;
        Ok(())
    }

    pub(super) fn seek(&mut self, to: u64) -> Result<(), FormatError> {
        self.file.seek(SeekFrom::Start(to)).map_err(|e| FormatError::read(&self.path, e))?;
        self.pos = to;
        Ok(())
    }
}

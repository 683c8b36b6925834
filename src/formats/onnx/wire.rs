//! The protobuf wire format over a file: fields one by one, payloads skipped unless asked for.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::formats::FormatError;

/// One field; a length-delimited one is a range of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) value: Wire,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    Varint(u64),
    Fixed,
    Bytes(Span),
}

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Span {
    pub(super) fn len(self) -> u64 {
        self.end - self.start
    }
}

pub(super) struct Reader {
    file: BufReader<File>,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pos: u64,
    /// Text kept so far; the caller's strings are what memory is spent on.
    kept: u64,
}

/// A longer name is no name.
const MAX_TEXT: u64 = 64 << 10;
/// All names of a model together.
const MAX_KEPT: u64 = 64 << 20;

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let file = File::open(path).map_err(|e| FormatError::read(path, e))?;
        let len = file.metadata().map_err(|e| FormatError::read(path, e))?.len();
        let file = BufReader::with_capacity(64 << 10, file);
        Ok(Self { file, path: path.to_owned(), len, pos: 0, kept: 0 })
    }

    pub(super) fn whole(&self) -> Span {
        Span { start: 0, end: self.len }
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> FormatError {
        FormatError::damaged(&self.path, why)
    }

    /// The next field of the message `span` at `*at`, and moves `*at` behind it; `None` at its end.
    pub(super) fn field(&mut self, span: Span, at: &mut u64) -> Result<Option<Field>, FormatError> {
        if *at >= span.end {
            return Ok(None);
        }
        self.seek(*at)?;
        let tag = self.varint(span)?;
        let (end, value) = match tag & 7 {
            0 => {
                let value = self.varint(span)?;
                (self.pos, Wire::Varint(value))
            }
            1 => (self.pos.saturating_add(8), Wire::Fixed),
            5 => (self.pos.saturating_add(4), Wire::Fixed),
            2 => {
                let length = self.varint(span)?;
                let (start, end) = (self.pos, self.pos.saturating_add(length));
                (end, Wire::Bytes(Span { start, end }))
            }
            kind => return Err(self.damaged(format!("wire type {kind} at byte {at}"))),
        };
        if end > span.end {
            return Err(FormatError::Truncated {
                path: self.path.clone(),
                what: format!("field {}", tag >> 3),
                needed: end,
                found: span.end,
            });
        }
        *at = end;
        Ok(Some(Field { number: tag >> 3, value }))
    }

    /// A string field, invalid UTF-8 replaced.
    pub(super) fn text(&mut self, span: Span) -> Result<String, FormatError> {
        self.kept = self.kept.saturating_add(span.len());
        if span.len() > MAX_TEXT || self.kept > MAX_KEPT {
            return Err(self.damaged(format!("a name of {} bytes", span.len())));
        }
        self.seek(span.start)?;
        let mut bytes = vec![0; span.len() as usize];
        self.file.read_exact(&mut bytes).map_err(|e| FormatError::read(&self.path, e))?;
        self.pos = span.end;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The varints of a packed field, at most `limit`.
    pub(super) fn packed(&mut self, span: Span, limit: usize) -> Result<Vec<u64>, FormatError> {
        self.seek(span.start)?;
        let mut out = Vec::new();
        while self.pos < span.end {
            if out.len() == limit {
                return Err(self.damaged(format!("more than {limit} dimensions")));
            }
            out.push(self.varint(span)?);
        }
        Ok(out)
    }

    fn seek(&mut self, to: u64) -> Result<(), FormatError> {
        if to != self.pos {
            // Both lie within a file, so they fit.
            let moved = self.file.seek_relative(to as i64 - self.pos as i64);
            moved.map_err(|e| FormatError::read(&self.path, e))?;
            self.pos = to;
        }
        Ok(())
    }

    fn varint(&mut self, span: Span) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.pos >= span.end {
                return Err(self.damaged("a number runs over the end of its message"));
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte).map_err(|e| FormatError::read(&self.path, e))?;
            self.pos += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number of more than 64 bits"))
    }
}

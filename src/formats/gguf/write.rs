//! Writes a GGUF file front to back: declare tensors, then stream their data in that order.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ggml_type;
use super::value::{Encoded, tensor_bytes};
use crate::formats::FormatError;

const ALIGNMENT: u64 = 32;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDecl {
    pub name: String,
    /// Fastest-varying dimension first.
    pub shape: Vec<u64>,
    pub type_id: u32,
}

impl TensorDecl {
    /// Bytes of its data; `None` for an unknown type or a shape that the type cannot hold.
    pub fn bytes(&self) -> Option<u64> {
        tensor_bytes(ggml_type(self.type_id)?, &self.shape)
    }
}

/// Streams a GGUF v3 into a temporary file beside the target; [`GgufWriter::finish`] puts it in place.
#[derive(Debug)]
pub struct GgufWriter {
    out: BufWriter<NamedTempFile>,
    path: PathBuf,
    sizes: Vec<u64>,
    current: usize,
    /// Bytes of the current tensor written so far.
    written: u64,
}

impl GgufWriter {
    /// Writes the head. `metadata` must not hold `general.alignment`: the writer aligns to 32 bytes.
    pub fn create(
        path: &Path,
        metadata: &[(String, Encoded)],
        tensors: &[TensorDecl],
    ) -> Result<Self, FormatError> {
        let sizes = tensors
            .iter()
            .map(|t| {
                t.bytes().ok_or_else(|| {
                    let why = format!("type {} cannot hold `{}` {:?}", t.type_id, t.name, t.shape);
                    FormatError::invalid(path, why)
                })
            })
            .collect::<Result<Vec<u64>, _>>()?;
        let head = encode_head(path, metadata, tensors, &sizes)?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".edge-advisor-")
            .suffix(".part")
            .tempfile_in(dir)
            .map_err(|e| FormatError::write(path, e))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let mut writer = Self { out, path: path.to_owned(), sizes, current: 0, written: 0 };
        writer.raw(&head)?;
        writer.skip_empty();
        Ok(writer)
    }

    /// Index of the tensor that the next bytes belong to; `None` when all are written.
    pub fn current(&self) -> Option<usize> {
        (self.current < self.sizes.len()).then_some(self.current)
    }

    /// Bytes that the current tensor still needs.
    pub fn remaining(&self) -> u64 {
        self.sizes.get(self.current).map_or(0, |size| size - self.written)
    }

    /// Appends data of the current tensor, in as many calls as suits; moves on to the next tensor when it is full.
    pub fn write(&mut self, data: &[u8]) -> Result<(), FormatError> {
        if data.len() as u64 > self.remaining() {
            let why =
                format!("{} bytes too many for a tensor", data.len() as u64 - self.remaining());
            return Err(FormatError::invalid(&self.path, why));
        }
        self.raw(data)?;
        self.written += data.len() as u64;
        if self.remaining() == 0 && self.current < self.sizes.len() {
            self.raw(&[0; ALIGNMENT as usize][..padding(self.written) as usize])?;
            self.current += 1;
            self.written = 0;
            self.skip_empty();
        }
        Ok(())
    }

    /// Checks that all data came, syncs, and renames the file into place.
    pub fn finish(self) -> Result<(), FormatError> {
        if self.current < self.sizes.len() {
            let why = format!("{} of {} tensors written", self.current, self.sizes.len());
            return Err(FormatError::invalid(&self.path, why));
        }
        let write = |e| FormatError::write(&self.path, e);
        let file = self.out.into_inner().map_err(|e| write(e.into_error()))?;
        file.as_file().sync_all().map_err(write)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // A temporary file is private; a model is not.
            let mode = std::fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(mode).map_err(write)?;
        }
        file.persist(&self.path).map_err(|e| write(e.error))?;
        Ok(())
    }

    fn skip_empty(&mut self) {
        while self.sizes.get(self.current) == Some(&0) {
            self.current += 1;
        }
    }

    fn raw(&mut self, data: &[u8]) -> Result<(), FormatError> {
        self.out.write_all(data).map_err(|e| FormatError::write(&self.path, e))
    }
}

fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT) - bytes
}

fn encode_head(
    path: &Path,
    metadata: &[(String, Encoded)],
    tensors: &[TensorDecl],
    sizes: &[u64],
) -> Result<Vec<u8>, FormatError> {
    let mut head = Vec::new();
    head.extend(b"GGUF");
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    let string = |head: &mut Vec<u8>, s: &str| {
        head.extend((s.len() as u64).to_le_bytes());
        head.extend(s.as_bytes());
    };
    for (key, value) in metadata {
        if key == "general.alignment" {
            return Err(FormatError::invalid(path, "general.alignment is the writer's to set"));
        }
        string(&mut head, key);
        head.extend(value.code.to_le_bytes());
        head.extend(&value.bytes);
    }
    let mut offset = 0u64;
    for (tensor, &size) in tensors.iter().zip(sizes) {
        string(&mut head, &tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().for_each(|d| head.extend(d.to_le_bytes()));
        head.extend(tensor.type_id.to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset = size
            .checked_next_multiple_of(ALIGNMENT)
            .and_then(|s| offset.checked_add(s))
            .ok_or_else(|| FormatError::invalid(path, "the file would be too large"))?;
    }
    let pad = padding(head.len() as u64) as usize;
    head.extend(std::iter::repeat_n(0, pad));
    Ok(head)
}

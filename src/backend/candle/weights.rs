//! Weight matrices as they lie in the file: mapped, never copied, expanded only where a kernel needs it.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use super::kernels::{Dtype, Isa, Kernel, dequantize};
use crate::backend::BackendError;

/// A file of weights in memory.
pub(super) struct Mapped(Mmap);

impl Mapped {
    /// Maps the whole file and reads it in, so that loading is timed as loading.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, BackendError> {
        let text = format!("cannot map `{}`", path.display());
        let file = File::open(path).map_err(|e| BackendError::failed(&text, e))?;
        // SAFETY: the map is private and read-only; all reads are of plain bytes. Somebody truncating the file
        // meanwhile would end the process, as for every program that maps its input.
        let map = unsafe { MmapOptions::new().populate().map(&file) };
        Ok(Arc::new(Self(map.map_err(|e| BackendError::failed(&text, e))?)))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// `rows` rows of `cols` weights each. Made only by [`Matrix::new`], so its range is inside the map.
#[derive(Clone)]
pub(super) struct Matrix {
    map: Arc<Mapped>,
    range: Range<usize>,
    row_bytes: usize,
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Matrix {
    /// `None` where the row is not whole blocks, or the matrix does not lie inside the map at `offset`.
    pub(super) fn new(
        map: &Arc<Mapped>,
        offset: usize,
        dtype: Dtype,
        rows: usize,
        cols: usize,
    ) -> Option<Self> {
        let row_bytes = dtype.row_bytes(cols)?;
        let end = offset.checked_add(row_bytes.checked_mul(rows)?)?;
        (end <= map.len()).then(|| Self {
            map: Arc::clone(map),
            range: offset..end,
            row_bytes,
            dtype,
            rows,
            cols,
        })
    }

    /// The bytes of rows `rows`.
    pub(super) fn bytes(&self, rows: Range<usize>) -> &[u8] {
        let all = &self.map.0[self.range.clone()];
        &all[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.range.len() as u64
    }

    /// Expands rows into `out`, row after row.
    pub(super) fn expand(&self, isa: Isa, rows: Range<usize>, out: &mut [f32]) {
        dequantize(isa, self.dtype, self.bytes(rows), out);
    }

    pub(super) fn kernel(&self, isa: Isa) -> Kernel {
        Kernel::of(self.dtype, isa)
    }
}

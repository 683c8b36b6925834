//! Products with many rows of activations: tiles of weights are expanded to `f32` and multiplied by the `gemm`
//! crate, which picks its micro-kernel at run time. Memory is one tile a thread.

use std::sync::Mutex;

use super::kernels::Isa;
use super::pool::{Base, Pool};
use super::weights::Matrix;

/// Floats of an expanded tile: half of a usual L2.
const TILE: usize = 80 << 10;

/// A strided view of `rows` by `cols` floats.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `cols` floats, `stride` apart.
    ///
    /// # Panics
    /// Where `data` ends before the last row does.
    pub(super) fn rows(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, stride), "{rows}x{cols} in {}", data.len());
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// The same floats with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    cols <= stride
        && (rows == 0
            || (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols)) <= Some(len))
}

/// `out (+)= a * b`, single-threaded; rows of `out` are `stride` apart.
///
/// # Panics
/// Where the shapes do not go together or `out` is too short.
pub(super) fn product(out: &mut [f32], stride: usize, a: View, b: View, accumulate: bool) {
    assert!(fits(out.len(), a.rows, b.cols, stride), "{}x{} in {}", a.rows, b.cols, out.len());
    // SAFETY: `out` holds `a.rows` rows of `b.cols` floats, as just checked.
    unsafe { product_at(out.as_mut_ptr(), stride, a, b, accumulate) }
}

/// # Safety
/// `out` points to `a.rows` rows of `b.cols` writable floats, `stride` apart, which nobody else accesses.
unsafe fn product_at(out: *mut f32, stride: usize, a: View, b: View, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    let s = |n: usize| n as isize;
    // SAFETY: both views were checked against their slices when made; `out` is the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            s(stride),
            accumulate,
            a.data.as_ptr(),
            s(a.col_stride),
            s(a.row_stride),
            b.data.as_ptr(),
            s(b.col_stride),
            s(b.row_stride),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Weight rows a tile of a matrix with this many columns has.
fn tile_rows(cols: usize) -> usize {
    (TILE / cols.max(1)).clamp(16, 128) / 16 * 16
}

/// Expanded tiles, one a thread.
pub(super) struct Tiles(Vec<Mutex<Vec<f32>>>);

impl Tiles {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    /// Bytes all threads hold after multiplying matrices of up to `cols` columns.
    pub(super) fn bytes(&self, cols: usize) -> u64 {
        (self.0.len() * tile_rows(cols) * cols * size_of::<f32>()) as u64
    }
}

/// `out[t] (+)= [w0 * x[t], w1 * x[t], ...]` for every row `t` of `x`; rows of `out` are `stride` apart.
///
/// # Panics
/// Where the matrices' columns differ from the row length of `x`, or `out` is too short.
pub(super) fn multiply(
    pool: &mut Pool,
    isa: Isa,
    tiles: &Tiles,
    weights: &[&Matrix],
    x: View,
    (out, stride): (&mut [f32], usize),
    accumulate: bool,
) {
    let total: usize = weights.iter().map(|w| w.rows).sum();
    assert!(fits(out.len(), x.rows, total, stride), "{}x{total} in {}", x.rows, out.len());
    assert!(weights.iter().all(|w| w.cols == x.cols), "inner dimensions");
    let step = tile_rows(x.cols);
    let counts: Vec<usize> = weights.iter().map(|w| w.rows.div_ceil(step)).collect();
    let base = Base(out.as_mut_ptr());
    pool.run(counts.iter().sum(), &|chunk, thread| {
        let (mut left, mut column) = (chunk, 0);
        for (w, &count) in weights.iter().zip(&counts) {
            if left >= count {
                left -= count;
                column += w.rows;
                continue;
            }
            let first = left * step;
            let rows = first..(first + step).min(w.rows);
            let mut tile = tiles.0[thread].lock().expect("no thread panicked with its tile");
            let size = rows.len() * w.cols;
            if tile.len() < size {
                tile.resize(size, 0.0);
            }
            w.expand(isa, rows.clone(), &mut tile[..size]);
            let b = View::rows(&tile[..size], rows.len(), w.cols, w.cols).transposed();
            // SAFETY: `out` has `x.rows` rows of `total` columns, and this chunk alone writes the columns from
            // `column + first` on, as many as it has weight rows.
            unsafe { product_at(base.get().add(column + first), stride, x, b, accumulate) };
            return;
        }
    });
}

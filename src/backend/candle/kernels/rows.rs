//! Weight rows times one row of activations: which kernel a type gets here, and running it.

use std::fmt;

use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8K,
};

use super::activations::{Activations, Needs};
use super::dequant::dequantize;
use super::floats::dot;
use super::{Dtype, Isa};

/// Who multiplies the rows of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Own vector kernel on 8-bit activations (floats: on `f32`).
    Own(Isa),
    /// candle's `vec_dot` on its 8-bit activations, vectorised for this target.
    Candle(Isa),
    /// Blocks expanded to `f32`, then a float product: no kernel of its own.
    Expanded,
}

impl Kernel {
    /// The kernel that multiplies rows of `dtype` on `isa`.
    pub fn of(dtype: Dtype, isa: Isa) -> Self {
        let isa = isa.checked();
        let neon = cfg!(target_arch = "aarch64");
        match dtype {
            Dtype::Q6_K | Dtype::Q5_K | Dtype::Q4_K | Dtype::Q3_K | Dtype::Q2_K => {
                if isa >= Isa::Avx2 {
                    Kernel::Candle(Isa::Avx2)
                } else if neon {
                    Kernel::Candle(Isa::Baseline)
                } else {
                    Kernel::Expanded
                }
            }
            Dtype::F32 | Dtype::F16 | Dtype::BF16 if isa >= Isa::Avx2 => Kernel::Own(Isa::Avx2),
            _ if isa >= Isa::Avx2 => Kernel::Own(isa),
            _ => Kernel::Expanded,
        }
    }

    /// Integer forms of the activations it reads.
    pub fn needs(self, dtype: Dtype) -> Needs {
        match self {
            Kernel::Own(_) => Needs { blocks32: dtype.block_len() == 32, blocks256: false },
            Kernel::Candle(_) => Needs { blocks32: false, blocks256: true },
            Kernel::Expanded => Needs::default(),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kernel::Own(isa) => write!(f, "{isa} (own)"),
            Kernel::Candle(isa) => write!(f, "{isa} (candle)"),
            Kernel::Expanded => f.write_str("scalar"),
        }
    }
}

/// `out[i]` = row `i` of `rows` times the activations. `rows` holds `out.len()` rows of `dtype`, each as long as
/// the activations, which were set with the [`Needs`] of this kernel.
///
/// # Panics
/// Where `rows` is not `out.len()` whole rows.
pub fn multiply(kernel: Kernel, dtype: Dtype, rows: &[u8], y: &Activations, out: &mut [f32]) {
    let row_bytes = dtype.row_bytes(y.values().len()).expect("rows are whole blocks");
    assert_eq!(rows.len(), row_bytes * out.len(), "{} rows of {dtype:?}", out.len());
    if out.is_empty() || row_bytes == 0 {
        out.fill(0.0);
        return;
    }
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Own(isa) if isa.checked() >= Isa::Avx2 => own(isa.checked(), dtype, rows, y, out),
        Kernel::Candle(_) if candle(dtype, rows, row_bytes, y, out) => {}
        _ => expanded(dtype, rows, row_bytes, y.values(), out),
    }
}

fn expanded(dtype: Dtype, rows: &[u8], row_bytes: usize, y: &[f32], out: &mut [f32]) {
    const PART: usize = 256;
    let part_bytes = PART / dtype.block_len() * dtype.block_bytes();
    let mut buffer = [0f32; PART];
    for (row, o) in rows.chunks_exact(row_bytes).zip(out) {
        *o = 0.0;
        for (bytes, y) in row.chunks(part_bytes).zip(y.chunks(PART)) {
            let values = &mut buffer[..y.len()];
            dequantize(Isa::detect(), dtype, bytes, values);
            *o += dot(Isa::detect(), values, y);
        }
    }
}

/// False where the rows cannot be seen as candle's blocks (not aligned), and nothing was done.
fn candle(dtype: Dtype, rows: &[u8], row_bytes: usize, y: &Activations, out: &mut [f32]) -> bool {
    fn each<B: GgmlType<VecDotType = BlockQ8K>>(
        rows: &[u8],
        row_bytes: usize,
        y: &Activations,
        out: &mut [f32],
    ) -> bool {
        // SAFETY: callers below pass only candle's block structs, `repr(C)`, made of integers and halves, for
        // which every bit pattern is a value; `align_to` splits off whatever is not aligned.
        let (before, blocks, after) = unsafe { rows.align_to::<B>() };
        if !before.is_empty() || !after.is_empty() {
            return false;
        }
        let per_row = row_bytes / size_of::<B>();
        for (row, o) in blocks.chunks_exact(per_row).zip(out) {
            *o = B::vec_dot(per_row * B::BLCK_SIZE, row, y.wide()) + y.poison();
        }
        true
    }
    match dtype {
        Dtype::Q6_K => each::<BlockQ6K>(rows, row_bytes, y, out),
        Dtype::Q5_K => each::<BlockQ5K>(rows, row_bytes, y, out),
        Dtype::Q4_K => each::<BlockQ4K>(rows, row_bytes, y, out),
        Dtype::Q3_K => each::<BlockQ3K>(rows, row_bytes, y, out),
        Dtype::Q2_K => each::<BlockQ2K>(rows, row_bytes, y, out),
        _ => false,
    }
}

#[cfg(target_arch = "x86_64")]
fn own(isa: Isa, dtype: Dtype, rows: &[u8], y: &Activations, out: &mut [f32]) {
    use super::x86;
    // SAFETY (all calls in the macro): `isa` was checked, so the CPU has the features the kernel is compiled for.
    macro_rules! run {
        ($kernel:ident, $y:expr) => {
            by_fours(
                rows,
                out,
                |r| unsafe { x86::$kernel(r, $y) },
                |r| unsafe { x86::$kernel(r, $y) },
            )
        };
    }
    let vnni = isa >= Isa::Avx512Vnni;
    match dtype {
        Dtype::F32 => run!(f32_row, y.values()),
        Dtype::F16 => run!(f16_row, y.values()),
        Dtype::BF16 => run!(bf16_row, y.values()),
        Dtype::Q8_0 if vnni => run!(q8_0_vnni, y),
        Dtype::Q5_1 if vnni => run!(q5_1_vnni, y),
        Dtype::Q5_0 if vnni => run!(q5_0_vnni, y),
        Dtype::Q4_1 if vnni => run!(q4_1_vnni, y),
        Dtype::Q4_0 if vnni => run!(q4_0_vnni, y),
        Dtype::Q8_0 => run!(q8_0, y),
        Dtype::Q5_1 => run!(q5_1, y),
        Dtype::Q5_0 => run!(q5_0, y),
        Dtype::Q4_1 => run!(q4_1, y),
        Dtype::Q4_0 => run!(q4_0, y),
        _ => unreachable!("K-quants have no own kernel"),
    }
}

/// Four rows at once, a quarter of the rows apart: each is read as one long sequence, which the hardware prefetcher
/// follows. Four neighbours would end and begin a sequence every row, at about half the speed.
#[cfg(target_arch = "x86_64")]
fn by_fours(
    rows: &[u8],
    out: &mut [f32],
    four: impl Fn([&[u8]; super::x86::ROWS]) -> [f32; super::x86::ROWS],
    one: impl Fn([&[u8]; 1]) -> [f32; 1],
) {
    const ROWS: usize = super::x86::ROWS;
    let row_bytes = rows.len() / out.len();
    let row = |i: usize| &rows[i * row_bytes..(i + 1) * row_bytes];
    let part = out.len() / ROWS;
    for i in 0..part {
        let values = four(std::array::from_fn(|r| row(r * part + i)));
        for (r, value) in values.into_iter().enumerate() {
            out[r * part + i] = value;
        }
    }
    for (i, o) in out.iter_mut().enumerate().skip(ROWS * part) {
        [*o] = one([row(i)]);
    }
}

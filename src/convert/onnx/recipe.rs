//! Which storage each matrix gets in an ONNX variant.

use candle_core::quantized::GgmlDType;

use super::blocks::{Kind, Scheme};
use crate::convert::recipe;
use crate::formats::gguf::{Mixture, TensorInfo};
use crate::model::Precision;

/// What can be made, widest first.
pub const ONNX_PRECISIONS: &[Precision] = &[
    Precision::F32,
    Precision::F16,
    Precision::Q8_0,
    Precision::Q4_0,
    Precision::Int8Sym,
    Precision::Int8Asym,
    Precision::Int4SymG32,
    Precision::Int4SymG64,
    Precision::Int4SymG128,
    Precision::Int4AsymG32,
    Precision::Int4AsymG64,
    Precision::Int4AsymG128,
];

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    F32,
    /// Expanded to `f32` before it is multiplied.
    F16,
    Blocks(Scheme),
}

/// Fewest weights a block may have.
const MIN_BLOCK: usize = 16;

impl Store {
    /// What the type histogram calls it.
    pub(super) fn name(self) -> String {
        match self {
            Store::F32 => "F32".to_owned(),
            Store::F16 => "F16".to_owned(),
            Store::Blocks(Scheme { kind: Kind::Ggml(dtype), .. }) => {
                format!("{} (f32 scales)", recipe::name(dtype))
            }
            Store::Blocks(s) => {
                let kind = if s.kind == Kind::Symmetric { "sym" } else { "asym" };
                format!("INT{} {kind} g{}", s.bits, s.block)
            }
        }
    }

    /// Bytes of a matrix; its rows are whole blocks.
    pub(super) fn bytes(self, rows: u64, cols: u64) -> u64 {
        match self {
            Store::F32 => rows * cols * 4,
            Store::F16 => rows * cols * 2,
            Store::Blocks(s) => {
                let blocks = cols / s.block as u64;
                let zero_points = match s.kind {
                    Kind::Asymmetric => (blocks * s.bits as u64).div_ceil(8),
                    _ => 0,
                };
                rows * (cols * s.bits as u64 / 8 + blocks * 4 + zero_points)
            }
        }
    }
}

/// How `tensor` is stored at `precision`, and `wanted -> used` where its rows or the operators do not allow what the
/// precision asks for. `None` for a precision that is not one of [`ONNX_PRECISIONS`].
pub(super) fn store(
    precision: Precision,
    mixture: Option<&Mixture>,
    tensor: &TensorInfo,
) -> Option<(Store, Option<String>)> {
    use Precision as P;
    let integers = |bits, block, kind| Some(fitting(Scheme { bits, block, kind }, tensor.shape[0]));
    match precision {
        P::F32 => Some((Store::F32, None)),
        P::F16 => Some((Store::F16, None)),
        P::Q8_0 | P::Q4_0 => {
            let (wanted, used) = mixture?.types(&tensor.name, &tensor.shape)?;
            let ggml =
                |bits, dtype| Store::Blocks(Scheme { bits, block: 32, kind: Kind::Ggml(dtype) });
            let stored = match used.name {
                "Q4_0" => ggml(4, GgmlDType::Q4_0),
                "F16" => Store::F16,
                // There is no operator for super-blocks.
                _ => ggml(8, GgmlDType::Q8_0),
            };
            let same = stored.name() == format!("{} (f32 scales)", wanted.name);
            let note = || format!("{} -> {}", wanted.name, stored.name());
            Some((stored, (!same).then(note)))
        }
        P::Int8Sym => integers(8, 128, Kind::Symmetric),
        P::Int8Asym => integers(8, 128, Kind::Asymmetric),
        P::Int4SymG32 => integers(4, 32, Kind::Symmetric),
        P::Int4SymG64 => integers(4, 64, Kind::Symmetric),
        P::Int4SymG128 => integers(4, 128, Kind::Symmetric),
        P::Int4AsymG32 => integers(4, 32, Kind::Asymmetric),
        P::Int4AsymG64 => integers(4, 64, Kind::Asymmetric),
        P::Int4AsymG128 => integers(4, 128, Kind::Asymmetric),
        _ => None,
    }
}

/// The largest block up to the wanted one that divides a row: padded rows would be larger and no better.
fn fitting(wanted: Scheme, row: u64) -> (Store, Option<String>) {
    let mut scheme = wanted;
    while scheme.block >= MIN_BLOCK && !row.is_multiple_of(scheme.block as u64) {
        scheme.block /= 2;
    }
    let used = if scheme.block < MIN_BLOCK { Store::F16 } else { Store::Blocks(scheme) };
    let note = format!("{} -> {}", Store::Blocks(wanted).name(), used.name());
    (used, (used != Store::Blocks(wanted)).then_some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(precision: Precision, name: &str, row: u64) -> (String, Option<String>) {
        let mixture = Mixture::new(precision, [32, 0, 4], ["output.weight"].into_iter());
        let tensor = TensorInfo {
            name: name.into(),
            shape: vec![row, 64],
            type_id: 0,
            offset: 0,
            bytes: 0,
            part: 0,
        };
        let (stored, note) = store(precision, mixture.as_ref(), &tensor).unwrap();
        (stored.name(), note)
    }

    #[test]
    fn every_precision_has_a_recipe_and_rows_that_do_not_fit_are_noted() {
        for &p in ONNX_PRECISIONS {
            of(p, "blk.0.attn_q.weight", 1024);
        }
        let (name, note) = of(Precision::Int4SymG128, "blk.0.attn_q.weight", 576);
        assert_eq!(name, "INT4 sym g64");
        assert_eq!(note.unwrap(), "INT4 sym g128 -> INT4 sym g64");
        assert_eq!(of(Precision::Int4AsymG32, "blk.0.attn_q.weight", 40).0, "F16");
    }

    #[test]
    fn gguf_types_stay_themselves_and_super_blocks_become_eight_bits() {
        let same = |name: &str| (format!("{name} (f32 scales)"), None);
        assert_eq!(of(Precision::Q4_0, "blk.0.attn_q.weight", 1024), same("Q4_0"));
        assert_eq!(of(Precision::Q8_0, "output.weight", 1024), same("Q8_0"));
        let (name, note) = of(Precision::Q4_0, "output.weight", 1024);
        assert_eq!(
            (name.as_str(), note.unwrap().as_str()),
            ("Q8_0 (f32 scales)", "Q6_K -> Q8_0 (f32 scales)")
        );
    }

    #[test]
    fn sizes_count_scales_and_zero_points() {
        let scheme = |bits, block, kind| Store::Blocks(Scheme { bits, block, kind });
        assert_eq!(Store::F16.bytes(2, 64), 256);
        assert_eq!(scheme(4, 32, Kind::Symmetric).bytes(1, 576), 288 + 18 * 4);
        assert_eq!(scheme(4, 64, Kind::Asymmetric).bytes(2, 576), 2 * (288 + 9 * 4 + 5));
        assert_eq!(scheme(8, 128, Kind::Asymmetric).bytes(1, 128), 128 + 4 + 1);
    }
}

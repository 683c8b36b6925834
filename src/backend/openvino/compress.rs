//! Which precisions there are, and what NNCF is asked for to make each.

use serde_json::{Value, json};

use crate::formats::{IrConstant, OpenVinoIr};
use crate::model::Precision;

/// How a variant is made from weights in floating point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recipe {
    /// Stored in another floating-point type.
    Cast(&'static str),
    /// NNCF's 8-bit modes: one scale a row, every layer.
    Bits8(&'static str),
    /// NNCF's other modes: `group` weights share a scale, -1 for a row, 0 for what the mode prescribes; `ratio` of the
    /// weights are in that mode, the others in 8 bits, as are embedding and output layer.
    Grouped { mode: &'static str, group: i64, ratio: f64 },
    /// Weights and activations in 8 bits, ranges from calibration inputs.
    Calibrated,
}

use Recipe::{Bits8, Calibrated, Cast, Grouped};

const fn grouped(mode: &'static str, group: i64) -> Recipe {
    Grouped { mode, group, ratio: 1.0 }
}

/// Every precision with its recipe, widest first. Modes are NNCF's `CompressWeightsMode`.
const RECIPES: &[(Precision, Recipe)] = &[
    (Precision::F32, Cast("f32")),
    (Precision::F16, Cast("f16")),
    (Precision::BF16, Cast("bf16")),
    (Precision::Int8Static, Calibrated),
    (Precision::Int8Sym, Bits8("int8_sym")),
    (Precision::Int8Asym, Bits8("int8_asym")),
    (Precision::Int4SymG32, grouped("int4_sym", 32)),
    (Precision::Int4SymG64, grouped("int4_sym", 64)),
    (Precision::Int4SymG128, grouped("int4_sym", 128)),
    (Precision::Int4SymPerChannel, grouped("int4_sym", -1)),
    (Precision::Int4AsymG32, grouped("int4_asym", 32)),
    (Precision::Int4AsymG64, grouped("int4_asym", 64)),
    (Precision::Int4AsymG128, grouped("int4_asym", 128)),
    (Precision::Int4AsymPerChannel, grouped("int4_asym", -1)),
    // The fifth of the layers that lose most by it stays in 8 bits.
    (Precision::Int4Mixed, Grouped { mode: "int4_sym", group: 64, ratio: 0.8 }),
    (Precision::Nf4, grouped("nf4", 64)),
    (Precision::Mxfp8, grouped("mxfp8_e4m3", 0)),
    (Precision::Mxfp4, grouped("mxfp4", 0)),
    (Precision::Nvfp4, grouped("nvfp4", 0)),
];

/// What can be made and run, widest first.
pub(super) const PRECISIONS: &[Precision] = &Precision::keys::<_, { RECIPES.len() }>(RECIPES);

/// Those of a language model: its activations are never quantized beforehand.
pub(super) const OF_TEXT: &[Precision] = &{
    let mut all = [Precision::F32; RECIPES.len() - 1];
    let (mut from, mut to) = (0, 0);
    while from < RECIPES.len() {
        if !matches!(RECIPES[from].1, Calibrated) {
            all[to] = RECIPES[from].0;
            to += 1;
        }
        from += 1;
    }
    all
};

/// Those that make sense for a graph of matrices and kernels.
pub(super) const OF_GRAPHS: &[Precision] = &[
    Precision::F32,
    Precision::F16,
    Precision::BF16,
    Precision::Int8Static,
    Precision::Int8Sym,
    Precision::Int8Asym,
    Precision::Int4SymG64,
    Precision::Int4AsymG64,
];

/// How `precision` is made.
pub(super) fn recipe(precision: Precision) -> Option<Recipe> {
    RECIPES.iter().find(|(p, _)| *p == precision).map(|(_, r)| *r)
}

impl Recipe {
    /// The fields that `make.py` reads.
    pub(super) fn request(self) -> Value {
        match self {
            Cast(to) => json!({ "cast": to }),
            Calibrated => json!({ "calibrate": true }),
            Bits8(mode) => json!({ "mode": mode, "bits": 8 }),
            Grouped { mode, group, ratio } => {
                json!({ "mode": mode, "bits": 4, "group": group, "ratio": ratio })
            }
        }
    }

    /// Whether the graph held anything to compress.
    pub(super) fn took(self, ir: &OpenVinoIr) -> bool {
        match self {
            Cast(_) => true,
            Calibrated => ir.fake_quantize > 0,
            Bits8(_) => ir.constants.iter().any(|c| c.is_weight() && is_byte(&c.dtype)),
            // Layers that a mode does not know get 8 bits: that alone is not what was asked for.
            Grouped { .. } => ir
                .constants
                .iter()
                .any(|c| c.is_weight() && !is_wide(&c.dtype) && !is_byte(&c.dtype)),
        }
    }

    /// Weights that did not get what was asked for: `G128 -> G64: 30`, `4-bit -> u8: 1`.
    pub(super) fn fallbacks(self, ir: &OpenVinoIr) -> Vec<String> {
        let Grouped { group, .. } = self else { return Vec::new() };
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for c in ir.constants.iter().filter(|c| c.is_weight() && !is_wide(&c.dtype)) {
            let what = match (c.dtype.as_str(), c.shape.last()) {
                ("u8" | "i8", _) => format!("grouped -> {}", c.dtype),
                (_, Some(&g)) if c.shape.len() == 3 && group > 0 && g != group as u64 => {
                    format!("G{group} -> G{g}")
                }
                _ => continue,
            };
            *counts.entry(what).or_default() += 1;
        }
        counts.into_iter().map(|(what, n)| format!("{what}: {n}")).collect()
    }
}

fn is_byte(dtype: &str) -> bool {
    matches!(dtype, "i8" | "u8")
}

fn is_wide(dtype: &str) -> bool {
    matches!(dtype, "f64" | "f32" | "f16" | "bf16")
}

/// The precision of an IR as it came, from the type most of its weight bytes have; `None` for a mix we have no name for.
pub(super) fn precision_of(ir: &OpenVinoIr) -> Option<Precision> {
    let weights: Vec<&IrConstant> = ir.constants.iter().filter(|c| c.is_weight()).collect();
    if ir.fake_quantize > 0 {
        return Some(Precision::Int8Static);
    }
    let most = weights.iter().max_by_key(|c| {
        let same = weights.iter().filter(|w| w.dtype == c.dtype);
        same.map(|w| w.bytes).sum::<u64>()
    })?;
    // A 4-bit model's embedding can be larger than all the rest: any grouped weight decides.
    let main =
        weights.iter().find(|c| c.shape.len() == 3 && c.dtype.ends_with('4')).unwrap_or(most);
    let group = if main.shape.len() == 3 { main.shape[2] } else { 0 };
    Some(match (main.dtype.as_str(), group) {
        ("f32", _) => Precision::F32,
        ("f16", _) => Precision::F16,
        ("bf16", _) => Precision::BF16,
        ("i8", _) => Precision::Int8Sym,
        ("u8", _) => Precision::Int8Asym,
        ("i4", 32) => Precision::Int4SymG32,
        ("i4", 64) => Precision::Int4SymG64,
        ("i4", 128) => Precision::Int4SymG128,
        ("i4", 0) => Precision::Int4SymPerChannel,
        ("u4", 32) => Precision::Int4AsymG32,
        ("u4", 64) => Precision::Int4AsymG64,
        ("u4", 128) => Precision::Int4AsymG128,
        ("u4", 0) => Precision::Int4AsymPerChannel,
        ("nf4", _) => Precision::Nf4,
        ("f8e4m3", _) => Precision::Mxfp8,
        ("f4e2m1", 32) => Precision::Mxfp4,
        ("f4e2m1", 16) => Precision::Nvfp4,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ir(constants: &[(&str, &[u64])]) -> OpenVinoIr {
        let constants = constants
            .iter()
            .map(|(t, s)| IrConstant {
                dtype: (*t).into(),
                shape: s.to_vec(),
                bytes: s.iter().product(),
            })
            .collect();
        OpenVinoIr { constants, ..OpenVinoIr::default() }
    }

    #[test]
    fn an_ir_is_named_by_what_its_weights_are_stored_in() {
        let grouped = [("u8", &[1000, 576][..]), ("i4", &[576, 9, 64]), ("f16", &[576, 9, 1])];
        assert_eq!(precision_of(&ir(&grouped)), Some(Precision::Int4SymG64));
        assert_eq!(precision_of(&ir(&[("f16", &[8, 8])])), Some(Precision::F16));
        assert_eq!(precision_of(&ir(&[("i4", &[8, 2, 48])])), None);
        assert_eq!(precision_of(&ir(&[])), None);
    }

    #[test]
    fn weights_that_got_another_group_or_width_are_counted() {
        let made = ir(&[
            ("f16", &[1, 1, 576]),
            ("u8", &[1000, 576]),
            ("i4", &[576, 9, 64]),
            ("i4", &[576, 12, 128]),
        ]);
        let recipe = recipe(Precision::Int4SymG128).unwrap();
        assert_eq!(recipe.fallbacks(&made), ["G128 -> G64: 1", "grouped -> u8: 1"]);
        assert!(Bits8("int8_sym").fallbacks(&made).is_empty());
        assert!(recipe.took(&made));
        assert!(!recipe.took(&ir(&[("u8", &[1000, 576]), ("f16", &[8, 8])])));
    }
}

//! What each precision is to mlx-lm's quantizer.

use serde::Serialize;

use crate::model::Precision;

/// How the weights of a variant are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recipe {
    /// Floating point, by MLX's name of the type.
    Float(&'static str),
    Quantized(Quantized),
}

/// Arguments of mlx-lm's `quantize_model`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantized {
    pub mode: &'static str,
    pub bits: u32,
    pub group: u32,
    /// Name of one of mlx-lm's mixed recipes.
    pub recipe: Option<&'static str>,
}

const fn affine(bits: u32, group: u32) -> Recipe {
    Recipe::Quantized(Quantized { mode: "affine", bits, group, recipe: None })
}

/// Groups as the formats define them.
const fn floating(mode: &'static str, bits: u32, group: u32) -> Recipe {
    Recipe::Quantized(Quantized { mode, bits, group, recipe: None })
}

const fn mixed(recipe: &'static str, bits: u32) -> Recipe {
    Recipe::Quantized(Quantized { mode: "affine", bits, group: 64, recipe: Some(recipe) })
}

/// Widest first.
const RECIPES: &[(Precision, Recipe)] = &[
    (Precision::F32, Recipe::Float("float32")),
    (Precision::F16, Recipe::Float("float16")),
    (Precision::BF16, Recipe::Float("bfloat16")),
    (Precision::MlxQ8G32, affine(8, 32)),
    (Precision::MlxQ8G64, affine(8, 64)),
    (Precision::MlxQ8G128, affine(8, 128)),
    (Precision::Mxfp8, floating("mxfp8", 8, 32)),
    (Precision::MlxQ6G32, affine(6, 32)),
    (Precision::MlxQ6G64, affine(6, 64)),
    (Precision::MlxQ6G128, affine(6, 128)),
    (Precision::MlxQ5G32, affine(5, 32)),
    (Precision::MlxQ5G64, affine(5, 64)),
    (Precision::MlxQ5G128, affine(5, 128)),
    (Precision::MlxMixed, mixed("mixed_4_6", 4)),
    (Precision::MlxQ4G32, affine(4, 32)),
    (Precision::MlxQ4G64, affine(4, 64)),
    (Precision::Nvfp4, floating("nvfp4", 4, 16)),
    (Precision::MlxQ4G128, affine(4, 128)),
    (Precision::Mxfp4, floating("mxfp4", 4, 32)),
    (Precision::MlxMixed36, mixed("mixed_3_6", 3)),
    (Precision::MlxQ3G32, affine(3, 32)),
    (Precision::MlxQ3G64, affine(3, 64)),
    (Precision::MlxQ3G128, affine(3, 128)),
    (Precision::MlxMixed26, mixed("mixed_2_6", 2)),
    (Precision::MlxQ2G32, affine(2, 32)),
    (Precision::MlxQ2G64, affine(2, 64)),
    (Precision::MlxQ2G128, affine(2, 128)),
];

/// What can be made and run, widest first.
pub(super) const PRECISIONS: &[Precision] = &Precision::keys::<_, { RECIPES.len() }>(RECIPES);

pub(super) fn recipe(precision: Precision) -> Option<Recipe> {
    RECIPES.iter().find(|(p, _)| *p == precision).map(|(_, r)| *r)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of a weight with its share of the group's scale, and bias where there is one.
    fn nominal(q: Quantized) -> f64 {
        let overhead = match q.mode {
            // A 16-bit scale and a 16-bit bias.
            "affine" => 32.0,
            _ => 8.0,
        };
        f64::from(q.bits) + overhead / f64::from(q.group)
    }

    #[test]
    fn names_bits_and_groups_belong_together() {
        for &(precision, recipe) in RECIPES {
            let Recipe::Quantized(q) = recipe else { continue };
            let bits = precision.bits_per_weight();
            match q.recipe {
                Some(mix) => {
                    assert_eq!(precision.name().to_lowercase(), mix);
                    assert!(bits > nominal(q) && bits < nominal(q) + 2.0, "{precision}");
                }
                None => assert_eq!(bits, nominal(q), "{precision}"),
            }
            if q.mode == "affine" && q.recipe.is_none() {
                assert_eq!(precision.name(), format!("{}BIT_G{}", q.bits, q.group));
            }
        }
    }
}

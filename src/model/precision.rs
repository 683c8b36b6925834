//! Every precision a variant can have, in one table. Backends map their own spellings to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Coarse class of a precision, by bits per weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionClass {
    /// 1-2 bits.
    UltraLow,
    /// 3-4 bits.
    Low,
    /// 5-8 bits.
    Medium,
    /// 16-bit floating point.
    Half,
    /// 32-bit floating point.
    Full,
}

/// Which toolchain's scheme a precision belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Plain floating point, the same everywhere.
    Float,
    /// GGUF block types and the llama.cpp recipes that mix them.
    Gguf,
    /// Weight-only or full integer schemes of ONNX Runtime, OpenVINO and Olive.
    Int,
    /// Block floating-point schemes with shared scales.
    Microscaling,
    /// Affine group quantization as MLX writes it.
    Mlx,
    /// Weight and activation widths of NPU toolchains.
    Npu,
}

macro_rules! precisions {
    ($($variant:ident, $name:literal, $bpw:literal, $class:ident, $family:ident;)*) => {
        /// A weight precision. `bits_per_weight` is nominal: the true value of a file comes from its tensors.
        #[allow(non_camel_case_types, reason = "the field writes these names with underscores")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Precision { $($variant),* }

        impl Precision {
            /// Every precision, in table order (widest float first, then by family).
            pub const ALL: &'static [Precision] = &[$(Precision::$variant),*];

            /// The field's own name, e.g. `Q4_K_M`.
            pub fn name(self) -> &'static str {
                match self { $(Precision::$variant => $name),* }
            }
            /// Nominal bits per weight including scales (llama.cpp's figures for GGUF recipes on an 8B model).
            pub fn bits_per_weight(self) -> f64 {
                match self { $(Precision::$variant => $bpw),* }
            }
            pub fn class(self) -> PrecisionClass {
                match self { $(Precision::$variant => PrecisionClass::$class),* }
            }
            pub fn family(self) -> Family {
                match self { $(Precision::$variant => Family::$family),* }
            }
        }
    };
}

precisions! {
    F32, "F32", 32.0, Full, Float;
    F16, "F16", 16.0, Half, Float;
    BF16, "BF16", 16.0, Half, Float;
    Q8_0, "Q8_0", 8.5, Medium, Gguf;
    Q6_K, "Q6_K", 6.5625, Medium, Gguf;
    Q5_K_M, "Q5_K_M", 5.70, Medium, Gguf;
    Q5_K_S, "Q5_K_S", 5.57, Medium, Gguf;
    Q5_1, "Q5_1", 6.0, Medium, Gguf;
    Q5_0, "Q5_0", 5.5, Medium, Gguf;
    Q4_K_M, "Q4_K_M", 4.89, Low, Gguf;
    Q4_K_S, "Q4_K_S", 4.67, Low, Gguf;
    Q4_1, "Q4_1", 5.0, Low, Gguf;
    Q4_0, "Q4_0", 4.5, Low, Gguf;
    IQ4_NL, "IQ4_NL", 4.5, Low, Gguf;
    IQ4_XS, "IQ4_XS", 4.25, Low, Gguf;
    Q3_K_L, "Q3_K_L", 4.30, Low, Gguf;
    Q3_K_M, "Q3_K_M", 4.00, Low, Gguf;
    Q3_K_S, "Q3_K_S", 3.64, Low, Gguf;
    IQ3_M, "IQ3_M", 3.76, Low, Gguf;
    IQ3_S, "IQ3_S", 3.66, Low, Gguf;
    IQ3_XS, "IQ3_XS", 3.50, Low, Gguf;
    IQ3_XXS, "IQ3_XXS", 3.25, Low, Gguf;
    Q2_K, "Q2_K", 3.16, UltraLow, Gguf;
    Q2_K_S, "Q2_K_S", 2.97, UltraLow, Gguf;
    IQ2_M, "IQ2_M", 2.93, UltraLow, Gguf;
    IQ2_S, "IQ2_S", 2.74, UltraLow, Gguf;
    IQ2_XS, "IQ2_XS", 2.59, UltraLow, Gguf;
    IQ2_XXS, "IQ2_XXS", 2.38, UltraLow, Gguf;
    IQ1_M, "IQ1_M", 2.15, UltraLow, Gguf;
    IQ1_S, "IQ1_S", 2.00, UltraLow, Gguf;
    TQ2_0, "TQ2_0", 2.06, UltraLow, Gguf;
    TQ1_0, "TQ1_0", 1.69, UltraLow, Gguf;
    Int8, "INT8", 8.5, Medium, Int;
    Int8Sym, "INT8_SYM", 8.03, Medium, Int;
    Int8Asym, "INT8_ASYM", 8.06, Medium, Int;
    Int8Dynamic, "INT8_DYNAMIC", 8.0, Medium, Int;
    Int8DynamicPerChannel, "INT8_DYNAMIC_PC", 8.1, Medium, Int;
    Int8Static, "INT8_STATIC", 8.1, Medium, Int;
    Int4SymG32, "INT4_SYM_G32", 4.5, Low, Int;
    Int4SymG64, "INT4_SYM_G64", 4.25, Low, Int;
    Int4SymG128, "INT4_SYM_G128", 4.125, Low, Int;
    Int4SymPerChannel, "INT4_SYM_PC", 4.03, Low, Int;
    Int4AsymG32, "INT4_ASYM_G32", 4.625, Low, Int;
    Int4AsymG64, "INT4_ASYM_G64", 4.31, Low, Int;
    Int4AsymG128, "INT4_ASYM_G128", 4.16, Low, Int;
    Int4AsymPerChannel, "INT4_ASYM_PC", 4.06, Low, Int;
    Int4KQuant, "INT4_KQUANT", 5.0, Low, Int;
    Int4Hqq, "INT4_HQQ", 4.5, Low, Int;
    Int4Rtn, "INT4_RTN", 4.5, Low, Int;
    Int4Mixed, "INT4_MIXED", 5.0, Low, Int;
    Nf4, "NF4", 4.25, Low, Microscaling;
    Mxfp8, "MXFP8", 8.25, Medium, Microscaling;
    Mxfp4, "MXFP4", 4.25, Low, Microscaling;
    Nvfp4, "NVFP4", 4.5, Low, Microscaling;
    MlxQ8G32, "8BIT_G32", 9.0, Medium, Mlx;
    MlxQ8G64, "8BIT_G64", 8.5, Medium, Mlx;
    MlxQ8G128, "8BIT_G128", 8.25, Medium, Mlx;
    MlxQ6G32, "6BIT_G32", 7.0, Medium, Mlx;
    MlxQ6G64, "6BIT_G64", 6.5, Medium, Mlx;
    MlxQ6G128, "6BIT_G128", 6.25, Medium, Mlx;
    MlxQ5G32, "5BIT_G32", 6.0, Medium, Mlx;
    MlxQ5G64, "5BIT_G64", 5.5, Medium, Mlx;
    MlxQ5G128, "5BIT_G128", 5.25, Medium, Mlx;
    MlxQ4G32, "4BIT_G32", 5.0, Low, Mlx;
    MlxQ4G64, "4BIT_G64", 4.5, Low, Mlx;
    MlxQ4G128, "4BIT_G128", 4.25, Low, Mlx;
    MlxQ3G32, "3BIT_G32", 4.0, Low, Mlx;
    MlxQ3G64, "3BIT_G64", 3.5, Low, Mlx;
    MlxQ3G128, "3BIT_G128", 3.25, Low, Mlx;
    MlxQ2G32, "2BIT_G32", 3.0, UltraLow, Mlx;
    MlxQ2G64, "2BIT_G64", 2.5, UltraLow, Mlx;
    MlxQ2G128, "2BIT_G128", 2.25, UltraLow, Mlx;
    MlxMixed, "MIXED_4_6", 5.2, Low, Mlx;
    MlxMixed36, "MIXED_3_6", 4.1, Low, Mlx;
    MlxMixed26, "MIXED_2_6", 3.3, Low, Mlx;
    A8W8, "A8W8", 8.0, Medium, Npu;
    A16W8, "A16W8", 8.0, Medium, Npu;
    A16W4, "A16W4", 4.5, Low, Npu;
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Precision {
    /// The precisions of a table with a row a precision, in its order; `N` is its length.
    pub(crate) const fn keys<T, const N: usize>(table: &[(Precision, T)]) -> [Precision; N] {
        let mut all = [Precision::F32; N];
        let mut i = 0;
        while i < N {
            all[i] = table[i].0;
            i += 1;
        }
        all
    }
}

/// The name is not one of [`Precision::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision `{0}`")]
pub struct UnknownPrecision(pub String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    /// Accepts the name in any case, with `-` for `_`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let wanted = s.replace('-', "_");
        Precision::ALL
            .iter()
            .copied()
            .find(|p| p.name().eq_ignore_ascii_case(&wanted))
            .ok_or_else(|| UnknownPrecision(s.to_owned()))
    }
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Precision {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(d)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_round_trips_through_its_name() {
        for &p in Precision::ALL {
            assert_eq!(p.name().parse(), Ok(p));
            assert_eq!(p.name().to_lowercase().parse(), Ok(p));
        }
        assert!("Q4_K_X".parse::<Precision>().is_err());
    }

    #[test]
    fn class_follows_bits_per_weight() {
        for &p in Precision::ALL {
            let expected = match p.bits_per_weight() {
                b if b >= 32.0 => PrecisionClass::Full,
                b if b >= 16.0 => PrecisionClass::Half,
                b if b > 5.2 => PrecisionClass::Medium,
                b if b > 3.16 => PrecisionClass::Low,
                _ => PrecisionClass::UltraLow,
            };
            assert_eq!(p.class(), expected, "{p}");
        }
    }
}

//! llama.cpp's mixtures: the type that each tensor of a precision gets (`llama-quant.cpp`, build 11434, without an
//! importance matrix and without the exceptions of single architectures).

use super::head::Gguf;
use super::types::{GgmlType, ggml_type_named};
use super::value::Value;
use crate::model::{Attention, ModelSpec, Precision};

/// A precision and what its mixture depends on besides the tensor.
#[derive(Debug)]
pub struct Mixture {
    precision: Precision,
    base: &'static GgmlType,
    layers: u32,
    experts: u32,
    /// Query heads for each key-value head.
    group: u32,
    /// The embeddings are the output head.
    tied: bool,
    /// Layers with a value projection, in order.
    values: Vec<u32>,
}

impl Mixture {
    /// For a model's shape; `None` for a precision that is no GGUF type.
    pub fn of_spec(precision: Precision, spec: &ModelSpec) -> Option<Self> {
        let layers = u32::try_from(spec.layers.len()).unwrap_or(u32::MAX);
        // llama.cpp asks the first layer; Qwen's hybrids state one number for all.
        let asked = |l: &&Attention| {
            !spec.architecture.starts_with("qwen3") || !matches!(l, Attention::Recurrent { .. })
        };
        let group = match spec.layers.iter().find(asked) {
            Some(
                &Attention::Gqa { heads, kv_heads, .. }
                | &Attention::Parallel { heads, kv_heads, .. },
            ) => heads.checked_div(kv_heads).unwrap_or(0),
            // One compressed head serves all.
            Some(&Attention::Mla { heads, .. }) => heads,
            _ => 1,
        };
        let names = spec.tensors.iter().map(|t| t.name.as_str());
        Self::new(precision, [layers, spec.experts, group], names)
    }

    /// For a file; `None` for a precision that is no GGUF type.
    pub fn of_file(precision: Precision, gguf: &Gguf) -> Option<Self> {
        // The first layer's, where each has its own.
        let number = |key: &str| {
            let one = gguf.arch(key).and_then(Value::as_u64);
            let first = || {
                let all = gguf.ints(&format!("{}.{key}", gguf.architecture()), 1 << 12);
                all.ok()??.first().and_then(|&n| u64::try_from(n).ok())
            };
            one.or_else(first).and_then(|n| u32::try_from(n).ok())
        };
        let heads = number("attention.head_count").unwrap_or(1);
        let group = heads.checked_div(number("attention.head_count_kv").unwrap_or(heads));
        let group = group.unwrap_or(0);
        let numbers = ["block_count", "expert_count"].map(|key| number(key).unwrap_or(0));
        let names = gguf.tensors.iter().map(|t| t.name.as_str());
        Self::new(precision, [numbers[0], numbers[1], group], names)
    }

    /// From numbers of layers, experts and query heads for each key-value head, and the names of all tensors.
    pub fn new<'a>(
        precision: Precision,
        [layers, experts, group]: [u32; 3],
        names: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let base = base(precision)?;
        let (mut tied, mut values) = (true, Vec::new());
        for name in names {
            let (layer, part) = split(name);
            tied &= part != "output";
            if is_value(part) {
                values.push(layer);
            }
        }
        values.sort_unstable();
        Some(Self { precision, base, layers, experts, group, tied, values })
    }

    /// The type a tensor shall have and the one its rows can have; `None` where it is no matrix that is converted.
    pub fn types(
        &self,
        name: &str,
        shape: &[u64],
    ) -> Option<(&'static GgmlType, &'static GgmlType)> {
        let (layer, part) = split(name);
        let matrix = shape.len() >= 2 && name.ends_with("weight");
        if !matrix || is_kept(part) {
            return None;
        }
        if !self.base.is_quantized() {
            return Some((self.base, self.base));
        }
        let wanted = match self.wanted(layer, part, shape) {
            most if most == self.base.name => self.base,
            other => ggml_type_named(other)?,
        };
        Some((wanted, fitting(wanted, shape[0])?))
    }

    fn wanted(&self, layer: u32, part: &str, shape: &[u64]) -> &'static str {
        use Precision as P;
        let (p, base) = (self.precision, self.base.name);
        let low_s = matches!(p, P::IQ2_S | P::IQ2_M);
        let low = self.is_low();
        let embedding = matches!(part, "token_embd" | "per_layer_token_embd");
        if part == "output" || (self.tied && embedding) {
            return match p {
                P::Q8_0 | P::Mxfp4 => "Q8_0",
                _ if !shape[0].is_multiple_of(self.base.block) => "Q8_0",
                P::IQ3_XXS => "Q5_K",
                _ if low => "Q5_K",
                _ => "Q6_K",
            };
        }
        let eight = self.experts == 8;
        let (first_eighth, last_eighth) = eighths(layer, self.layers);
        let more = more_bits(layer, self.layers);
        match part {
            _ if p == P::Mxfp4 => either(shape.len() > 2, "MXFP4", "Q8_0"),
            _ if embedding => match p {
                P::IQ2_S | P::IQ2_M | P::IQ3_XXS => "IQ3_S",
                P::TQ1_0 | P::TQ2_0 => "Q4_K",
                _ if low => "Q2_K",
                _ => base,
            },
            _ if is_value(part) => self.value(layer),
            "attn_k" if eight => either(low, "Q4_K", "Q8_0"),
            "attn_k" | "attn_q" => match p {
                P::IQ3_XS => "IQ3_XXS",
                P::IQ3_XXS => "IQ2_S",
                _ => base,
            },
            "attn_output" if eight => match p {
                P::Q3_K_L | P::Q5_K_S | P::Q5_K_M | P::Q6_K | P::Q2_K_S => base,
                _ if base.contains("_K") || base.starts_with("IQ") => "Q5_K",
                _ => base,
            },
            "attn_output" => match p {
                P::IQ1_S | P::IQ1_M => "IQ2_XXS",
                P::IQ2_S | P::IQ2_M | P::IQ3_XXS => "IQ3_S",
                P::Q2_K => "Q3_K",
                P::Q3_K_M | P::IQ3_M => "Q4_K",
                P::Q3_K_L => "Q5_K",
                _ => base,
            },
            _ if part.starts_with("ffn_down") => match p {
                _ if low && first_eighth => either(low_s, "IQ3_S", "Q2_K"),
                P::Q2_K => "Q3_K",
                P::Q2_K_S if first_eighth => "Q4_K",
                P::IQ3_XXS => either(first_eighth, "Q4_K", "Q3_K"),
                P::Q3_K_M => either(layer < self.layers / 16, "Q5_K", "Q4_K"),
                P::IQ3_M if first_eighth || (eight && more) => "Q4_K",
                P::Q3_K_L => "Q5_K",
                P::Q4_K_M | P::Q5_K_M if more => "Q6_K",
                P::Q4_K_S | P::IQ4_NL | P::IQ4_XS if first_eighth => "Q5_K",
                _ => base,
            },
            _ if part.starts_with("ffn_up") || part.starts_with("ffn_gate") => {
                either(p == P::IQ3_XS && !first_eighth && !last_eighth, "IQ3_XXS", base)
            }
            _ => base,
        }
    }

    /// Of a value projection, by its place among them.
    fn value(&self, layer: u32) -> &'static str {
        use Precision as P;
        let base = self.base.name;
        let grouped = self.group >= 4;
        if self.is_low() {
            return match self.precision {
                _ if grouped || self.experts >= 4 => "Q4_K",
                P::IQ2_S | P::IQ2_M => "IQ3_S",
                _ => "Q2_K",
            };
        }
        if self.experts == 8 {
            return "Q8_0";
        }
        let place = self.values.partition_point(|l| *l < layer) as u32;
        let kind = match self.precision {
            P::Q2_K => either(grouped, "Q4_K", "Q3_K"),
            P::Q2_K_S | P::IQ3_XS | P::IQ3_S if grouped => "Q4_K",
            P::IQ3_XXS => either(grouped, "Q4_K", "IQ3_S"),
            P::IQ3_M => "Q4_K",
            P::Q3_K_M => either(place < 2, "Q5_K", "Q4_K"),
            P::Q3_K_L => "Q5_K",
            P::IQ4_NL | P::IQ4_XS if grouped => "Q5_K",
            P::Q4_K_M | P::Q5_K_M if more_bits(place, self.values.len() as u32) => "Q6_K",
            P::Q4_K_S if place < 4 => "Q5_K",
            _ => base,
        };
        // The 70B models of Llama and Qwen: small beside the query projection.
        let seventy = self.layers == 80 && self.group > 1;
        if seventy && matches!(kind, "Q3_K" | "Q4_K") { "Q5_K" } else { kind }
    }

    /// One and two bits, which have rules of their own.
    fn is_low(&self) -> bool {
        self.base.name.starts_with("IQ1") || self.base.name.starts_with("IQ2")
    }
}

/// The type of most matrices; `None` for a precision that is no GGUF type.
pub fn base(precision: Precision) -> Option<&'static GgmlType> {
    ggml_type_named(match precision {
        Precision::Q2_K_S => "Q2_K",
        Precision::Q3_K_S | Precision::Q3_K_M | Precision::Q3_K_L => "Q3_K",
        Precision::Q4_K_S | Precision::Q4_K_M => "Q4_K",
        Precision::Q5_K_S | Precision::Q5_K_M => "Q5_K",
        Precision::IQ3_XS | Precision::IQ3_M => "IQ3_S",
        Precision::IQ2_M => "IQ2_S",
        Precision::IQ2_S => "IQ2_XS",
        Precision::Mxfp4 => "MXFP4",
        other => other.name(),
    })
}

fn either(condition: bool, then: &'static str, otherwise: &'static str) -> &'static str {
    if condition { then } else { otherwise }
}

/// Matrices that keep their type.
fn is_kept(part: &str) -> bool {
    part.ends_with("_norm")
        || part.ends_with("position_embd")
        || part.starts_with("altup")
        || part.starts_with("laurel")
        || matches!(
            part,
            "ffn_gate_inp"
                | "token_types"
                | "ssm_conv1d"
                | "shortconv.conv"
                | "per_layer_model_proj"
        )
}

/// `attn_v` and what holds the values of other layouts.
fn is_value(part: &str) -> bool {
    matches!(part, "attn_v" | "attn_qkv" | "attn_kv_b")
}

/// Whether a place is in the first and in the last eighth of all.
fn eighths(place: u32, count: u32) -> (bool, bool) {
    (place < count / 8, u64::from(place) >= 7 * u64::from(count) / 8)
}

/// The first and last eighth, and every third between.
fn more_bits(place: u32, count: u32) -> bool {
    let (first, last) = eighths(place, count);
    first || last || (place - count / 8) % 3 == 2
}

/// `blk.7.attn_v.weight` -> (7, `attn_v`).
fn split(name: &str) -> (u32, &str) {
    let part = name.strip_suffix(".weight").unwrap_or(name);
    part.strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(layer, part)| Some((layer.parse().ok()?, part)))
        .unwrap_or((0, part))
}

/// A row that is no whole number of blocks takes a type of smaller blocks, half precision where none fits.
fn fitting(wanted: &'static GgmlType, row: u64) -> Option<&'static GgmlType> {
    let fits = |t: &&'static GgmlType| row.is_multiple_of(t.block);
    if fits(&wanted) {
        return Some(wanted);
    }
    let smaller = match wanted.name {
        "Q2_K" | "Q3_K" | "TQ1_0" | "TQ2_0" => "Q4_0",
        "Q4_K" => "Q5_0",
        "Q5_K" => "Q5_1",
        "Q6_K" => "Q8_0",
        _ => "IQ4_NL",
    };
    ggml_type_named(smaller).filter(fits).or_else(|| ggml_type_named("F16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Precision as P;

    /// A model of 32 layers whose query heads share by fours.
    fn mixture(precision: Precision, experts: u32) -> Mixture {
        let values: Vec<String> = (0..32).map(|l| format!("blk.{l}.attn_v.weight")).collect();
        let names = values.iter().map(String::as_str).chain(["output.weight"]);
        Mixture::new(precision, [32, experts, 4], names).unwrap()
    }

    fn of(precision: Precision, name: &str, row: u64) -> Option<(&'static str, &'static str)> {
        let (wanted, used) = mixture(precision, 0).types(name, &[row, 64])?;
        Some((wanted.name, used.name))
    }

    #[test]
    fn mixtures_give_more_bits_where_llama_cpp_does() {
        let both = |t| Some((t, t));
        assert_eq!(of(P::Q4_K_M, "blk.0.attn_v.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q4_K_M, "blk.5.attn_v.weight", 4096), both("Q4_K"));
        assert_eq!(of(P::Q4_K_M, "blk.6.ffn_down.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q4_K_M, "blk.31.ffn_down.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q4_K_M, "output.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q4_K_S, "blk.3.ffn_down.weight", 4096), both("Q5_K"));
        assert_eq!(of(P::Q2_K, "blk.9.attn_v.weight", 4096), both("Q4_K"));
        assert_eq!(of(P::Q2_K, "blk.9.attn_q.weight", 4096), both("Q2_K"));
        assert_eq!(of(P::Q3_K_M, "blk.1.ffn_down.weight", 4096), both("Q5_K"));
        assert_eq!(of(P::Q4_0, "output.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q8_0, "output.weight", 4096), both("Q8_0"));
        assert_eq!(of(P::IQ3_XXS, "blk.9.ffn_down.weight", 4096), both("Q3_K"));
        assert_eq!(of(P::IQ2_S, "blk.9.ffn_up.weight", 4096), both("IQ2_XS"));
        // One tensor for queries, keys and values is treated as values are.
        assert_eq!(of(P::Q4_K_M, "blk.0.attn_qkv.weight", 4096), both("Q6_K"));
        assert_eq!(of(P::Q4_K_M, "blk.5.attn_qkv.weight", 4096), both("Q4_K"));
    }

    #[test]
    fn experts_have_rules_of_their_own() {
        let of = |p, experts, name: &str, shape: &[u64]| {
            mixture(p, experts).types(name, shape).unwrap().1.name
        };
        assert_eq!(of(P::Q4_K_M, 8, "blk.9.attn_k.weight", &[4096, 64]), "Q8_0");
        assert_eq!(of(P::Q4_K_M, 8, "blk.9.attn_output.weight", &[4096, 64]), "Q5_K");
        assert_eq!(of(P::Q6_K, 8, "blk.9.attn_output.weight", &[4096, 64]), "Q6_K");
        assert_eq!(of(P::Mxfp4, 32, "blk.9.ffn_up_exps.weight", &[4096, 64, 32]), "MXFP4");
        assert_eq!(of(P::Mxfp4, 32, "blk.9.attn_q.weight", &[4096, 64]), "Q8_0");
    }

    /// In a hybrid only the layers that attend are counted; in the 70B models all of them get more.
    #[test]
    fn values_are_counted_among_themselves() {
        let names = ["blk.2.attn_v.weight", "blk.5.attn_v.weight", "blk.8.attn_v.weight"];
        let few = Mixture::new(P::Q4_K_S, [16, 0, 4], names.into_iter()).unwrap();
        assert_eq!(few.types("blk.8.attn_v.weight", &[4096, 64]).unwrap().0.name, "Q5_K");
        let values: Vec<String> = (0..80).map(|l| format!("blk.{l}.attn_v.weight")).collect();
        let large = Mixture::new(P::Q4_K_M, [80, 0, 8], values.iter().map(String::as_str)).unwrap();
        assert_eq!(large.types("blk.13.attn_v.weight", &[8192, 64]).unwrap().0.name, "Q5_K");
    }

    #[test]
    fn rows_that_do_not_fit_fall_back_as_llama_cpp_does() {
        let wide = "blk.5.attn_q.weight";
        assert_eq!(of(P::Q4_K_M, wide, 576), Some(("Q4_K", "Q5_0")));
        assert_eq!(of(P::Q5_K_S, wide, 576), Some(("Q5_K", "Q5_1")));
        assert_eq!(of(P::Q6_K, wide, 576), Some(("Q6_K", "Q8_0")));
        assert_eq!(of(P::Q2_K, wide, 576), Some(("Q2_K", "Q4_0")));
        assert_eq!(of(P::Q4_0, "output.weight", 576), Some(("Q6_K", "Q8_0")));
        assert_eq!(of(P::Q4_0, wide, 40), Some(("Q4_0", "F16")));
        assert_eq!(of(P::IQ4_XS, wide, 576), Some(("IQ4_XS", "IQ4_NL")));
    }

    #[test]
    fn norms_biases_and_vectors_stay_as_they_are() {
        assert_eq!(of(P::Q4_0, "blk.0.attn_norm.weight", 64), None);
        assert_eq!(of(P::Q4_0, "blk.0.attn_q.bias", 64), None);
        assert_eq!(of(P::Q4_0, "blk.0.ffn_gate_inp.weight", 64), None);
        assert!(Mixture::new(P::Int8Sym, [1, 0, 1], std::iter::empty()).is_none());
    }
}

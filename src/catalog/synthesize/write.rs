//! Streams the file: one random buffer a type, written over and over, so the disk sets the pace.

use std::collections::{BTreeMap, btree_map};
use std::path::Path;

use serde::Serialize;

use super::recipe::stored_type;
use super::{blocks, metadata};
use crate::catalog::entry::Entry;
use crate::catalog::{Shape, build};
use crate::formats::gguf::{GgufWriter, Mixture, TensorDecl, base, ggml_type};
use crate::formats::{FormatError, histogram};
use crate::model::{Attention, Precision, Role, TypeCount};

const BUFFER: usize = 4 << 20;

/// Architectures whose files a runtime loads from the metadata we write.
const ARCHITECTURES: [&str; 28] = [
    "llama",
    "smollm3",
    "granite",
    "granitehybrid",
    "ernie4_5",
    "ernie4_5-moe",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "qwen3next",
    "qwen35",
    "qwen35moe",
    "gemma2",
    "gemma3",
    "gemma4",
    "phi3",
    "gpt-oss",
    "olmo2",
    "olmoe",
    "mistral3",
    "llama4",
    "deepseek2",
    "lfm2",
    "lfm2moe",
    "nemotron_h",
    "nemotron_h_moe",
    "seed_oss",
];

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Synthesized {
    pub bytes: u64,
    pub parameters: u64,
    pub bits_per_weight: f64,
    pub types: Vec<TypeCount>,
}

#[derive(Debug, thiserror::Error)]
pub enum SynthesizeError {
    #[error("cannot synthesise `{name}`: its architecture {architecture} is not offered")]
    Architecture { name: String, architecture: String },
    #[error("{precision} is not a GGUF precision that can be synthesised")]
    Precision { precision: Precision },
    #[error(
        "{layers} layers asked for, `{name}` has {have} and cannot run with fewer than {least}"
    )]
    Layers { name: String, layers: u32, least: u32, have: u32 },
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl SynthesizeError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Architecture { .. } => {
                format!("offered are models of these architectures: {}", ARCHITECTURES.join(", "))
            }
            Self::Precision { .. } => {
                "Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, Q3_K_M, Q2_K, IQ4_XS, MXFP4, F16 are some".into()
            }
            Self::Layers { least, have, .. } => format!("give a number from {least} to {have}"),
            Self::Format(e) => e.hint().into(),
        }
    }
}

/// Whether [`synthesize`] writes this precision.
pub fn can_synthesize(precision: Precision) -> bool {
    base(precision).is_some_and(|t| blocks::random(t, 0, 0).is_some())
}

/// Writes a GGUF of `entry`'s shape, or of its first `layers` layers, with random weights.
///
/// `progress` hears bytes written and bytes in all. The file appears only when it is whole.
pub fn synthesize(
    entry: &Entry,
    precision: Precision,
    layers: Option<u32>,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Synthesized, SynthesizeError> {
    let (entry, shape) = cut(entry, layers)?;
    let mut spec = build(&entry);
    let mixture =
        Mixture::of_spec(precision, &spec).ok_or(SynthesizeError::Precision { precision })?;
    let mut tensors = Vec::new();
    for t in &mut spec.tensors {
        let kind = stored_type(&mixture, t);
        let decl = TensorDecl { name: t.name.clone(), shape: t.shape.clone(), type_id: kind.id };
        t.dtype = kind.name.to_owned();
        t.bytes = decl.bytes().unwrap_or(0);
        tensors.push(decl);
    }
    let name = format!("{} (synthetic)", entry.title);
    let mut writer = GgufWriter::create(path, &metadata::keys(&name, &shape), &tensors)?;
    let total = spec.stored_bytes();
    let mut buffers: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut written = 0;
    while let Some(index) = writer.current() {
        let t = &spec.tensors[index];
        let data = match constant(&t.name, t.role) {
            Some(value) => value.to_le_bytes().repeat((t.elements() as usize).min(BUFFER / 4)),
            None => fill(&mut buffers, tensors[index].type_id, index)
                .ok_or(SynthesizeError::Precision { precision })?,
        };
        let mut left = t.bytes;
        while left > 0 {
            let n = left.min(data.len() as u64);
            writer.write(&data[..n as usize])?;
            left -= n;
            written += n;
            progress(written, total);
        }
    }
    writer.finish()?;
    Ok(Synthesized {
        bytes: total,
        parameters: spec.parameters,
        bits_per_weight: spec.bits_per_weight().unwrap_or(0.0),
        types: histogram(&spec),
    })
}

fn cut(entry: &Entry, layers: Option<u32>) -> Result<(Entry, Shape), SynthesizeError> {
    let unknown = |architecture: &str| SynthesizeError::Architecture {
        name: entry.name.clone(),
        architecture: architecture.to_owned(),
    };
    let mut entry_cut = entry.clone();
    let shape = entry_cut.shape.as_mut().ok_or_else(|| unknown("graph"))?;
    // llama.cpp tells models of this kind without a compressed query by their number of layers.
    let lite = shape.kv_lora > 0 && shape.q_lora == 0;
    let offered = ARCHITECTURES.contains(&shape.architecture.as_str()) && !lite;
    if !offered || shape.vocabulary < 2 {
        return Err(unknown(&shape.architecture));
    }
    if let Some(layers) = layers {
        // Runtimes expect one layer at least that attends to all positions.
        let attends = |l: &Attention| {
            !matches!(l, Attention::None | Attention::Recurrent { .. })
                && !matches!(l, Attention::Gqa { window: Some(_), .. })
        };
        let least = build(entry).layers.iter().position(attends).map_or(1, |n| n as u32 + 1);
        if layers < least || layers > shape.layers {
            let (name, have) = (entry.name.clone(), shape.layers);
            return Err(SynthesizeError::Layers { name, layers, least, have });
        }
        // The first layers are kept: those that read an earlier cache go first.
        let own = shape.layers - shape.shared_kv_layers.min(shape.layers);
        shape.shared_kv_layers = layers.saturating_sub(own);
        shape.attention_layers.retain(|&n| n < layers);
        shape.ffn_layers.retain(|&n| n < layers);
        shape.layers = layers;
    }
    let shape = shape.clone();
    Ok((entry_cut, shape))
}

/// Norms and scales pass their input through, biases add nothing and states decay, so that activations stay finite.
fn constant(name: &str, role: Role) -> Option<f32> {
    let ends = |part: &str| name.ends_with(part);
    match role {
        Role::Norm => Some(1.0),
        _ if ends(".bias") || name.contains("attn_sinks") => Some(0.0),
        _ if ends("scale") || ends("_scale.weight") || ends("rope_freqs.weight") => Some(1.0),
        _ if ends(".ssm_a") => Some(-1.0),
        _ if ends(".ssm_d") => Some(1.0),
        _ => None,
    }
}

/// The type's blocks, from another one on in each tensor: converters store equal tensors once.
fn fill(buffers: &mut BTreeMap<u32, Vec<u8>>, type_id: u32, tensor: usize) -> Option<Vec<u8>> {
    let kind = ggml_type(type_id)?;
    if let btree_map::Entry::Vacant(free) = buffers.entry(type_id) {
        free.insert(blocks::random(kind, BUFFER, 42)?);
    }
    let mut data = buffers.get(&type_id)?.clone();
    let block = usize::try_from(kind.block_bytes).ok()?;
    let first = tensor % (data.len() / block) * block;
    data.rotate_left(first);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::formats::gguf::{Gguf, to_spec};

    #[test]
    fn a_synthetic_file_has_the_shape_of_its_entry() {
        let dir = tempfile::TempDir::new().unwrap();
        let catalog = Catalog::load_with(None).unwrap();
        let path = dir.path().join("s.gguf");
        for (name, precision, layers) in [
            ("smollm2-135m", Precision::Q4_K_M, 2),
            ("qwen3-0.6b", Precision::IQ2_XXS, 2),
            ("qwen3.5-0.8b", Precision::Q4_K_M, 5),
            ("lfm2.5-350m", Precision::Q4_0, 4),
            ("gemma-3-270m", Precision::Q8_0, 6),
        ] {
            let entry = catalog.get(name).unwrap();
            let made = synthesize(entry, precision, Some(layers), &path, &mut |_, _| {}).unwrap();
            let read = to_spec(&Gguf::open(&path).unwrap()).unwrap();
            let (cut, _) = cut(entry, Some(layers)).unwrap();
            let wanted = build(&cut);
            assert_eq!((read.layers, read.parameters), (wanted.layers, wanted.parameters));
            assert_eq!((read.vocabulary, read.hidden), (wanted.vocabulary, wanted.hidden));
            let stored: u64 = read.tensors.iter().map(|t| t.bytes).sum();
            assert_eq!(stored, made.bytes);
        }
    }

    #[test]
    fn no_two_tensors_are_the_same() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("s.gguf");
        let entry = Catalog::load_with(None).unwrap().get("smollm2-135m").unwrap().clone();
        synthesize(&entry, Precision::Q4_0, Some(2), &path, &mut |_, _| {}).unwrap();
        let file = std::fs::read(&path).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let bytes = |layer: u32| {
            let name = format!("blk.{layer}.ffn_up.weight");
            let t = gguf.tensors.iter().find(|t| t.name == name).unwrap();
            let start = usize::try_from(t.offset).unwrap();
            &file[start..start + usize::try_from(t.bytes).unwrap()]
        };
        assert!(bytes(0) != bytes(1));
    }

    #[test]
    fn every_gguf_precision_can_be_planned_for_a_wide_and_an_odd_row() {
        let catalog = Catalog::load_with(None).unwrap();
        for name in ["llama-3.2-1b", "smollm2-135m", "mixtral-8x7b"] {
            let spec = build(catalog.get(name).unwrap());
            for &precision in Precision::ALL {
                let Some(mixture) = Mixture::of_spec(precision, &spec) else { continue };
                for t in &spec.tensors {
                    let kind = stored_type(&mixture, t);
                    assert!(t.shape[0].is_multiple_of(kind.block), "{precision} {}", t.name);
                    assert!(blocks::random(kind, 4096, 1).is_some(), "{}", kind.name);
                }
            }
        }
    }

    #[test]
    fn the_q4_k_m_mix_has_the_published_width() {
        let catalog = Catalog::load_with(None).unwrap();
        let mut spec = build(catalog.get("llama-3.1-8b").unwrap());
        let mixture = Mixture::of_spec(Precision::Q4_K_M, &spec).unwrap();
        for t in &mut spec.tensors {
            let kind = stored_type(&mixture, t);
            t.bytes = kind.bytes(t.shape[0], t.elements()).unwrap();
        }
        // llama.cpp's README: 4.89 bits per weight, 4.58 GiB.
        let bits = spec.bits_per_weight().unwrap();
        assert!((bits - 4.89).abs() < 0.02, "{bits}");
    }
}

//! A BERT encoder kept as safetensors becomes an ONNX graph: ids, mask and types in, token states out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::graph::{Axis, Builder};
use super::keep;
use super::proto::{Attribute, Dtype};
use crate::convert::{ConvertError, source_sha256};
use crate::formats::onnx;

/// Part of the cache path, so a change of graph makes them anew.
const TOOL: &str = "edge-advisor-encoder1";
/// Encoders are small: more than this is not one.
const MAX_WEIGHTS: u64 = 8 << 30;
const MAX_CONFIG: u64 = 4 << 20;
/// Added to the score of a padded position.
const MASKED: f32 = -1e9;

/// The fields of `config.json` that the graph needs.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    #[serde(default)]
    hidden_act: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// The ONNX file of a source that is run as a graph: itself, or made of a BERT encoder's safetensors under `cache`, with
/// the tokenizer beside it.
pub fn graph_source(source: &Path, cache: &Path) -> Result<PathBuf, ConvertError> {
    if source.extension().is_some_and(|e| e == "onnx") {
        return Ok(source.to_owned());
    }
    let dir = if source.is_dir() { source } else { source.parent().unwrap_or(Path::new("")) };
    let weights = dir.join("model.safetensors");
    let refused = |why: &str| {
        ConvertError::Unsupported(format!("`{}` {why}: give an ONNX file", source.display()))
    };
    if !weights.is_file() {
        return Err(refused("is neither ONNX nor a directory with model.safetensors"));
    }
    let config = config(&dir.join("config.json"))?;
    let plain = config.position_embedding_type.as_deref().is_none_or(|p| p == "absolute");
    if config.model_type != "bert" || config.hidden_act != "gelu" || !plain {
        return Err(refused("is no plain BERT encoder"));
    }
    let size = fs::metadata(&weights).map_err(|e| ConvertError::read(&weights, e))?.len();
    if size > MAX_WEIGHTS {
        return Err(refused("has more weights than an encoder"));
    }
    let sha256 = source_sha256(std::slice::from_ref(&weights), cache)?;
    let parent = cache.join(sha256);
    let made = parent.join(TOOL);
    if onnx::read(&made.join("model.onnx")).is_err() {
        let write = |e| ConvertError::write(&parent, e);
        fs::create_dir_all(&parent).map_err(write)?;
        let staging =
            tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(write)?;
        let damaged =
            |e: candle_core::Error| ConvertError::Damaged(format!("`{}`: {e}", weights.display()));
        let tensors = candle_core::safetensors::load(&weights, &Device::Cpu).map_err(damaged)?;
        let mut encoder = Encoder { tensors, graph: Builder::create(staging.path())? };
        encoder.write(&config)?;
        encoder.graph.finish(staging.path())?;
        let tokenizer = dir.join("tokenizer.json");
        if tokenizer.is_file() {
            fs::copy(&tokenizer, staging.path().join("tokenizer.json")).map_err(write)?;
        }
        keep(staging, &made).map_err(write)?;
    }
    Ok(made.join("model.onnx"))
}

fn config(path: &Path) -> Result<Config, ConvertError> {
    let damaged = |why: String| ConvertError::Damaged(format!("`{}`: {why}", path.display()));
    let read = |e| ConvertError::read(path, e);
    if fs::metadata(path).map_err(read)?.len() > MAX_CONFIG {
        return Err(damaged(format!("more than {MAX_CONFIG} bytes")));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    let config: Config = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    let whole = config.num_attention_heads > 0
        && config.hidden_size.is_multiple_of(config.num_attention_heads);
    match whole && config.hidden_size > 0 && config.num_hidden_layers <= 1000 {
        true => Ok(config),
        false => Err(damaged("its sizes do not fit together".into())),
    }
}

struct Encoder {
    tensors: HashMap<String, Tensor>,
    graph: Builder,
}

impl Encoder {
    fn write(&mut self, config: &Config) -> Result<(), ConvertError> {
        let ports = [Axis::Free("batch"), Axis::Free("sequence")];
        for name in ["input_ids", "attention_mask", "token_type_ids"] {
            self.graph.input(name, Dtype::I64, &ports);
        }
        let width = Axis::Fixed(config.hidden_size);
        let [batch, sequence] = ports;
        self.graph.output("last_hidden_state", Dtype::F32, &[batch, sequence, width]);

        let head = config.hidden_size / config.num_attention_heads;
        let g = &mut self.graph;
        g.floats("one", &[], &[1.0])?;
        g.floats("masked", &[], &[MASKED])?;
        g.floats("scale", &[], &[1.0 / (head as f32).sqrt()])?;
        g.floats("half", &[], &[0.5])?;
        g.floats("sqrt2", &[], &[std::f32::consts::SQRT_2])?;
        g.ints("axis0", &[1], &[0])?;
        g.ints("axes12", &[2], &[1, 2])?;
        g.ints("split", &[4], &[0, 0, config.num_attention_heads as i64, head as i64])?;
        g.ints("join", &[3], &[0, 0, config.hidden_size as i64])?;

        let mask = g.node("", "Cast", &["attention_mask"], vec![Attribute::int("to", 1)]);
        let mask = g.node("", "Sub", &["one", &mask], vec![]);
        let mask = g.node("", "Mul", &[&mask, "masked"], vec![]);
        let mask = g.node("", "Unsqueeze", &[&mask, "axes12"], vec![]);

        let words = self.matrix("embeddings.word_embeddings.weight", false)?;
        let types = self.matrix("embeddings.token_type_embeddings.weight", false)?;
        let positions = self.matrix("embeddings.position_embeddings.weight", false)?;
        let g = &mut self.graph;
        let words = g.node("", "Gather", &[&words, "input_ids"], vec![]);
        let types = g.node("", "Gather", &[&types, "token_type_ids"], vec![]);
        let ends = vec![Attribute::int("start", 1), Attribute::int("end", 2)];
        let length = g.node("", "Shape", &["input_ids"], ends);
        let positions = g.node("", "Slice", &[&positions, "axis0", &length, "axis0"], vec![]);
        let sum = g.node("", "Add", &[&words, &types], vec![]);
        let sum = g.node("", "Add", &[&sum, &positions], vec![]);
        let mut x = self.norm("embeddings.LayerNorm", &sum, config)?;
        for layer in 0..config.num_hidden_layers {
            x = self.layer(&format!("encoder.layer.{layer}"), &x, &mask, config)?;
        }
        let out = ["last_hidden_state".to_owned()];
        self.graph.named("", "Identity", &[&x], &out, vec![]);
        Ok(())
    }

    fn layer(
        &mut self,
        name: &str,
        x: &str,
        mask: &str,
        config: &Config,
    ) -> Result<String, ConvertError> {
        let mut heads = |part: &str, order: &[i64]| -> Result<String, ConvertError> {
            let y = self.linear(&format!("{name}.attention.self.{part}"), x)?;
            let y = self.graph.node("", "Reshape", &[&y, "split"], vec![]);
            Ok(self.graph.node("", "Transpose", &[&y], vec![Attribute::ints("perm", order)]))
        };
        let q = heads("query", &[0, 2, 1, 3])?;
        let k = heads("key", &[0, 2, 3, 1])?;
        let v = heads("value", &[0, 2, 1, 3])?;
        let g = &mut self.graph;
        let scores = g.node("", "MatMul", &[&q, &k], vec![]);
        let scores = g.node("", "Mul", &[&scores, "scale"], vec![]);
        let scores = g.node("", "Add", &[&scores, mask], vec![]);
        let weights = g.node("", "Softmax", &[&scores], vec![Attribute::int("axis", -1)]);
        let y = g.node("", "MatMul", &[&weights, &v], vec![]);
        let y = g.node("", "Transpose", &[&y], vec![Attribute::ints("perm", &[0, 2, 1, 3])]);
        let y = g.node("", "Reshape", &[&y, "join"], vec![]);
        let y = self.linear(&format!("{name}.attention.output.dense"), &y)?;
        let y = self.graph.node("", "Add", &[&y, x], vec![]);
        let x = self.norm(&format!("{name}.attention.output.LayerNorm"), &y, config)?;
        let y = self.linear(&format!("{name}.intermediate.dense"), &x)?;
        // The exact GELU, spelled out: engines fuse it, and quantizers know every part.
        let g = &mut self.graph;
        let e = g.node("", "Div", &[&y, "sqrt2"], vec![]);
        let e = g.node("", "Erf", &[&e], vec![]);
        let e = g.node("", "Add", &[&e, "one"], vec![]);
        let y = g.node("", "Mul", &[&y, &e], vec![]);
        let y = g.node("", "Mul", &[&y, "half"], vec![]);
        let y = self.linear(&format!("{name}.output.dense"), &y)?;
        let y = self.graph.node("", "Add", &[&y, &x], vec![]);
        self.norm(&format!("{name}.output.LayerNorm"), &y, config)
    }

    fn linear(&mut self, name: &str, x: &str) -> Result<String, ConvertError> {
        let weight = self.matrix(&format!("{name}.weight"), true)?;
        let bias = self.matrix(&format!("{name}.bias"), false)?;
        let y = self.graph.node("", "MatMul", &[x, &weight], vec![]);
        Ok(self.graph.node("", "Add", &[&y, &bias], vec![]))
    }

    fn norm(&mut self, name: &str, x: &str, config: &Config) -> Result<String, ConvertError> {
        let weight = self.matrix(&format!("{name}.weight"), false)?;
        let bias = self.matrix(&format!("{name}.bias"), false)?;
        let how =
            vec![Attribute::int("axis", -1), Attribute::float("epsilon", config.layer_norm_eps)];
        Ok(self.graph.node("", "LayerNormalization", &[x, &weight, &bias], how))
    }

    /// Writes a weight under its own name, transposed where it is multiplied from the right.
    fn matrix(&mut self, name: &str, transposed: bool) -> Result<String, ConvertError> {
        let found = self.tensors.get(name).or_else(|| self.tensors.get(&format!("bert.{name}")));
        let Some(tensor) = found else {
            return Err(ConvertError::Damaged(format!("tensor `{name}` is missing")));
        };
        let values = || -> candle_core::Result<(Vec<usize>, Vec<f32>)> {
            let tensor = if transposed { tensor.t()? } else { tensor.clone() };
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok((tensor.dims().to_vec(), values))
        };
        let (shape, values) =
            values().map_err(|e| ConvertError::Damaged(format!("tensor `{name}`: {e}")))?;
        self.graph.floats(name, &shape, &values)?;
        Ok(name.to_owned())
    }
}

//! A decoder's tensors: each is looked up by name, its shape checked, and none may be left over unused.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::config::{Config, damaged, unsupported};
use super::kernels::{Dtype, Isa};
use super::weights::{Mapped, Matrix};
use crate::backend::BackendError;
use crate::formats::gguf::{Gguf, TensorInfo};

pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) q: Matrix,
    pub(super) k: Matrix,
    pub(super) v: Matrix,
    /// Query, key and value bias, one after the other; empty where there is none.
    pub(super) bias: Vec<f32>,
    /// Norms over each query and key head.
    pub(super) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(super) attention_out: Matrix,
    pub(super) ffn_norm: Vec<f32>,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
}

pub(super) struct Model {
    pub(super) config: Config,
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    /// The embedding again where the output is tied.
    pub(super) output: Matrix,
    /// Angle a position of each rotated pair.
    pub(super) frequencies: Vec<f64>,
    /// Bytes of all tensors in use.
    pub(super) weight_bytes: u64,
}

impl Model {
    pub(super) fn load(gguf: &Gguf) -> Result<Self, BackendError> {
        let config = Config::read(gguf)?;
        let mut tensors = Tensors::new(gguf)?;
        let (hidden, q_dim, kv_dim) = (config.hidden, config.query_dim(), config.kv_dim());
        let embedding = tensors.matrix("token_embd.weight", config.vocabulary, hidden)?;
        let output = match tensors.has("output.weight") {
            true => tensors.matrix("output.weight", config.vocabulary, hidden)?,
            false => embedding.clone(),
        };
        let norm = tensors.vector("output_norm.weight", hidden)?;
        let frequencies = frequencies(&config, &mut tensors)?;
        let mut layers = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blk.{i}.{part}");
            let weight = |part: &str| format!("blk.{i}.{part}.weight");
            let attention_out = tensors.matrix(&weight("attn_output"), hidden, q_dim)?;
            let mut bias = Vec::new();
            for (part, len) in
                [("attn_q.bias", q_dim), ("attn_k.bias", kv_dim), ("attn_v.bias", kv_dim)]
            {
                if tensors.has(&name(part)) || !bias.is_empty() {
                    bias.extend(tensors.vector(&name(part), len)?);
                }
            }
            let head_norms = match tensors.has(&weight("attn_q_norm")) {
                true => Some((
                    tensors.vector(&weight("attn_q_norm"), config.head_dim)?,
                    tensors.vector(&weight("attn_k_norm"), config.head_dim)?,
                )),
                false => None,
            };
            layers.push(Layer {
                attention_norm: tensors.vector(&weight("attn_norm"), hidden)?,
                q: tensors.matrix(&weight("attn_q"), q_dim, hidden)?,
                k: tensors.matrix(&weight("attn_k"), kv_dim, hidden)?,
                v: tensors.matrix(&weight("attn_v"), kv_dim, hidden)?,
                bias,
                head_norms,
                attention_out,
                ffn_norm: tensors.vector(&weight("ffn_norm"), hidden)?,
                gate: tensors.matrix(&weight("ffn_gate"), config.feed_forward, hidden)?,
                up: tensors.matrix(&weight("ffn_up"), config.feed_forward, hidden)?,
                down: tensors.matrix(&weight("ffn_down"), hidden, config.feed_forward)?,
            });
        }
        let weight_bytes = tensors.finish()?;
        Ok(Self { config, embedding, layers, norm, output, frequencies, weight_bytes })
    }

    /// Every matrix that is read whole for a token.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let layers = self
            .layers
            .iter()
            .flat_map(|l| [&l.q, &l.k, &l.v, &l.attention_out, &l.gate, &l.up, &l.down]);
        layers.chain([&self.output])
    }
}

fn frequencies(config: &Config, tensors: &mut Tensors) -> Result<Vec<f64>, BackendError> {
    let factors = match tensors.has("rope_freqs.weight") {
        true => tensors.vector("rope_freqs.weight", config.rope_dim / 2)?,
        false => Vec::new(),
    };
    Ok(config.frequencies(&factors))
}

/// Tensors by name, and which have not been used yet.
struct Tensors<'a> {
    maps: Vec<Arc<Mapped>>,
    unused: HashMap<&'a str, &'a TensorInfo>,
    bytes: u64,
}

impl<'a> Tensors<'a> {
    fn new(gguf: &'a Gguf) -> Result<Self, BackendError> {
        let maps = gguf.parts.iter().map(|p| Mapped::open(&p.path)).collect::<Result<_, _>>()?;
        let unused = gguf.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        Ok(Self { maps, unused, bytes: 0 })
    }

    fn has(&self, name: &str) -> bool {
        self.unused.contains_key(name)
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Matrix, BackendError> {
        let info = self
            .unused
            .remove(name)
            .ok_or_else(|| damaged(format!("tensor `{name}` is missing")))?;
        let wanted: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        let mut found = info.shape.clone();
        while found.len() > wanted.len() && found.last() == Some(&1) {
            found.pop();
        }
        if found != wanted {
            return Err(damaged(format!("`{name}` is {:?}, not {wanted:?}", info.shape)));
        }
        let type_name = info.type_name();
        let dtype = Dtype::from_name(&type_name)
            .ok_or_else(|| unsupported(format!("tensor type {type_name} of `{name}`")))?;
        let rows = shape.get(1).copied().unwrap_or(1);
        let matrix = usize::try_from(info.offset)
            .ok()
            .zip(self.maps.get(info.part))
            .and_then(|(offset, map)| Matrix::new(map, offset, dtype, rows, shape[0]))
            .ok_or_else(|| damaged(format!("`{name}` lies outside the file")))?;
        self.bytes = self.bytes.saturating_add(matrix.size_bytes());
        Ok(matrix)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, BackendError> {
        self.take(name, &[cols, rows])
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, BackendError> {
        let matrix = self.take(name, &[len])?;
        let mut out = vec![0.0; len];
        matrix.expand(Isa::detect(), 0..1, &mut out);
        Ok(out)
    }

    /// Bytes in use. A tensor nobody asked for means a model that this forward pass would get wrong.
    fn finish(self) -> Result<u64, BackendError> {
        let left: BTreeMap<_, _> = self.unused.into_iter().collect();
        match left.first_key_value() {
            None => Ok(self.bytes),
            Some((name, _)) => {
                Err(unsupported(format!("{} tensors it has no use for (`{name}`)", left.len())))
            }
        }
    }
}

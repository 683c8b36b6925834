//! The messages of `onnx.proto3` that matter: graph, nodes, tensors, inputs and outputs (field numbers are the schema's).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::external;
use super::wire::{Field, Reader, Span, Wire};
use crate::formats::FormatError;
use crate::formats::names::{ONNX_TYPES, role_of_path};
use crate::model::{Attention, ModelKind, ModelSpec, Role, TensorSpec};

const MAX_DEPTH: u32 = 16;
const MAX_NODES: u64 = 4 << 20;
/// Ways of storing weights in blocks that are told apart.
const MAX_BLOCKS: usize = 64;
const MAX_TENSORS: usize = 1 << 18;
const MAX_PORTS: usize = 1 << 14;
const MAX_DIMS: usize = 32;

/// What an ONNX file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OnnxSummary {
    pub ir_version: u64,
    pub producer: String,
    pub opsets: Vec<OperatorSet>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// How often each operator occurs, subgraphs included; a custom domain is put before its name.
    pub operators: BTreeMap<String, u64>,
    pub nodes: u64,
    /// Weight tensors with their bytes, constants of the graph included.
    pub tensors: Vec<TensorSpec>,
    /// Elements of floating-point and 8-bit or narrower tensors.
    pub parameters: u64,
    /// How the weights of its `MatMulNBits` nodes are stored, each way once.
    pub block_weights: BTreeSet<BlockWeights>,
    pub external: Vec<ExternalFile>,
}

/// Weights in blocks of integers with a scale each, from the attributes of a `MatMulNBits` node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BlockWeights {
    pub bits: u64,
    pub block: u64,
    pub zero_points: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorSet {
    pub domain: String,
    pub version: u64,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    pub name: String,
    pub dtype: String,
    pub dims: Vec<Dim>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Dim {
    Fixed(u64),
    /// An axis that varies, by name; empty where it has none.
    Free(String),
}

/// A file beside the model that holds weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExternalFile {
    pub name: String,
    pub bytes: u64,
    /// What its tensors need of it.
    pub needed: u64,
}

/// Reads a model's structure. Fails where the file is no ONNX model, is truncated, or points outside its directory.
pub fn read(path: &Path) -> Result<OnnxSummary, FormatError> {
    let mut walker = Walker { reader: Reader::open(path)?, out: OnnxSummary::default() };
    walker.model()?;
    let Walker { mut out, .. } = walker;
    external::check(&mut out.external, path)?;
    let counted = |t: &&TensorSpec| !matches!(t.dtype.as_str(), "INT64" | "INT32" | "BOOL");
    out.parameters =
        out.tensors.iter().filter(counted).map(TensorSpec::elements).fold(0, u64::saturating_add);
    Ok(out)
}

impl OnnxSummary {
    /// The graph as a model; layers are known where the graph takes a key-value cache.
    pub fn spec(&self, name: &str) -> ModelSpec {
        let layers = self.cache_layers();
        let vocabulary =
            self.outputs.iter().find(|o| o.name == "logits").and_then(|o| match o.dims.last() {
                Some(&Dim::Fixed(n)) => u32::try_from(n).ok(),
                _ => None,
            });
        ModelSpec {
            name: name.to_owned(),
            architecture: "onnx".into(),
            kind: self.kind(&layers),
            parameters: self.parameters,
            active_parameters: self.parameters,
            context_length: 0,
            hidden: 0,
            vocabulary: vocabulary.unwrap_or(0),
            experts: 0,
            experts_used: 0,
            tied_output: false,
            layers,
            tensors: self.tensors.clone(),
        }
    }

    fn kind(&self, layers: &[Attention]) -> ModelKind {
        let has = |names: &[&str]| self.inputs.iter().any(|i| names.contains(&i.name.as_str()));
        if !layers.is_empty() {
            ModelKind::Llm
        } else if has(&["pixel_values"]) && has(&["input_ids"]) {
            ModelKind::Multimodal
        } else if has(&["input_ids"]) {
            ModelKind::Embedding
        } else if has(&["input_features", "sr", "audio", "mel"]) {
            ModelKind::Speech
        } else if self.inputs.iter().any(|i| i.dims.len() == 4) {
            ModelKind::Vision
        } else {
            ModelKind::Embedding
        }
    }

    /// One layer for each `past_key_values.N.key` of shape `[batch, heads, positions, width]`.
    fn cache_layers(&self) -> Vec<Attention> {
        let keys = self
            .inputs
            .iter()
            .filter(|i| i.name.starts_with("past") && i.name.ends_with("key") && i.dims.len() == 4);
        keys.filter_map(|i| match (&i.dims[1], &i.dims[3]) {
            (&Dim::Fixed(heads), &Dim::Fixed(width)) => {
                let heads = u32::try_from(heads).ok()?;
                let width = u32::try_from(width).ok()?;
                Some(Attention::Gqa {
                    heads,
                    kv_heads: heads,
                    key_dim: width,
                    value_dim: width,
                    window: None,
                    shared: false,
                })
            }
            _ => None,
        })
        .collect()
    }
}

struct Walker {
    reader: Reader,
    out: OnnxSummary,
}

/// A tensor message as far as it has been read.
#[derive(Default)]
struct Draft {
    name: String,
    dims: Vec<u64>,
    kind: u64,
    inline: u64,
    location: Option<String>,
    offset: u64,
    length: Option<u64>,
}

impl Walker {
    fn fields(
        &mut self,
        span: Span,
        mut each: impl FnMut(&mut Self, Field) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let mut at = span.start;
        while let Some(field) = self.reader.field(span, &mut at)? {
            each(self, field)?;
        }
        Ok(())
    }

    fn model(&mut self) -> Result<(), FormatError> {
        let mut graphs = 0;
        let whole = self.reader.whole();
        let outcome = self.fields(whole, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Varint(v)) => w.out.ir_version = v,
                (2, Wire::Bytes(s)) => w.out.producer = w.reader.text(s)?,
                (7, Wire::Bytes(s)) => {
                    graphs += 1;
                    w.graph(s, 0)?;
                }
                (8, Wire::Bytes(s)) => w.opset(s)?,
                _ => {}
            }
            Ok(())
        });
        if graphs == 0 || self.out.ir_version == 0 {
            let why = match outcome {
                Err(e) => e.to_string(),
                Ok(()) => "it has no graph".into(),
            };
            let path = self.reader.path.clone();
            return Err(FormatError::NotThisFormat { path, wanted: "an ONNX model", why });
        }
        outcome
    }

    fn opset(&mut self, span: Span) -> Result<(), FormatError> {
        let mut set = OperatorSet { domain: String::new(), version: 0 };
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Bytes(s)) => set.domain = w.reader.text(s)?,
                (2, Wire::Varint(v)) => set.version = v,
                _ => {}
            }
            Ok(())
        })?;
        if self.out.opsets.len() < 100 {
            self.out.opsets.push(set);
        }
        Ok(())
    }

    fn graph(&mut self, span: Span, depth: u32) -> Result<(), FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.reader.damaged(format!("subgraphs nest deeper than {MAX_DEPTH}")));
        }
        self.fields(span, |w, f| match (f.number, f.value) {
            (1, Wire::Bytes(s)) => w.node(s, depth),
            (5, Wire::Bytes(s)) => w.tensor(s),
            (11, Wire::Bytes(s)) if depth == 0 => {
                let port = w.port(s)?;
                w.out.inputs.push(port);
                w.check_ports()
            }
            (12, Wire::Bytes(s)) if depth == 0 => {
                let port = w.port(s)?;
                w.out.outputs.push(port);
                w.check_ports()
            }
            _ => Ok(()),
        })?;
        if depth == 0 {
            // Old models list their weights among the inputs.
            let weights: std::collections::HashSet<&str> =
                self.out.tensors.iter().map(|t| t.name.as_str()).collect();
            self.out.inputs.retain(|i| !weights.contains(i.name.as_str()));
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), FormatError> {
        match self.out.inputs.len().max(self.out.outputs.len()) > MAX_PORTS {
            true => Err(self.reader.damaged(format!("more than {MAX_PORTS} inputs or outputs"))),
            false => Ok(()),
        }
    }

    fn node(&mut self, span: Span, depth: u32) -> Result<(), FormatError> {
        self.out.nodes += 1;
        if self.out.nodes > MAX_NODES {
            return Err(self.reader.damaged(format!("more than {MAX_NODES} nodes")));
        }
        let (mut operator, mut domain) = (String::new(), String::new());
        let (mut inputs, mut blocks) = (0, BlockWeights { bits: 4, ..BlockWeights::default() });
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Bytes(s)) => {
                    inputs += 1;
                    blocks.zero_points |= inputs == 4 && s.len() > 0;
                }
                (4, Wire::Bytes(s)) => operator = w.reader.text(s)?,
                (7, Wire::Bytes(s)) => domain = w.reader.text(s)?,
                (5, Wire::Bytes(s)) => match w.attribute(s, depth)? {
                    (name, Some(v)) if name == "bits" => blocks.bits = v,
                    (name, Some(v)) if name == "block_size" => blocks.block = v,
                    _ => {}
                },
                _ => {}
            }
            Ok(())
        })?;
        if operator == "MatMulNBits" && self.out.block_weights.len() < MAX_BLOCKS {
            self.out.block_weights.insert(blocks);
        }
        if !domain.is_empty() && domain != "ai.onnx" {
            operator = format!("{domain}:{operator}");
        }
        *self.out.operators.entry(operator).or_insert(0) += 1;
        Ok(())
    }

    /// Its name, and its value where that is an integer.
    fn attribute(&mut self, span: Span, depth: u32) -> Result<(String, Option<u64>), FormatError> {
        let (mut name, mut value) = (String::new(), None);
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Bytes(s)) => name = w.reader.text(s)?,
                (3, Wire::Varint(v)) => value = Some(v),
                (5 | 10, Wire::Bytes(s)) => w.tensor(s)?,
                (6 | 11, Wire::Bytes(s)) => w.graph(s, depth + 1)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((name, value))
    }

    fn tensor(&mut self, span: Span) -> Result<(), FormatError> {
        let mut draft = Draft::default();
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Varint(v)) => draft.dims.push(v),
                (1, Wire::Bytes(s)) => draft.dims.extend(w.reader.packed(s, MAX_DIMS)?),
                (2, Wire::Varint(v)) => draft.kind = v,
                (4 | 5 | 6 | 7 | 9 | 10 | 11, Wire::Bytes(s)) => draft.inline += s.len(),
                (8, Wire::Bytes(s)) => draft.name = w.reader.text(s)?,
                (13, Wire::Bytes(s)) => w.external_entry(s, &mut draft)?,
                _ => {}
            }
            if draft.dims.len() > MAX_DIMS {
                return Err(w.reader.damaged(format!("a tensor of more than {MAX_DIMS} axes")));
            }
            Ok(())
        })?;
        self.keep(draft)
    }

    fn external_entry(&mut self, span: Span, draft: &mut Draft) -> Result<(), FormatError> {
        let (mut key, mut value) = (String::new(), String::new());
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Bytes(s)) => key = w.reader.text(s)?,
                (2, Wire::Bytes(s)) => value = w.reader.text(s)?,
                _ => {}
            }
            Ok(())
        })?;
        let number = || value.parse::<u64>().map_err(|_| format!("external {key} is `{value}`"));
        match key.as_str() {
            "offset" => draft.offset = number().map_err(|why| self.reader.damaged(why))?,
            "length" => draft.length = Some(number().map_err(|why| self.reader.damaged(why))?),
            "location" => draft.location = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, draft: Draft) -> Result<(), FormatError> {
        if self.out.tensors.len() >= MAX_TENSORS {
            return Err(self.reader.damaged(format!("more than {MAX_TENSORS} tensors")));
        }
        let known = ONNX_TYPES.iter().find(|(id, ..)| *id == draft.kind);
        let elements = draft.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let elements = elements.filter(|&n| i64::try_from(n).is_ok());
        let Some(elements) = elements else {
            return Err(self.reader.damaged(format!("tensor `{}` overflows", draft.name)));
        };
        let bits = known.map_or(0, |(_, _, bits)| *bits);
        let bytes = (u128::from(elements) * u128::from(bits)).div_ceil(8);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let dtype = known.map_or_else(|| format!("type {}", draft.kind), |(_, n, _)| (*n).into());
        match &draft.location {
            Some(location) => {
                let length = draft.length.unwrap_or(bytes);
                let path = self.reader.path.clone();
                external::note(&mut self.out.external, &path, location, draft.offset, length)?;
            }
            // Packed `int32_data` and the like take other sizes; nothing at all is a broken file.
            None if draft.inline == 0 && bytes > 0 => {
                let why = format!("tensor `{}` has no data for its shape", draft.name);
                return Err(self.reader.damaged(why));
            }
            None => {}
        }
        self.out.tensors.push(TensorSpec {
            role: if elements == 1 { Role::Other } else { role_of_path(&draft.name) },
            name: draft.name,
            shape: draft.dims.into_iter().rev().collect(),
            dtype,
            bytes,
        });
        Ok(())
    }

    fn port(&mut self, span: Span) -> Result<Port, FormatError> {
        let mut port = Port { name: String::new(), dtype: String::new(), dims: Vec::new() };
        self.fields(span, |w, f| {
            match (f.number, f.value) {
                (1, Wire::Bytes(s)) => port.name = w.reader.text(s)?,
                (2, Wire::Bytes(s)) => w.port_type(s, &mut port)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(port)
    }

    fn port_type(&mut self, span: Span, port: &mut Port) -> Result<(), FormatError> {
        self.fields(span, |w, f| {
            let (1, Wire::Bytes(tensor)) = (f.number, f.value) else { return Ok(()) };
            w.fields(tensor, |w, f| {
                match (f.number, f.value) {
                    (1, Wire::Varint(kind)) => {
                        let known = ONNX_TYPES.iter().find(|(id, ..)| *id == kind);
                        port.dtype = known.map_or("?", |(_, name, _)| name).into();
                    }
                    (2, Wire::Bytes(shape)) => w.shape(shape, &mut port.dims)?,
                    _ => {}
                }
                Ok(())
            })
        })
    }

    fn shape(&mut self, span: Span, dims: &mut Vec<Dim>) -> Result<(), FormatError> {
        self.fields(span, |w, f| {
            let (1, Wire::Bytes(dim)) = (f.number, f.value) else { return Ok(()) };
            let mut value = Dim::Free(String::new());
            w.fields(dim, |w, f| {
                match (f.number, f.value) {
                    // A negative size is how some exporters write an axis that varies.
                    (1, Wire::Varint(v)) if i64::try_from(v).is_ok() => value = Dim::Fixed(v),
                    (2, Wire::Bytes(s)) => value = Dim::Free(w.reader.text(s)?),
                    _ => {}
                }
                Ok(())
            })?;
            if dims.len() == MAX_DIMS {
                return Err(w.reader.damaged(format!("a port of more than {MAX_DIMS} axes")));
            }
            dims.push(value);
            Ok(())
        })
    }
}

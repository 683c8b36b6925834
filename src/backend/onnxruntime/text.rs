//! A decoder with a key-value cache: one graph call a step, the cache written in place.
//!
//! Past and present of each layer are one buffer as long as the context, which `GroupQueryAttention` extends where it
//! lies. Inputs and outputs have the names that onnxruntime-genai's model builder gives them.

use std::path::Path;

use ort::session::{IoBinding, Session as OrtSession};
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType, ValueType};

use super::session::{Opened, error};
use crate::backend::greedy::argmax;
use crate::backend::{BackendError, TextSession};
use crate::formats::onnx::OnnxSummary;
use crate::probe::{LiveHost, host_state};
use crate::record::SessionFacts;

/// Logit rows computed at a time where all are wanted: bounds the output (vocabulary x 4 bytes a row).
const LOGIT_ROWS: usize = 128;
/// Optional input of our own graphs: the first position whose logits are computed.
const LOGITS_FROM: &str = "logits_from";
const ATTENTION: &str = "com.microsoft:GroupQueryAttention";

pub(super) struct Decoder {
    session: OrtSession,
    binding: IoBinding,
    facts: SessionFacts,
    vocabulary: u32,
    /// Tokens of one call at most.
    batch: usize,
    limit: usize,
    past: usize,
    selects_logits: bool,
    takes_positions: bool,
}

/// True for a graph that takes a key-value cache.
pub(super) fn is_decoder(summary: &OnnxSummary) -> bool {
    summary.inputs.iter().any(|i| is_cache(&i.name))
}

fn is_cache(name: &str) -> bool {
    name.starts_with("past_key_values.")
}

impl Decoder {
    pub(super) fn new(
        opened: Opened,
        summary: &OnnxSummary,
        path: &Path,
        context: u32,
        batch: usize,
    ) -> Result<Self, BackendError> {
        let Opened { session, mut facts } = opened;
        if !summary.operators.contains_key(ATTENTION) {
            let text =
                "a decoder without GroupQueryAttention: its cache cannot be written in place";
            return Err(BackendError::Unsupported(text.to_owned()));
        }
        let limit = context.max(1) as usize;
        let positions =
            summary.tensors.iter().find(|t| t.name == "cos_cache").and_then(|t| t.shape.last());
        if let Some(&most) = positions.filter(|&&most| (limit as u64) > most) {
            let text =
                format!("a context of {limit} tokens: the graph's rotary tables end at {most}");
            return Err(BackendError::Unsupported(text));
        }
        let shapes = cache_shapes(&session, path, limit)?;
        let bytes: u64 =
            shapes.iter().map(|(_, ty, s)| s.iter().product::<i64>() as u64 * width(*ty)).sum();
        check_memory(bytes, limit)?;
        facts.kv_cache_bytes = Some(bytes);
        let kv =
            shapes.first().map_or("", |(_, ty, _)| if width(*ty) == 2 { "f16" } else { "f32" });
        facts.settings.insert("kv".into(), kv.into());
        facts.settings.insert("batch".into(), batch.to_string());
        let failed = |e: ort::Error| error("cannot bind the key-value cache", &e);
        let mut binding = session.create_binding().map_err(failed)?;
        for (name, ty, shape) in shapes {
            let mut cache =
                DynTensor::new(session.allocator(), ty, shape.as_slice()).map_err(failed)?;
            let present = name.replacen("past_key_values.", "present.", 1);
            binding.bind_input(name, &cache).map_err(failed)?;
            binding.bind_output(present, &mut cache).map_err(failed)?;
        }
        binding
            .bind_output_to_device("logits", session.allocator().memory_info())
            .map_err(failed)?;
        let has = |name: &str| summary.inputs.iter().any(|i| i.name == name);
        Ok(Self {
            vocabulary: vocabulary(&session)?,
            selects_logits: session
                .overridable_initializers()
                .iter()
                .any(|i| i.name() == LOGITS_FROM),
            takes_positions: has("position_ids"),
            session,
            binding,
            facts,
            batch,
            limit,
            past: 0,
        })
    }

    /// Appends tokens; the logits of their last position, or of all where `all`.
    fn step(&mut self, tokens: &[u32], all: bool) -> Result<DynValue, BackendError> {
        self.check(tokens)?;
        let n = tokens.len();
        let total = self.past + n;
        let failed = |e: ort::Error| error("inference failed", &e);
        let ints = |shape: [usize; 2], values: Vec<i64>| {
            Tensor::from_array((shape, values)).map_err(failed)
        };
        let ids = ints([1, n], tokens.iter().map(|&t| i64::from(t)).collect())?;
        let mask = ints([1, total], vec![1; total])?;
        self.binding.bind_input("input_ids", &ids).map_err(failed)?;
        self.binding.bind_input("attention_mask", &mask).map_err(failed)?;
        if self.takes_positions {
            let positions = ints([1, n], (self.past..total).map(|p| p as i64).collect())?;
            self.binding.bind_input("position_ids", &positions).map_err(failed)?;
        }
        if self.selects_logits {
            let from =
                Tensor::from_array(([1], vec![if all { 0i64 } else { -1 }])).map_err(failed)?;
            self.binding.bind_input(LOGITS_FROM, &from).map_err(failed)?;
        }
        // Bound anew: a bound output keeps the shape of the call before.
        let memory = self.session.allocator().memory_info();
        self.binding.bind_output_to_device("logits", memory).map_err(failed)?;
        let mut outputs = self.session.run_binding(&self.binding).map_err(failed)?;
        self.past = total;
        outputs
            .remove("logits")
            .ok_or_else(|| BackendError::Failed("the graph returned no logits".into()))
    }

    fn check(&self, tokens: &[u32]) -> Result<(), BackendError> {
        if tokens.is_empty() {
            return Err(BackendError::Failed("no tokens were given".into()));
        }
        if self.past + tokens.len() > self.limit {
            return Err(BackendError::Failed(format!(
                "{} tokens behind {} do not fit the context of {}",
                tokens.len(),
                self.past,
                self.limit
            )));
        }
        match tokens.iter().find(|&&t| t >= self.vocabulary) {
            None => Ok(()),
            Some(t) => {
                let text = format!("token {t} is outside the vocabulary of {}", self.vocabulary);
                Err(BackendError::Failed(text))
            }
        }
    }

    /// Hands the rows of `[1, positions, vocabulary]` to `sink`.
    fn rows(
        &self,
        logits: &DynValue,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        let converted: Vec<f32>;
        let values = match logits.try_extract_tensor::<f32>() {
            Ok((_, values)) => values,
            Err(_) => {
                let halves =
                    logits.try_extract_tensor::<half::f16>().map_err(|e| error("logits", &e))?;
                converted = halves.1.iter().map(|x| x.to_f32()).collect();
                &converted
            }
        };
        for (i, row) in values.chunks_exact(self.vocabulary as usize).enumerate() {
            sink(i, row);
        }
        Ok(())
    }

    fn greedy(&self, logits: &DynValue) -> Result<u32, BackendError> {
        let mut best = None;
        self.rows(logits, &mut |_, row| best = Some(argmax(row)))?;
        best.ok_or_else(|| BackendError::Failed("the graph returned no logits".into()))
    }
}

impl TextSession for Decoder {
    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        self.past = 0;
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        if self.past + tokens.len() > self.limit {
            self.check(tokens)?;
        }
        let mut last = None;
        for part in tokens.chunks(self.batch) {
            last = Some(self.step(part, false)?);
        }
        match last {
            Some(logits) => self.greedy(&logits),
            None => self.check(tokens).map(|()| 0),
        }
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        let logits = self.step(&[token], false)?;
        self.greedy(&logits)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        let rows = LOGIT_ROWS.min(self.batch);
        for (i, part) in tokens.chunks(rows).enumerate() {
            let logits = self.step(part, true)?;
            self.rows(&logits, &mut |j, row| sink(i * rows + j, row))?;
        }
        Ok(())
    }
}

fn width(ty: TensorElementType) -> u64 {
    if ty == TensorElementType::Float16 { 2 } else { 4 }
}

fn vocabulary(session: &OrtSession) -> Result<u32, BackendError> {
    let logits = session.outputs().iter().find(|o| o.name() == "logits");
    let last = logits.and_then(|o| o.dtype().tensor_shape()?.last().copied());
    last.and_then(|n| u32::try_from(n).ok())
        .filter(|&n| n > 0)
        .ok_or_else(|| BackendError::Unsupported("no output `logits` of a fixed vocabulary".into()))
}

type CacheShape = (String, TensorElementType, Vec<i64>);

/// `[1, heads, limit, width]` of every cache input; what the graph leaves open is in the `genai_config.json` beside it.
fn cache_shapes(
    session: &OrtSession,
    path: &Path,
    limit: usize,
) -> Result<Vec<CacheShape>, BackendError> {
    let beside = GenaiConfig::beside(path);
    let unsupported = |why: String| BackendError::Unsupported(why);
    let mut shapes = Vec::new();
    for input in session.inputs().iter().filter(|i| is_cache(i.name())) {
        let name = input.name();
        let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
            return Err(unsupported(format!("input `{name}` is no tensor")));
        };
        if !matches!(ty, TensorElementType::Float32 | TensorElementType::Float16)
            || shape.len() != 4
        {
            return Err(unsupported(format!("input `{name}` is {}", input.dtype())));
        }
        let open = |axis: usize, known: Option<i64>| {
            let size = if shape[axis] > 0 { Some(shape[axis]) } else { known };
            size.filter(|n| (1..=1 << 20).contains(n)).ok_or_else(|| {
                unsupported(format!(
                    "axis {axis} of `{name}` is open, and no genai_config.json says it"
                ))
            })
        };
        let heads = open(1, beside.as_ref().map(|c| c.num_key_value_heads))?;
        let width = open(3, beside.as_ref().map(|c| c.head_size))?;
        shapes.push((name.to_owned(), *ty, vec![1, heads, limit as i64, width]));
    }
    Ok(shapes)
}

/// The decoder's section of onnxruntime-genai's configuration.
#[derive(serde::Deserialize)]
struct GenaiConfig {
    num_key_value_heads: i64,
    head_size: i64,
}

impl GenaiConfig {
    fn beside(model: &Path) -> Option<Self> {
        const MOST: u64 = 1 << 20;
        let path = model.parent()?.join("genai_config.json");
        std::fs::metadata(&path).ok().filter(|m| m.len() <= MOST)?;
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        serde_json::from_value(json.pointer_mut("/model/decoder")?.take()).ok()
    }
}

/// The cache is filled when it is made, so one that does not fit would end in the kernel's OOM killer.
fn check_memory(needed: u64, context: usize) -> Result<(), BackendError> {
    let available = host_state(&LiveHost::new()).memory_available_bytes;
    if available.is_none_or(|a| needed <= a) {
        return Ok(());
    }
    Err(BackendError::OutOfMemory(format!(
        "a context of {context} tokens needs {} MiB for its cache (hint: a shorter context)",
        needed >> 20
    )))
}

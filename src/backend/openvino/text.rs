//! A stateful language model: the KV cache lives in the infer request, so a new sequence is a new request.

use openvino::{ElementType, InferRequest, Tensor};

use super::library::failed;
use super::model::{Compiled, compile, tensor};
use crate::backend::greedy::argmax;
use crate::backend::{BackendError, OpenRequest, TextSession};
use crate::model::{Finding, FindingKind};
use crate::record::SessionFacts;

/// Input of our own variants: the positions whose logits are wanted. `make.py` puts it in.
pub(super) const POSITIONS: &str = "logit_positions";
/// What exporters call the inputs of a stateful model.
const KNOWN: &[&str] = &["input_ids", "attention_mask", "position_ids", "beam_idx", POSITIONS];
/// Logit rows computed at a time: bounds the output (vocabulary x 4 bytes a row).
const LOGIT_ROWS: usize = 128;

/// An opened model with one sequence.
pub(super) struct TextModel {
    // Declared before the model: it must be freed first.
    request: InferRequest,
    compiled: Compiled,
    inputs: Vec<String>,
    vocabulary: u32,
    past: usize,
}

impl TextModel {
    pub(super) fn open(request: &OpenRequest) -> Result<Self, BackendError> {
        let mut compiled = compile(request, true, &|_| Ok(()))?;
        let inputs = input_names(&compiled)?;
        if let Some(other) = inputs.iter().find(|i| !KNOWN.contains(&i.as_str())) {
            return Err(BackendError::Unsupported(format!(
                "the model has an input `{other}`; a stateful text model takes {}",
                KNOWN.join(", ")
            )));
        }
        for needed in ["input_ids", "beam_idx"] {
            if !inputs.iter().any(|i| i == needed) {
                let text = format!("the model has no input `{needed}`: export it with its state");
                return Err(BackendError::Unsupported(text));
            }
        }
        if !inputs.iter().any(|i| i == POSITIONS) {
            let text = "logits of all prompt positions are computed: prefill is slower by that";
            compiled.facts.findings.push(Finding::note(FindingKind::Note, text));
        }
        let request = new_request(&mut compiled)?;
        let mut model = Self { request, compiled, inputs, vocabulary: 0, past: 0 };
        model.vocabulary = model.probe_vocabulary()?;
        model.reset()?;
        Ok(model)
    }

    /// Width of the logits, from one token run through the model.
    fn probe_vocabulary(&mut self) -> Result<u32, BackendError> {
        self.infer(&[0], &[0])?;
        let logits = self.logits_tensor()?;
        let shape = logits.get_shape().map_err(|e| failed("no shape of the logits", &e))?;
        let element = logits.get_element_type().map_err(|e| failed("no type of the logits", &e))?;
        if element != ElementType::F32 {
            return Err(BackendError::Unsupported(format!("logits of type {element:?}")));
        }
        match *shape.get_dimensions() {
            [1, 1, v] if v > 0 => Ok(v as u32),
            ref other => Err(BackendError::Unsupported(format!("logits of shape {other:?}"))),
        }
    }

    fn has(&self, input: &str) -> bool {
        self.inputs.iter().any(|i| i == input)
    }

    /// Appends `tokens`; logits are computed at `positions` of them, or at all where the model has no such input.
    fn infer(&mut self, tokens: &[u32], positions: &[i64]) -> Result<(), BackendError> {
        let (n, past) = (tokens.len() as i64, self.past as i64);
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let places: Vec<i64> = (past..past + n).collect();
        let mask = vec![1i64; (past + n) as usize];
        self.set("input_ids", tensor(ElementType::I64, &[1, n], &ids)?)?;
        self.set("attention_mask", tensor(ElementType::I64, &[1, past + n], &mask)?)?;
        self.set("position_ids", tensor(ElementType::I64, &[1, n], &places)?)?;
        self.set("beam_idx", tensor(ElementType::I32, &[1], &[0i32])?)?;
        let count = positions.len() as i64;
        self.set(POSITIONS, tensor(ElementType::I64, &[count], positions)?)?;
        self.request.infer().map_err(|e| failed("inference failed", &e))?;
        self.past += tokens.len();
        Ok(())
    }

    fn set(&mut self, name: &str, value: Tensor) -> Result<(), BackendError> {
        if !self.has(name) {
            return Ok(());
        }
        self.request.set_tensor(name, &value).map_err(|e| failed(&format!("input `{name}`"), &e))
    }

    fn logits_tensor(&self) -> Result<Tensor, BackendError> {
        let by_name = self.request.get_tensor("logits");
        let found = by_name.or_else(|_| self.request.get_output_tensor_by_index(0));
        found.map_err(|e| failed("no logits", &e))
    }

    /// The greedy token of the last position.
    fn best(&self) -> Result<u32, BackendError> {
        let logits = self.logits_tensor()?;
        let rows = rows(&logits, self.vocabulary)?;
        let last = rows.chunks_exact(self.vocabulary as usize).next_back();
        last.map(argmax).ok_or_else(|| BackendError::Failed("the model returned no logits".into()))
    }

    fn check(&self, tokens: &[u32]) -> Result<(), BackendError> {
        if tokens.is_empty() {
            return Err(BackendError::Failed("no tokens were given".into()));
        }
        match tokens.iter().find(|&&t| t >= self.vocabulary) {
            Some(t) => Err(BackendError::Failed(format!(
                "token {t} is outside the vocabulary of {}",
                self.vocabulary
            ))),
            None => Ok(()),
        }
    }
}

impl TextSession for TextModel {
    fn facts(&self) -> SessionFacts {
        self.compiled.facts.clone()
    }

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        self.request = new_request(&mut self.compiled)?;
        self.past = 0;
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        self.check(tokens)?;
        self.infer(tokens, &[tokens.len() as i64 - 1])?;
        self.best()
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        self.check(&[token])?;
        self.infer(&[token], &[0])?;
        self.best()
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        self.check(tokens)?;
        for (i, chunk) in tokens.chunks(LOGIT_ROWS).enumerate() {
            let all: Vec<i64> = (0..chunk.len() as i64).collect();
            self.infer(chunk, &all)?;
            let logits = self.logits_tensor()?;
            let rows = rows(&logits, self.vocabulary)?;
            if rows.len() != chunk.len() * self.vocabulary as usize {
                return Err(BackendError::Unsupported(
                    "the model computes logits for the last position only, so its quality cannot be measured"
                        .into(),
                ));
            }
            for (j, row) in rows.chunks_exact(self.vocabulary as usize).enumerate() {
                sink(i * LOGIT_ROWS + j, row);
            }
        }
        Ok(())
    }
}

fn new_request(compiled: &mut Compiled) -> Result<InferRequest, BackendError> {
    compiled.model.create_infer_request().map_err(|e| failed("cannot make a request", &e))
}

fn input_names(compiled: &Compiled) -> Result<Vec<String>, BackendError> {
    let model = &compiled.model;
    let count = model.get_input_size();
    count
        .and_then(|n| (0..n).map(|i| model.get_input_by_index(i)?.get_name()).collect())
        .map_err(|e| failed("cannot read the model's inputs", &e))
}

/// The values, or an error where there are none: the crate must not be asked for a slice of an empty tensor.
fn rows(logits: &Tensor, vocabulary: u32) -> Result<&[f32], BackendError> {
    let size = logits.get_size().map_err(|e| failed("no logits", &e))?;
    if size < vocabulary as usize {
        return Err(BackendError::Failed("the model returned no logits".into()));
    }
    logits.get_data::<f32>().map_err(|e| failed("no logits", &e))
}

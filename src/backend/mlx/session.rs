//! A model opened in a Python child, as a [`TextSession`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{PATIENCE, environment};
use crate::backend::{BackendError, OpenRequest, TextSession};
use crate::model::{Finding, FindingKind};
use crate::record::SessionFacts;
use crate::runtime::{PythonChild, Reply};

/// Positions whose logits are asked for at once: bounds a reply to this many vocabularies of floats.
const LOGIT_ROWS: usize = 32;
/// What measuring a functional reference may take.
const TIME_BOX: Duration = Duration::from_secs(15);

/// An opened model.
pub(super) struct MlxSession {
    script: PythonChild,
    vocabulary: u32,
    limit: usize,
    past: usize,
    functional: bool,
    facts: SessionFacts,
}

#[derive(Deserialize)]
struct Opened {
    vocabulary: u32,
    layers: u64,
    weights: u64,
    /// Types of the parameters that are not packed integers: activations follow them.
    floats: Vec<String>,
    /// Bytes kept resident for the GPU; 0 where nothing was set.
    wired: u64,
    versions: BTreeMap<String, String>,
}

/// Bytes of the context, and MLX's own peak since the model was loaded.
#[derive(Deserialize)]
struct Memory {
    kv: u64,
    peak: u64,
}

#[derive(Deserialize)]
struct Prefilled {
    token: u32,
    #[serde(flatten)]
    memory: Memory,
}

impl MlxSession {
    pub(super) fn open(request: &OpenRequest) -> Result<Self, BackendError> {
        let device = match request.device.as_str() {
            d @ ("cpu" | "gpu") => d,
            other => {
                return Err(BackendError::Unsupported(format!(
                    "MLX has `cpu` and `gpu`, not `{other}`"
                )));
            }
        };
        let functional = functional(device, std::env::consts::ARCH);
        let float32 = match activations(&request.options)? {
            Some(wanted) => wanted,
            None => functional,
        };
        let mut script = PythonChild::start(&environment()?, include_str!("session.py"), &[])?;
        let open = json!({
            "op": "open", "path": request.variant.path, "device": device, "float32": float32,
        });
        let opened: Opened = parse(script.call(&open, PATIENCE, &mut |_, _| ())?.value)?;
        if opened.vocabulary == 0 {
            return Err(BackendError::Unsupported("the model has no vocabulary to predict".into()));
        }
        let facts = facts(&opened, device, functional, script.id());
        let limit = request.context.max(1) as usize;
        let vocabulary = opened.vocabulary;
        Ok(Self { script, vocabulary, limit, past: 0, functional, facts })
    }

    fn call(&mut self, request: Value) -> Result<Reply, BackendError> {
        Ok(self.script.call(&request, PATIENCE, &mut |_, _| ())?)
    }

    fn take_room(&mut self, tokens: &[u32]) -> Result<(), BackendError> {
        if let Some(t) = tokens.iter().find(|&&t| t >= self.vocabulary) {
            let text = format!("token {t} is outside the vocabulary of {}", self.vocabulary);
            return Err(BackendError::Failed(text));
        }
        if tokens.is_empty() || self.past + tokens.len() > self.limit {
            return Err(BackendError::Failed(format!(
                "{} tokens behind {} do not fit the context of {}",
                tokens.len(),
                self.past,
                self.limit
            )));
        }
        self.past += tokens.len();
        Ok(())
    }

    fn note(&mut self, memory: &Memory) {
        let facts = &mut self.facts;
        let most = |old: Option<u64>, new: u64| Some(old.unwrap_or(0).max(new));
        facts.kv_cache_bytes = most(facts.kv_cache_bytes, memory.kv);
        let held = facts.weight_bytes.unwrap_or(0) + memory.kv;
        facts.compute_buffer_bytes =
            most(facts.compute_buffer_bytes, memory.peak.saturating_sub(held));
        if facts.placement.contains_key("gpu") {
            facts.device_memory_bytes = most(facts.device_memory_bytes, memory.peak);
        }
    }
}

/// Whether a device runs MLX for its answers rather than its speed: MLX's CPU kernels are plain code on x86.
pub(super) fn functional(device: &str, arch: &str) -> bool {
    device == "cpu" && arch == "x86_64"
}

/// `activations=float32` or `activations=file`; no other option is known.
fn activations(options: &BTreeMap<String, String>) -> Result<Option<bool>, BackendError> {
    let mut wanted = None;
    for (key, value) in options {
        wanted = Some(match (key.as_str(), value.as_str()) {
            ("activations", "float32") => true,
            ("activations", "file") => false,
            _ => {
                return Err(BackendError::Unsupported(format!(
                    "MLX has no option `{key}={value}`; known: activations=float32, activations=file"
                )));
            }
        });
    }
    Ok(wanted)
}

fn facts(opened: &Opened, device: &str, functional: bool, child: u32) -> SessionFacts {
    let versions: Vec<String> = opened.versions.iter().map(|(k, v)| format!("{k} {v}")).collect();
    let floats = opened.floats.join(" + ");
    let mut settings = BTreeMap::from([
        ("activations".to_owned(), floats.clone()),
        ("threads".to_owned(), "chosen by MLX".to_owned()),
    ]);
    if opened.wired > 0 {
        settings.insert("wired limit".to_owned(), format!("{} MiB", opened.wired >> 20));
    }
    let mut findings = Vec::new();
    if functional {
        let detail =
            "functional reference: MLX's x86 CPU kernels are there to check answers, not for speed";
        findings.push(Finding::note(FindingKind::FunctionalReference, detail).with_hint(
            "its speed says nothing about MLX on Apple silicon; few samples were taken",
        ));
    }
    SessionFacts {
        version: versions.join(", "),
        kernel: format!("{} {floats}", if device == "gpu" { "gpu" } else { "cpu" }),
        path: "library".to_owned(),
        placement: BTreeMap::from([(device.to_owned(), opened.layers)]),
        weight_bytes: Some(opened.weights),
        settings,
        child_pids: vec![child],
        findings,
        ..SessionFacts::default()
    }
}

fn parse<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, BackendError> {
    serde_json::from_value(value).map_err(|e| BackendError::failed("the session's answer", e))
}

impl TextSession for MlxSession {
    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn time_box(&self) -> Option<Duration> {
        self.functional.then_some(TIME_BOX)
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        let memory: Memory = parse(self.call(json!({ "op": "reset" }))?.value)?;
        self.note(&memory);
        self.past = 0;
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        self.take_room(tokens)?;
        let reply = self.call(json!({ "op": "prefill", "tokens": tokens }))?;
        let done: Prefilled = parse(reply.value)?;
        self.note(&done.memory);
        Ok(done.token)
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        self.take_room(&[token])?;
        parse(self.call(json!({ "op": "decode", "token": token }))?.value)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        let width = self.vocabulary as usize;
        for (i, piece) in tokens.chunks(LOGIT_ROWS).enumerate() {
            self.take_room(piece)?;
            let reply = self.call(json!({ "op": "logits", "tokens": piece }))?;
            if reply.bytes.len() != piece.len() * width * size_of::<f32>() {
                return Err(BackendError::Failed(format!(
                    "{} bytes of logits came for {} positions of {width}",
                    reply.bytes.len(),
                    piece.len()
                )));
            }
            let floats: Vec<f32> = reply
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|b: &[u8; 4]| f32::from_le_bytes(*b))
                .collect();
            for (j, row) in floats.chunks(width).enumerate() {
                sink(i * LOGIT_ROWS + j, row);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(floats: &str, wired: u64) -> Opened {
        Opened {
            vocabulary: 10,
            layers: 2,
            weights: 100,
            floats: vec![floats.to_owned()],
            wired,
            versions: BTreeMap::from([("mlx".to_owned(), "0.32.4".to_owned())]),
        }
    }

    #[test]
    fn only_the_x86_cpu_is_a_functional_reference() {
        assert!(functional("cpu", "x86_64"));
        assert!(!functional("cpu", "aarch64") && !functional("gpu", "x86_64"));
        let on_x86 = facts(&opened("float32", 0), "cpu", true, 7);
        assert!(on_x86.findings[0].detail.contains("functional reference"));
        assert_eq!(on_x86.child_pids, [7]);
        let on_metal = facts(&opened("float16", 48 << 30), "gpu", false, 7);
        assert!(on_metal.findings.is_empty());
        assert_eq!(on_metal.settings["wired limit"], "49152 MiB");
        assert_eq!(on_metal.placement["gpu"], 2);
    }

    #[test]
    fn unknown_options_are_refused() {
        let options = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        assert_eq!(activations(&options("activations", "file")).unwrap(), Some(false));
        assert_eq!(activations(&BTreeMap::new()).unwrap(), None);
        assert!(activations(&options("activations", "int8")).is_err());
        assert!(activations(&options("speed", "fast")).is_err());
    }
}

//! A backend that does nothing: what it measures is the harness itself.

use std::path::Path;

use super::traits::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, OpenRequest, PrepareRequest,
    Session, TextSession,
};
use crate::model::{ModelKind, Precision, ProcessorKind, Variant};
use crate::record::SessionFacts;

const VOCABULARY: u32 = 256;

/// The null backend.
pub(crate) struct Null;

impl Backend for Null {
    fn info(&self) -> &'static BackendInfo {
        &BackendInfo {
            id: "null",
            framework: "null",
            homepage: "",
            use_case: "measures the harness",
            precisions: &[Precision::F32],
            kinds: &[ModelKind::Llm],
            claim: None,
            install: "",
            listed: false,
        }
    }

    fn availability(&self) -> Availability {
        Availability::Ready { version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        Ok(vec![cpu_device()])
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        Ok(unchanged(request.model, request.source, request.precision))
    }

    fn open(&self, _: &OpenRequest) -> Result<Session, BackendError> {
        Ok(Session::Text(Box::new(NullSession)))
    }
}

/// The one device of a backend that knows only the CPU.
pub(crate) fn cpu_device() -> BackendDevice {
    BackendDevice {
        id: "cpu".to_owned(),
        kind: ProcessorKind::Cpu,
        name: "CPU".to_owned(),
        memory_total_bytes: None,
        memory_free_bytes: None,
        problem: String::new(),
        alias: false,
    }
}

/// A variant that is the source itself, unread.
pub(crate) fn unchanged(model: &str, source: &Path, precision: Precision) -> Variant {
    Variant {
        model: model.to_owned(),
        precision,
        path: source.to_owned(),
        size_bytes: 0,
        bits_per_weight: precision.bits_per_weight(),
        types: Vec::new(),
        made_by: "source".to_owned(),
        source_sha256: String::new(),
        source_type: String::new(),
        fallbacks: Vec::new(),
    }
}

struct NullSession;

impl TextSession for NullSession {
    fn facts(&self) -> SessionFacts {
        SessionFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: "none".to_owned(),
            path: "library".to_owned(),
            ..SessionFacts::default()
        }
    }

    fn vocabulary(&self) -> u32 {
        VOCABULARY
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        Ok(tokens.last().map_or(0, |t| t % VOCABULARY))
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        Ok((token + 1) % VOCABULARY)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        let logits: Vec<f32> = (0..VOCABULARY).map(|i| i as f32).collect();
        for i in 0..tokens.len() {
            sink(i, &logits);
        }
        Ok(())
    }
}

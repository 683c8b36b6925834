//! ONNX Runtime as one of the frameworks.

use std::path::PathBuf;

use super::library::{self, NAME};
use super::{prepare, providers, session};
use crate::backend::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, Claim, OpenRequest,
    PrepareRequest, Session,
};
use crate::model::{ModelKind, Precision, Variant, Workload};
use crate::runtime;

/// ONNX Runtime through its C library.
pub(in crate::backend) struct OnnxRuntime;

static INFO: BackendInfo = BackendInfo {
    id: NAME,
    framework: "ONNX Runtime",
    homepage: "https://onnxruntime.ai",
    use_case: "Enterprise workflows, any model",
    precisions: prepare::PRECISIONS,
    kinds: &[ModelKind::Llm, ModelKind::Embedding, ModelKind::Vision, ModelKind::Speech],
    claim: Some(Claim { about: "INT4", memory_percent: (60.0, 75.0), speedup: (2.0, 6.0) }),
    install: "edge-advisor runtime install onnxruntime",
    listed: true,
};

impl Backend for OnnxRuntime {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn precisions(&self, workload: &Workload) -> &'static [Precision] {
        prepare::precisions(workload)
    }

    fn availability(&self) -> Availability {
        let Some(found) = library::find() else {
            return match runtime::plan(NAME, None) {
                Ok(_) => Availability::NotInstalled { hint: INFO.install.to_owned() },
                Err(e) => Availability::Unsupported { reason: format!("{e}; {}", e.hint()) },
            };
        };
        match found.check() {
            Ok(()) => {
                Availability::Ready { version: found.version.unwrap_or("unknown".to_owned()) }
            }
            Err(reason) => Availability::Unsupported { reason },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        Ok(providers::devices(library::load()?))
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        prepare::prepare(request)
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        session::open(request)
    }

    fn library(&self) -> Option<PathBuf> {
        library::find().map(|f| f.path)
    }
}

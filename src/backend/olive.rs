//! Microsoft Olive: variants by its passes, run by ONNX Runtime. How a row was made is Olive's, how it ran is not.

use std::path::PathBuf;

use super::traits::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, OpenRequest, PrepareRequest,
    Session,
};
use crate::convert::{BUILT_PRECISIONS, GraphTool, built_decoder, graph_variant};
use crate::model::{ModelKind, Precision, Variant, Workload};
use crate::runtime::python_env;

pub(super) struct Olive;

/// The engine that runs what Olive makes.
const ENGINE: &str = "onnxruntime";

static INFO: BackendInfo = BackendInfo {
    id: "olive",
    framework: "Olive (ONNX Runtime)",
    homepage: "https://microsoft.github.io/Olive",
    use_case: "Optimisation passes for ONNX models, run by ONNX Runtime",
    precisions: GraphTool::Olive.precisions(),
    kinds: &[ModelKind::Embedding, ModelKind::Vision, ModelKind::Speech],
    claim: None,
    install: "edge-advisor runtime install olive",
    listed: true,
};

fn engine() -> Result<&'static dyn Backend, BackendError> {
    let missing = || BackendError::Failed(format!("no backend `{ENGINE}` in this build"));
    super::find(ENGINE).ok_or_else(missing)
}

impl Backend for Olive {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn availability(&self) -> Availability {
        let Some(env) = python_env("olive") else {
            return Availability::NotInstalled { hint: INFO.install.to_owned() };
        };
        match engine().map(|e| e.availability()) {
            Ok(Availability::Ready { version }) => {
                Availability::Ready { version: format!("{}, {ENGINE} {version}", env.version) }
            }
            Ok(other) => other,
            Err(e) => Availability::Unsupported { reason: e.to_string() },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        engine()?.devices()
    }

    fn precisions(&self, workload: &Workload) -> &'static [Precision] {
        match workload {
            Workload::Generate { .. } => BUILT_PRECISIONS,
            Workload::Infer { .. } => INFO.precisions,
        }
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        if request.source.is_dir() {
            return built_decoder(request);
        }
        if request.source.extension().is_none_or(|e| e != "onnx") {
            return Err(BackendError::Unsupported(
                "Olive's passes run on ONNX files, its ModelBuilder on Hugging Face directories"
                    .into(),
            ));
        }
        graph_variant(GraphTool::Olive, request)
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        engine()?.open(request)
    }

    fn library(&self) -> Option<PathBuf> {
        engine().ok()?.library()
    }
}

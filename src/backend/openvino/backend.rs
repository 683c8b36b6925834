//! OpenVINO as one of the frameworks.

use std::path::PathBuf;

use super::graph::GraphModel;
use super::library::{NAME, devices, find_library};
use super::text::TextModel;
use super::{compress, variant};
use crate::backend::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, Claim, OpenRequest,
    PrepareRequest, Session,
};
use crate::model::{ModelKind, Precision, Variant, Workload};
use crate::runtime;

/// OpenVINO through its C library.
pub struct OpenVino;

static INFO: BackendInfo = BackendInfo {
    id: NAME,
    framework: "OpenVINO",
    homepage: "https://github.com/openvinotoolkit/openvino",
    use_case: "Intel CPU, GPU and NPU; any x86 or Arm CPU",
    precisions: compress::PRECISIONS,
    kinds: &[ModelKind::Llm, ModelKind::Embedding, ModelKind::Vision, ModelKind::Speech],
    // The course states the claim for INT8 and INT4.
    claim: Some(Claim { about: "INT8/INT4", memory_percent: (50.0, 75.0), speedup: (2.0, 5.0) }),
    install: "edge-advisor runtime install openvino",
    listed: true,
};

impl Backend for OpenVino {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn precisions(&self, workload: &Workload) -> &'static [Precision] {
        match workload {
            Workload::Generate { .. } => compress::OF_TEXT,
            Workload::Infer { .. } => compress::OF_GRAPHS,
        }
    }

    fn availability(&self) -> Availability {
        let Some(installed) = runtime::find(NAME) else {
            return match runtime::plan(NAME, None) {
                Ok(_) => Availability::NotInstalled { hint: INFO.install.to_owned() },
                Err(e) => Availability::Unsupported { reason: format!("{e}; {}", e.hint()) },
            };
        };
        match find_library(&installed.dir) {
            Ok(_) => Availability::Ready { version: installed.version },
            Err(reason) => Availability::Unsupported { reason },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        devices()
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        variant::prepare(request)
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        Ok(match request.workload {
            Workload::Generate { .. } => Session::Text(Box::new(TextModel::open(request)?)),
            Workload::Infer { .. } => Session::Graph(Box::new(GraphModel::open(request)?)),
        })
    }

    fn library(&self) -> Option<PathBuf> {
        runtime::find(NAME).map(|i| i.dir)
    }
}

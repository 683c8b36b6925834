//! llama.cpp as one of the frameworks.

use std::path::PathBuf;

use super::library::{BUILD, LINKED, NAME, library, own_build, pinned};
use super::quantize::{self, PRECISIONS};
use super::session::LlamaSession;
use super::tool::{BenchTool, find_program};
use crate::backend::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, Claim, OpenRequest,
    PrepareRequest, Session,
};
use crate::model::{ModelKind, Variant};
use crate::runtime;

/// llama.cpp through its C library.
pub struct LlamaCpp;

static INFO: BackendInfo = BackendInfo {
    id: NAME,
    framework: "llama.cpp",
    homepage: "https://github.com/ggml-org/llama.cpp",
    use_case: "cross-platform, any CPU or GPU",
    precisions: PRECISIONS,
    kinds: &[ModelKind::Llm],
    // The course states the claim for Q4_K_M: about 4 GB of a 7B model's 14 GB.
    claim: Some(Claim { about: "Q4_K_M", memory_percent: (65.0, 75.0), speedup: (2.0, 3.0) }),
    install: "edge-advisor runtime install llama.cpp",
    listed: true,
};

impl Backend for LlamaCpp {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn availability(&self) -> Availability {
        if let Some(dir) = own_build() {
            return match find_program(&dir, "llama-bench") {
                Some(_) => Availability::Ready { version: "own build".to_owned() },
                None => Availability::Unsupported {
                    reason: format!("`{}` holds no llama-bench", dir.display()),
                },
            };
        }
        if LINKED {
            return Availability::Ready { version: format!("{BUILD} (linked)") };
        }
        if runtime::find(NAME).is_none() {
            return match runtime::plan(NAME, None) {
                Ok(_) => Availability::NotInstalled { hint: INFO.install.to_owned() },
                Err(e) => Availability::Unsupported { reason: format!("{e}; {}", e.hint()) },
            };
        }
        match pinned() {
            Ok(installed) => Availability::Ready {
                version: match installed.flavour.as_str() {
                    "cpu" => BUILD.to_owned(),
                    flavour => format!("{BUILD} ({flavour})"),
                },
            },
            Err(e) => Availability::Unsupported { reason: e.to_string() },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        Ok(library()?.devices().into_iter().map(|(_, device)| device).collect())
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        quantize::prepare(request)
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        Ok(match own_build() {
            Some(dir) => Session::Tool(Box::new(BenchTool::open(&dir, request)?)),
            None => Session::Text(Box::new(LlamaSession::open(request)?)),
        })
    }

    fn library(&self) -> Option<PathBuf> {
        if LINKED { std::env::current_exe().ok() } else { runtime::find(NAME).map(|i| i.dir) }
    }
}

//! The embedded engine as a [`Backend`]: always there, on the CPU.

use super::CANDLE_VERSION;
use super::engine::Engine;
use super::model::Model;
use super::session::CandleSession;
use crate::backend::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, OpenRequest, PrepareRequest,
    Session,
};
use crate::convert;
use crate::formats::gguf::Gguf;
use crate::model::{ModelKind, ProcessorKind, Variant};

/// candle's block formats under our own forward pass.
pub(in crate::backend) struct Candle;

static INFO: BackendInfo = BackendInfo {
    id: "candle",
    framework: "candle",
    homepage: "https://github.com/huggingface/candle",
    use_case: "Embedded in a Rust program, nothing to install",
    precisions: convert::PRECISIONS,
    kinds: &[ModelKind::Llm],
    claim: None,
    install: "",
    listed: true,
};

impl Backend for Candle {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn availability(&self) -> Availability {
        Availability::Ready { version: CANDLE_VERSION.to_owned() }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        Ok(vec![BackendDevice {
            id: "cpu".to_owned(),
            kind: ProcessorKind::Cpu,
            name: format!("{} ({})", std::env::consts::ARCH, super::kernels::Isa::detect()),
            memory_total_bytes: None,
            memory_free_bytes: None,
            problem: String::new(),
            alias: false,
        }])
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        convert::gguf_variant(
            request.model,
            request.source,
            request.precision,
            request.cache,
            request.progress,
        )
        .map_err(|e| match e {
            convert::ConvertError::Unsupported(why) => BackendError::Unsupported(why),
            other => BackendError::failed("cannot make the variant", other),
        })
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        if request.device != "cpu" {
            let text = format!("device `{}`: the embedded engine runs on `cpu`", request.device);
            return Err(BackendError::Unsupported(text));
        }
        if let Some(option) = request.options.keys().next() {
            return Err(BackendError::Unsupported(format!("option `{option}`")));
        }
        let gguf = Gguf::open(&request.variant.path)
            .map_err(|e| BackendError::failed("cannot open the model", e))?;
        let model = Model::load(&gguf)?;
        let engine = Engine::new(model, request.threads as usize, request.context as usize)?;
        Ok(Session::Text(Box::new(CandleSession(engine))))
    }
}

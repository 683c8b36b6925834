//! MLX as one of the frameworks.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::recipe::PRECISIONS;
use super::session::{MlxSession, functional};
use super::{NAME, environment, prepare, run};
use crate::backend::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, OpenRequest, PrepareRequest,
    Session,
};
use crate::model::{ModelKind, Precision, ProcessorKind, Variant, Workload};
use crate::runtime::{self, python_env};

pub(super) const INSTALL: &str = "edge-advisor runtime install mlx";

/// MLX through Python.
pub struct Mlx;

static INFO: BackendInfo = BackendInfo {
    id: NAME,
    framework: "Apple MLX",
    homepage: "https://github.com/ml-explore/mlx",
    use_case: "Apple silicon",
    precisions: PRECISIONS,
    kinds: &[ModelKind::Llm],
    // The course gives a size and no percentage: it stands with the field's other claims.
    claim: None,
    install: INSTALL,
    listed: true,
};

impl Backend for Mlx {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn usual_precisions(&self, _: &Workload) -> &'static [Precision] {
        // Minutes a variant where it is a functional reference.
        match functional("cpu", std::env::consts::ARCH) {
            true => &[Precision::F16, Precision::MlxQ8G64, Precision::MlxQ4G64],
            false => PRECISIONS,
        }
    }

    fn availability(&self) -> Availability {
        match python_env(NAME) {
            Some(env) => Availability::Ready { version: env.version },
            None => match runtime::plan(NAME, None) {
                Ok(_) => Availability::NotInstalled { hint: INSTALL.to_owned() },
                Err(e) => Availability::Unsupported { reason: format!("{e}; {}", e.hint()) },
            },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        let script = include_str!("devices.py");
        let seen = run(&environment()?, script, &json!({}), &mut |_, _| ())?;
        let seen = serde_json::from_value(seen)
            .map_err(|e| BackendError::failed("MLX's list of devices", e))?;
        Ok(devices(&seen))
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        prepare::prepare(request)
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        Ok(Session::Text(Box::new(MlxSession::open(request)?)))
    }

    fn library(&self) -> Option<PathBuf> {
        python_env(NAME).map(|env| env.dir)
    }
}

/// What `devices.py` answers; `info` holds `mx.device_info()` of the GPU.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Seen {
    metal: bool,
    cuda: bool,
    info: Info,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    device_name: String,
    /// Metal: the unified memory of the machine.
    memory_size: Option<u64>,
    /// Metal: what the GPU may keep resident (`iogpu.wired_limit_mb`).
    max_recommended_working_set_size: Option<u64>,
    /// CUDA.
    total_memory: Option<u64>,
    free_memory: Option<u64>,
}

fn devices(seen: &Seen) -> Vec<BackendDevice> {
    let cpu = BackendDevice {
        id: "cpu".to_owned(),
        kind: ProcessorKind::Cpu,
        name: format!("{} CPU", std::env::consts::ARCH),
        memory_total_bytes: None,
        memory_free_bytes: None,
        problem: String::new(),
        alias: false,
    };
    if !seen.metal && !seen.cuda {
        return vec![cpu];
    }
    let info = &seen.info;
    let gpu = BackendDevice {
        id: "gpu".to_owned(),
        kind: if seen.metal { ProcessorKind::IntegratedGpu } else { ProcessorKind::DiscreteGpu },
        name: info.device_name.clone(),
        memory_total_bytes: info.memory_size.or(info.total_memory),
        memory_free_bytes: info.max_recommended_working_set_size.or(info.free_memory),
        problem: String::new(),
        alias: false,
    };
    vec![gpu, cpu]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apple_gpu_has_unified_memory_and_its_wired_limit() {
        let recorded = r#"{"metal": true, "cuda": false, "info": {
            "architecture": "applegpu_g13s", "device_name": "Apple M1 Max",
            "max_buffer_length": 38654705664, "max_recommended_working_set_size": 51539607552,
            "memory_size": 68719476736, "resource_limit": 499000}}"#;
        let found = devices(&serde_json::from_str(recorded).unwrap());
        assert_eq!(found.len(), 2);
        let gpu = &found[0];
        assert_eq!((gpu.id.as_str(), gpu.kind), ("gpu", ProcessorKind::IntegratedGpu));
        assert_eq!(gpu.name, "Apple M1 Max");
        assert_eq!(gpu.memory_total_bytes, Some(64 << 30));
        assert_eq!(gpu.memory_free_bytes, Some(48 << 30));
    }

    #[test]
    fn without_a_gpu_only_the_cpu_is_offered() {
        let found = devices(&serde_json::from_str(r#"{"metal": false}"#).unwrap());
        assert_eq!(found.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["cpu"]);
    }
}

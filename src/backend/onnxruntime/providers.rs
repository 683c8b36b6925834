//! Execution providers: those built into the library, and plugins registered from libraries of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ort::device::Device;
use ort::environment::Environment;
use ort::ep::{
    self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch,
};
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;

use super::library::{NAME, Runtime};
use crate::backend::{BackendDevice, BackendError};
use crate::model::ProcessorKind;
use crate::runtime;

/// `NAME=PATH`, as many as wanted with the platform's path separator between them.
pub(super) const PLUGINS: &str = "EDGE_ADVISOR_ONNXRUNTIME_EPS";
const CPU: &str = "CPUExecutionProvider";

/// A provider that a library may have been built with.
struct BuiltIn {
    device: &'static str,
    ep: &'static str,
    kind: ProcessorKind,
    available: fn() -> ort::Result<bool>,
    make: fn(&BTreeMap<String, String>) -> ExecutionProviderDispatch,
}

fn configured<E>(mut ep: E, options: &BTreeMap<String, String>) -> ExecutionProviderDispatch
where
    E: ArbitrarilyConfigurableExecutionProvider + Into<ExecutionProviderDispatch>,
{
    for (key, value) in options {
        ep = ep.with_arbitrary_config(key, value);
    }
    ep.into().error_on_failure()
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        device: "tensorrt",
        ep: ep::TensorRT::NAME,
        kind: ProcessorKind::DiscreteGpu,
        available: ep::TensorRT::is_available,
        make: |o| configured(ep::TensorRT::default(), o),
    },
    BuiltIn {
        device: "cuda",
        ep: ep::CUDA::NAME,
        kind: ProcessorKind::DiscreteGpu,
        available: ep::CUDA::is_available,
        make: |o| configured(ep::CUDA::default(), o),
    },
    BuiltIn {
        device: "directml",
        ep: ep::DirectML::NAME,
        kind: ProcessorKind::DiscreteGpu,
        available: ep::DirectML::is_available,
        make: |o| {
            let id = o.get("device_id").and_then(|v| v.parse().ok()).unwrap_or(0);
            ep::DirectML::default().with_device_id(id).build().error_on_failure()
        },
    },
    BuiltIn {
        device: "coreml",
        ep: ep::CoreML::NAME,
        kind: ProcessorKind::Npu,
        available: ep::CoreML::is_available,
        make: |o| configured(ep::CoreML::default(), o),
    },
    BuiltIn {
        device: "openvino",
        ep: ep::OpenVINO::NAME,
        kind: ProcessorKind::Cpu,
        available: ep::OpenVINO::is_available,
        make: |o| configured(ep::OpenVINO::default(), o),
    },
    BuiltIn {
        device: "qnn",
        ep: ep::QNN::NAME,
        kind: ProcessorKind::Npu,
        available: ep::QNN::is_available,
        make: |o| configured(ep::QNN::default(), o),
    },
    BuiltIn {
        device: "webgpu",
        ep: ep::WebGPU::NAME,
        kind: ProcessorKind::IntegratedGpu,
        available: ep::WebGPU::is_available,
        make: |o| configured(ep::WebGPU::default(), o),
    },
];

/// A provider in a library of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plugin {
    /// Registration name; a suffix `.virtual` lets some libraries offer devices that are not there.
    pub name: String,
    pub library: PathBuf,
}

/// Plugins that the user names in [`PLUGINS`], then those of installed runtimes called `onnxruntime-*`.
pub(super) fn plugins() -> Vec<Plugin> {
    let named = std::env::var_os(PLUGINS).unwrap_or_default();
    let mut found: Vec<Plugin> = std::env::split_paths(&named)
        .filter_map(|entry| {
            let (name, path) = entry.to_str()?.split_once('=')?;
            Some(Plugin { name: name.to_owned(), library: path.into() })
        })
        .collect();
    let is_plugin = |name: &str| name.starts_with("onnxruntime-") || name == "qnn";
    for lock in runtime::locks().iter().filter(|l| is_plugin(&l.name)) {
        let Some(installed) = runtime::find(&lock.name) else { continue };
        for plugin in plugins_in(&installed.dir, PACKAGE_DEPTH) {
            if !found.iter().any(|p| p.name == plugin.name) {
                found.push(plugin);
            }
        }
    }
    found
}

/// Wheels keep libraries in their package's directory, some in one below.
const PACKAGE_DEPTH: u32 = 3;

/// `libonnxruntime_providers_qnn.so` is the plugin `qnn`.
fn plugins_in(dir: &Path, depth: u32) -> Vec<Plugin> {
    let (prefix, ending) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if depth > 0 && entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(plugins_in(&entry.path(), depth - 1));
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let ep = name
            .strip_prefix(prefix)
            .and_then(|n| n.strip_prefix("onnxruntime_providers_"))
            .and_then(|n| n.strip_suffix(ending))
            .map(|n| n.strip_suffix("_plugin").unwrap_or(n))
            .filter(|n| *n != "shared");
        found.extend(ep.map(|n| Plugin { name: n.to_owned(), library: entry.path() }));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Registers every plugin; returns those that could not be, with the reason.
pub(super) fn register_plugins(environment: &Environment) -> Vec<(String, String)> {
    let register = |p: Plugin| match environment.register_ep_library(&p.name, &p.library) {
        Ok(()) => None,
        Err(e) => Some((p.name, e.message().to_owned())),
    };
    plugins().into_iter().filter_map(register).collect()
}

/// The library's devices: the CPU, what it was built with, what plugins offer, and plugins that failed.
pub(super) fn devices(runtime: &Runtime) -> Vec<BackendDevice> {
    let device = |id: String, kind, name: String, problem: String| BackendDevice {
        id,
        kind,
        name,
        memory_total_bytes: None,
        memory_free_bytes: None,
        problem,
        alias: false,
    };
    let mut found = vec![device("cpu".into(), ProcessorKind::Cpu, CPU.into(), String::new())];
    for p in BUILT_IN.iter().filter(|p| (p.available)().unwrap_or(false)) {
        found.push(device(p.device.into(), p.kind, p.ep.into(), String::new()));
    }
    for (id, plugin) in plugin_devices(&runtime.environment) {
        let hardware = plugin.hardware_device();
        let vendor = hardware.vendor().unwrap_or_default();
        let name = format!("{} on {vendor} {:?}", plugin.ep().unwrap_or("?"), hardware.ty());
        found.push(device(id, kind(hardware.ty()), name, String::new()));
    }
    for (name, why) in &runtime.problems {
        found.push(device(name.clone(), ProcessorKind::Npu, name.clone(), why.clone()));
    }
    found
}

fn kind(ty: DeviceType) -> ProcessorKind {
    match ty {
        DeviceType::GPU => ProcessorKind::DiscreteGpu,
        DeviceType::NPU => ProcessorKind::Npu,
        _ => ProcessorKind::Cpu,
    }
}

/// Devices of plugins as `qnn:npu`; a second of the same kind is `qnn:npu1`.
fn plugin_devices(environment: &Environment) -> Vec<(String, Device<'_>)> {
    let mut found: Vec<(String, Device<'_>)> = Vec::new();
    for device in environment.devices() {
        let Ok(ep) = device.ep() else { continue };
        if ep == CPU || BUILT_IN.iter().any(|p| p.ep == ep && (p.available)().unwrap_or(false)) {
            continue;
        }
        let short = ep.strip_suffix("ExecutionProvider").unwrap_or(ep);
        let base = format!("{short}:{:?}", device.hardware_device().ty()).to_ascii_lowercase();
        let same = found.iter().filter(|(id, _)| id.starts_with(&base)).count();
        let id = if same == 0 { base } else { format!("{base}{same}") };
        found.push((id, device));
    }
    found
}

/// Adds the provider behind `device` to a session; returns its name as placement reports it.
pub(super) fn select(
    runtime: &Runtime,
    builder: SessionBuilder,
    device: &str,
    options: &BTreeMap<String, String>,
) -> Result<(SessionBuilder, String), BackendError> {
    if device.eq_ignore_ascii_case("cpu") {
        return match options.keys().next() {
            None => Ok((builder, CPU.to_owned())),
            Some(key) => Err(BackendError::Unsupported(format!(
                "option `ep.{key}`: the CPU provider has none"
            ))),
        };
    }
    let failed = |ep: &str, e: ort::Error<SessionBuilder>| {
        BackendError::Failed(format!("{NAME} cannot use {ep}: {}", e.message()))
    };
    let fits =
        |p: &&BuiltIn| p.device.eq_ignore_ascii_case(device) && (p.available)().unwrap_or(false);
    if let Some(p) = BUILT_IN.iter().find(fits) {
        let builder = builder.with_execution_providers([(p.make)(options)]);
        return Ok((builder.map_err(|e| failed(p.ep, e))?, p.ep.to_owned()));
    }
    let plugins = plugin_devices(&runtime.environment);
    if let Some((_, plugin)) = plugins.into_iter().find(|(id, _)| id.eq_ignore_ascii_case(device)) {
        let ep = plugin.ep().unwrap_or_default().to_owned();
        let options: Vec<_> =
            options.iter().map(|(k, v)| (format!("{ep}.{k}"), v.clone())).collect();
        let builder = builder.with_devices([plugin], Some(&options)).map_err(|e| failed(&ep, e))?;
        return Ok((builder, ep));
    }
    if let Some((name, why)) = runtime.problems.iter().find(|(n, _)| n.eq_ignore_ascii_case(device))
    {
        return Err(BackendError::Failed(format!(
            "plugin `{name}` could not be registered: {why}"
        )));
    }
    let ids: Vec<_> = devices(runtime).into_iter().map(|d| d.id).collect();
    Err(BackendError::Unsupported(format!(
        "ONNX Runtime has no device `{device}`; it lists {}",
        ids.join(", ")
    )))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_named_by_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime_providers_qnn.so",
            "libonnxruntime_providers_shared.so",
            "libQnnHtp.so",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names: Vec<_> = plugins_in(dir.path(), 1).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["qnn"]);
    }
}

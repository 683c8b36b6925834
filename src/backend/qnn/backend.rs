//! QNN as one of the frameworks.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::NAME;
use super::options::Options;
use super::session::{QnnSession, Setup};
use super::target::{Library, find_file, target};
use crate::backend::{
    self, Availability, Backend, BackendDevice, BackendError, BackendInfo, Claim, GraphSession,
    OpenRequest, PrepareRequest, Session,
};
use crate::convert::source_sha256;
use crate::formats::onnx::{self, OnnxSummary};
use crate::model::{Device, ModelKind, Precision, ProcessorKind, TypeCount, Variant};
use crate::{probe, runtime};

const INSTALL: &str = "edge-advisor runtime install qnn --accept-licence";
/// The backend whose plugin this is, and the plugin's name there.
const HOST: &str = "onnxruntime";
const PLUGIN: &str = "onnxruntime_providers_qnn";

/// QNN through ONNX Runtime.
pub struct Qnn;

static INFO: BackendInfo = BackendInfo {
    id: NAME,
    framework: "Qualcomm QNN",
    homepage: "https://github.com/onnxruntime/onnxruntime-qnn",
    use_case: "Snapdragon NPU, mobile",
    precisions: &[Precision::F16, Precision::A16W8, Precision::A8W8, Precision::A16W4],
    kinds: &[ModelKind::Embedding, ModelKind::Vision, ModelKind::Speech],
    claim: Some(Claim {
        about: "INT8, INT4, A8W8, A16W8, A16W4",
        memory_percent: (50.0, 80.0),
        speedup: (5.0, 15.0),
    }),
    install: INSTALL,
    listed: true,
};

impl Backend for Qnn {
    fn info(&self) -> &'static BackendInfo {
        &INFO
    }

    fn availability(&self) -> Availability {
        let Some(installed) = runtime::find(NAME) else {
            return match runtime::plan(NAME, None) {
                Ok(_) => Availability::NotInstalled { hint: INSTALL.to_owned() },
                Err(e) => Availability::Unsupported { reason: format!("{e}; {}", e.hint()) },
            };
        };
        if let Err(e) = plugin(&installed.dir) {
            return Availability::Unsupported { reason: e.to_string() };
        }
        match backend::find(HOST).map(Backend::availability) {
            Some(Availability::Ready { .. }) => Availability::Ready { version: installed.version },
            Some(Availability::NotInstalled { hint }) => Availability::NotInstalled { hint },
            Some(other) => other,
            None => Availability::Unsupported { reason: "this build has no ONNX Runtime".into() },
        }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        let dir = installed()?;
        let here = here();
        let one = |library: Library| {
            let problem = library.find(&dir).and_then(|_| target(library, &here)).err();
            let simulated =
                problem.is_none() && library == Library::Htp && here.cpu.arch == "x86_64";
            BackendDevice {
                id: library.name().to_owned(),
                kind: match library {
                    Library::Htp if !simulated => ProcessorKind::Npu,
                    Library::Gpu => ProcessorKind::IntegratedGpu,
                    _ => ProcessorKind::Cpu,
                },
                name: match library {
                    Library::Htp if simulated => "HTP simulator on this CPU",
                    Library::Htp => "Hexagon NPU",
                    Library::Gpu => "Adreno GPU",
                    Library::Cpu => "QNN's CPU library",
                }
                .to_owned(),
                memory_total_bytes: None,
                memory_free_bytes: None,
                problem: problem.map(|e| e.to_string()).unwrap_or_default(),
                alias: false,
            }
        };
        Ok([Library::Htp, Library::Gpu, Library::Cpu].map(one).into())
    }

    /// Takes ONNX files as they are: float ones for FP16, QDQ ones for the precision their types say.
    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        let path = match request.source.is_dir() {
            true => request.source.join("model.onnx"),
            false => request.source.to_owned(),
        };
        let unreadable = |e: crate::formats::FormatError| {
            BackendError::Unsupported(format!("QNN takes ONNX files: {e} (hint: {})", e.hint()))
        };
        let summary = onnx::read(&path).map_err(unreadable)?;
        check_precision(&summary, request.precision)?;
        let mut files = vec![path.clone()];
        files.extend(summary.external.iter().map(|f| path.with_file_name(&f.name)));
        let sha256 = source_sha256(&files, request.cache)
            .map_err(|e| BackendError::failed("cannot hash the source", e))?;
        Ok(describe(&request, path, &summary, sha256))
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        let library = match request.device.as_str() {
            "htp" | "npu" => Library::Htp,
            "gpu" => Library::Gpu,
            "cpu" => Library::Cpu,
            other => {
                let text = format!("QNN has `htp`, `gpu` and `cpu`, not `{other}`");
                return Err(BackendError::Unsupported(text));
            }
        };
        let options = Options::parse(&request.options)?;
        let dir = installed()?;
        let target = target(library, &here())?;
        let file = library.find(&dir)?;
        let htp_arch = match target {
            super::target::Target::Npu { htp_arch } => htp_arch,
            _ => None,
        };
        let profile = options.profile.then(|| scratch("profile", request, &options, "csv"));
        if let Some(old) = &profile {
            // The provider appends.
            let _ = std::fs::remove_file(old);
        }
        let context = (options.context && library == Library::Htp)
            .then(|| scratch("context", request, &options, "onnx"));
        let on_cpu = OpenRequest {
            device: "cpu".to_owned(),
            options: dims_only(&options),
            ..request.clone()
        };
        let reference = graph(&on_cpu)?;
        // A context binary made by an earlier run is opened in place of the model.
        let ready = context.as_ref().filter(|c| c.is_file());
        let mut on_qnn = request.clone();
        on_qnn.device = pick(&host()?.devices()?, library)?;
        if let Some(context) = ready {
            on_qnn.variant.path = context.clone();
        }
        let to_make = context.as_deref().filter(|_| ready.is_none());
        on_qnn.options =
            options.for_onnxruntime(library, &file, htp_arch, to_make, profile.as_deref());
        let inner = graph(&on_qnn)?;
        let setup = Setup { target, options, profile };
        Ok(Session::Graph(Box::new(QnnSession::new(inner, reference, setup))))
    }

    fn library(&self) -> Option<PathBuf> {
        runtime::find(NAME).map(|i| i.dir)
    }
}

fn installed() -> Result<PathBuf, BackendError> {
    runtime::find(NAME)
        .map(|i| i.dir)
        .ok_or_else(|| BackendError::NotInstalled { hint: INSTALL.to_owned() })
}

fn here() -> Device {
    probe::run(&probe::LiveHost::new(), probe::ProbeOptions::default()).device()
}

/// The provider's own library.
fn plugin(dir: &Path) -> Result<PathBuf, BackendError> {
    let name = format!("{}{PLUGIN}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    find_file(dir, &name, 5)
        .ok_or_else(|| BackendError::Unsupported(format!("`{}` holds no {name}", dir.display())))
}

fn host() -> Result<&'static dyn Backend, BackendError> {
    backend::find(HOST)
        .ok_or_else(|| BackendError::Unsupported("this build has no ONNX Runtime".to_owned()))
}

/// The device by which ONNX Runtime calls the provider: `qnn:npu`, `qnn:cpu` on a host that simulates. Which library
/// runs is not decided by it.
fn pick(listed: &[BackendDevice], library: Library) -> Result<String, BackendError> {
    let ours = || listed.iter().filter(|d| d.id.split(':').next() == Some(NAME));
    if let Some(bad) = ours().find(|d| !d.problem.is_empty()) {
        let why = format!("QNN's provider cannot be registered: {}", bad.problem);
        return Err(BackendError::Failed(why));
    }
    let fits = |d: &&BackendDevice| match library {
        Library::Htp => d.kind == ProcessorKind::Npu,
        Library::Gpu => matches!(d.kind, ProcessorKind::IntegratedGpu | ProcessorKind::DiscreteGpu),
        Library::Cpu => d.kind == ProcessorKind::Cpu,
    };
    let found = ours().find(fits).or_else(|| ours().next()).map(|d| d.id.clone());
    found.ok_or_else(|| BackendError::Failed("QNN's provider offers no device here".to_owned()))
}

/// Opens a graph through the host backend.
fn graph(request: &OpenRequest) -> Result<Box<dyn GraphSession>, BackendError> {
    match host()?.open(request)? {
        Session::Graph(session) => Ok(session),
        _ => Err(BackendError::Unsupported("QNN runs graphs here, not text generation".into())),
    }
}

fn dims_only(options: &Options) -> std::collections::BTreeMap<String, String> {
    let dims = options.rest.iter().filter(|(k, _)| k.starts_with("dim."));
    dims.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// A file in the cache that belongs to one variant compiled one way.
fn scratch(what: &str, request: &OpenRequest, options: &Options, ending: &str) -> PathBuf {
    let key = format!(
        "{}|{}|{:?}|{:?}|{}|{:?}",
        request.variant.source_sha256,
        request.variant.precision,
        request.device,
        options.soc,
        options.fp16,
        options.rest
    );
    let hash: String =
        Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let dir = crate::dirs::cache().join("qnn");
    // Where this fails the provider says that it cannot write.
    let _ = std::fs::create_dir_all(&dir);
    dir.join(format!("{what}-{hash}.{ending}"))
}

/// A QDQ graph runs in the types its QuantizeLinear nodes say; a float one in 16 bits.
fn check_precision(summary: &OnnxSummary, precision: Precision) -> Result<(), BackendError> {
    let refuse = |why: &str| Err(BackendError::Unsupported(format!("{precision}: {why}")));
    let has = |op: &str| summary.operators.keys().any(|k| k.ends_with(op));
    if has("MatMulNBits") {
        return refuse("QNN has no MatMulNBits: quantize with QuantizeLinear and DequantizeLinear");
    }
    let holds = |types: &[&str]| summary.tensors.iter().any(|t| types.contains(&t.dtype.as_str()));
    let qdq = has("QuantizeLinear") && has("DequantizeLinear");
    match (precision, qdq) {
        (Precision::F16, false) => Ok(()),
        (Precision::F16, true) => refuse("the file is quantized already"),
        (_, false) => refuse("the file is not quantized: give a QDQ file"),
        (Precision::A16W8 | Precision::A16W4, true) if !holds(&["UINT16", "INT16"]) => {
            refuse("the file quantizes no activations to 16 bits")
        }
        (Precision::A8W8, true) if holds(&["UINT16", "INT16"]) => {
            refuse("the file quantizes activations to 16 bits")
        }
        (Precision::A16W4, true) if !holds(&["INT4", "UINT4"]) => {
            refuse("the file holds no 4-bit weights")
        }
        (Precision::A8W8 | Precision::A16W8, true) if holds(&["INT4", "UINT4"]) => {
            refuse("the file holds 4-bit weights")
        }
        _ => Ok(()),
    }
}

fn describe(
    request: &PrepareRequest<'_>,
    path: PathBuf,
    summary: &OnnxSummary,
    source_sha256: String,
) -> Variant {
    let mut types: Vec<TypeCount> = Vec::new();
    for tensor in &summary.tensors {
        match types.iter_mut().find(|t| t.dtype == tensor.dtype) {
            Some(t) => {
                t.tensors += 1;
                t.bytes = t.bytes.saturating_add(tensor.bytes);
            }
            None => types.push(TypeCount {
                dtype: tensor.dtype.clone(),
                tensors: 1,
                bytes: tensor.bytes,
            }),
        }
    }
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    let bytes: u64 = types.iter().map(|t| t.bytes).fold(0, u64::saturating_add);
    let graph = std::fs::metadata(&path).map_or(0, |m| m.len());
    Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        size_bytes: summary.external.iter().map(|f| f.bytes).fold(graph, u64::saturating_add),
        path,
        bits_per_weight: bytes as f64 * 8.0 / summary.parameters.max(1) as f64,
        source_type: types.first().map(|t| t.dtype.clone()).unwrap_or_default(),
        types,
        made_by: "source".to_owned(),
        source_sha256,
        fallbacks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str, kind: ProcessorKind, problem: &str) -> BackendDevice {
        BackendDevice {
            id: id.to_owned(),
            kind,
            name: String::new(),
            memory_total_bytes: None,
            memory_free_bytes: None,
            problem: problem.to_owned(),
            alias: false,
        }
    }

    #[test]
    fn the_provider_s_device_is_found_among_those_of_onnx_runtime() {
        use ProcessorKind::{Cpu, Npu};
        let phone =
            [device("cpu", Cpu, ""), device("qnn:cpu", Cpu, ""), device("qnn:npu", Npu, "")];
        assert_eq!(pick(&phone, Library::Htp).unwrap(), "qnn:npu");
        assert_eq!(pick(&phone, Library::Cpu).unwrap(), "qnn:cpu");
        assert_eq!(pick(&phone[..2], Library::Htp).unwrap(), "qnn:cpu", "an x86 host");
        let none = pick(&phone[..1], Library::Htp).unwrap_err().to_string();
        assert!(none.contains("no device"), "{none}");
        let broken = [device("qnn", Npu, "wrong ELF class")];
        let why = pick(&broken, Library::Htp).unwrap_err().to_string();
        assert!(why.contains("cannot be registered: wrong ELF class"), "{why}");
    }
}

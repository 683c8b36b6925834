//! Opens a model: the file is looked at with our own bounded reader first, then the library gets it.

use std::path::{Path, PathBuf};

use ort::ErrorCode;
use ort::session::Session as OrtSession;

use super::graph::Graph;
use super::library::{self, Runtime};
use super::options::Options;
use super::text::{Decoder, is_decoder};
use super::{placement, providers};
use crate::backend::{BackendError, OpenRequest, Session};
use crate::formats::onnx::{self, OnnxSummary};
use crate::model::{Finding, FindingKind, Workload};
use crate::record::SessionFacts;

pub(super) fn open(request: &OpenRequest) -> Result<Session, BackendError> {
    let options = Options::parse(&request.options)?;
    let path = model_file(&request.variant.path)?;
    let summary = checked(&path)?;
    let generates = matches!(request.workload, Workload::Generate { .. });
    if generates && !is_decoder(&summary) {
        let text = "the graph has no key-value cache inputs: it does not generate text";
        return Err(BackendError::Unsupported(text.to_owned()));
    }
    if generates && !request.device.eq_ignore_ascii_case("cpu") {
        let text = "text is generated on `cpu`: the cache is kept in its memory";
        return Err(BackendError::Unsupported(text.to_owned()));
    }
    let opened = Opened::open(library::load()?, &path, &summary, request, &options)?;
    match request.workload {
        Workload::Infer { .. } => Ok(Session::Graph(Box::new(Graph::new(opened)?))),
        Workload::Generate { .. } => {
            let decoder = Decoder::new(opened, &summary, &path, request.context, options.batch)?;
            Ok(Session::Text(Box::new(decoder)))
        }
    }
}

/// A directory stands for its `model.onnx`.
fn model_file(path: &Path) -> Result<PathBuf, BackendError> {
    let file = if path.is_dir() { path.join("model.onnx") } else { path.to_owned() };
    match file.is_file() {
        true => Ok(file),
        false => Err(BackendError::Failed(format!("there is no `{}`", file.display()))),
    }
}

/// The structure of a file that the library can be trusted with.
pub(super) fn checked(path: &Path) -> Result<OnnxSummary, BackendError> {
    onnx::read(path).map_err(|e| BackendError::failed("cannot open the model", e))
}

/// A session with what is known of it.
pub(super) struct Opened {
    pub session: OrtSession,
    pub facts: SessionFacts,
}

impl Opened {
    fn open(
        runtime: &'static Runtime,
        path: &Path,
        summary: &OnnxSummary,
        request: &OpenRequest,
        options: &Options,
    ) -> Result<Self, BackendError> {
        let spins = options.spins(request.threads);
        let failed = |e: ort::Error| error(&format!("cannot open `{}`", path.display()), &e);
        let builder = OrtSession::builder(&runtime.environment)
            .and_then(|b| Ok(b.with_intra_threads(request.threads as usize)?))
            .and_then(|b| Ok(b.with_inter_threads(1)?))
            .and_then(|b| Ok(b.with_intra_op_spinning(spins)?))
            .and_then(|b| Ok(b.with_optimization_level(options.optimization)?))
            .and_then(placement::record)
            .map_err(failed)?;
        let (mut builder, provider) =
            providers::select(runtime, builder, &request.device, &options.provider)?;
        if !options.cpu_fallback {
            builder = builder.with_disable_cpu_fallback().map_err(|e| failed(e.into()))?;
        }
        for (name, size) in &options.dims {
            builder = builder.with_dimension_override(name, *size).map_err(|e| failed(e.into()))?;
        }
        for (key, value) in &options.config {
            builder = builder.with_config_entry(key, value).map_err(|e| failed(e.into()))?;
        }
        let session = builder.commit_from_file(path).map_err(failed)?;
        let mut facts = SessionFacts {
            version: runtime.version.clone(),
            kernel: provider.clone(),
            path: "library".to_owned(),
            weight_bytes: Some(stored_bytes(path, summary)),
            ..SessionFacts::default()
        };
        let mut set = |k: &str, v: &str| facts.settings.insert(k.to_owned(), v.to_owned());
        set("threads", &request.threads.to_string());
        set("spin", if spins { "on" } else { "off" });
        set("opt", options.optimization_name);
        options.config.iter().for_each(|(k, v)| drop(set(k, v)));
        place(&mut facts, &session, &provider, &request.device);
        Ok(Self { session, facts })
    }
}

/// All files together: constants may share bytes, so tensors are not added up.
fn stored_bytes(path: &Path, summary: &OnnxSummary) -> u64 {
    let graph = std::fs::metadata(path).map_or(0, |m| m.len());
    summary.external.iter().map(|f| f.bytes).fold(graph, u64::saturating_add)
}

/// Nodes by device; nodes on the CPU where another was asked for are a finding.
fn place(facts: &mut SessionFacts, session: &OrtSession, provider: &str, device: &str) {
    let Some(nodes) = placement::nodes_by_provider(session) else { return };
    let total: u64 = nodes.values().sum();
    let elsewhere: u64 = nodes.iter().filter(|(ep, _)| *ep != provider).map(|(_, n)| n).sum();
    for (ep, n) in nodes {
        let name = match ep.as_str() {
            "CPUExecutionProvider" => "cpu".to_owned(),
            ep if ep == provider => device.to_owned(),
            other => other.to_owned(),
        };
        *facts.placement.entry(name).or_insert(0) += n;
    }
    if elsewhere > 0 {
        let detail = format!("{elsewhere} of {total} nodes run on the CPU, not on {provider}");
        let finding = match elsewhere == total {
            true => Finding::invalid(FindingKind::CpuFallback, detail),
            false => Finding::note(FindingKind::CpuFallback, detail),
        };
        facts.findings.push(
            finding.with_hint("option fallback=off makes this an error that names the operators"),
        );
    }
}

/// An error of the library as the kind of row it deserves.
pub(super) fn error(what: &str, e: &ort::Error) -> BackendError {
    // Its messages span lines and carry source locations of its build; the first line says it.
    let message = e.message().lines().find(|l| !l.trim().is_empty()).unwrap_or("no reason given");
    // The path is named by `what` already.
    let reason = message.strip_prefix("Load model from ").and_then(|m| m.split_once(" failed:"));
    let text = format!("{what}: {}", reason.map_or(message, |(_, why)| why).trim());
    let lower = message.to_lowercase();
    if ["bad_alloc", "out of memory", "failed to allocate"].iter().any(|s| lower.contains(s)) {
        return BackendError::OutOfMemory(text);
    }
    let unknown = [
        "no op registered for",
        "not a registered function/op",
        "could not find an implementation",
        "unsupported model ir version",
    ];
    match e.code() {
        ErrorCode::NotImplemented => BackendError::Unsupported(text),
        _ if unknown.iter().any(|s| lower.contains(s)) => BackendError::Unsupported(text),
        _ => BackendError::Failed(text),
    }
}

//! What graph cases are fed: made once for a source and workload, before any variant is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::PlannedCase;
use super::reference::{self, Of, Wanted};
use crate::backend::{BackendInfo, OpenRequest};
use crate::catalog::Catalog;
use crate::convert;
use crate::formats::OpenVinoIr;
use crate::formats::onnx::{self, OnnxSummary};
use crate::formats::tokenizer::Tokenizer;
use crate::inputs::{self, Inputs, Part};
use crate::model::{CaseOutcome, Device, Finding, Precision, Variant, Workload};
use crate::worker::{GraphTask, Request, Supervisor};

/// Raised when the rules that make inputs change, so that sets are made anew.
const VERSION: &str = "1";
/// The precision that outputs are compared with.
const REFERENCE: Precision = Precision::F32;

/// Everything a case on a graph needs beside its variant.
#[derive(Debug, Clone)]
pub(crate) struct GraphInputs {
    pub task: GraphTask,
    /// The ONNX file: the source, or made of it.
    pub source: PathBuf,
    /// For quantizers that calibrate.
    pub calibration: PathBuf,
    /// What a reader of the results must know.
    pub notes: Vec<String>,
}

/// By source and workload key; an error is the reason why a case cannot run.
pub(crate) type Graphs = BTreeMap<(PathBuf, String), Result<GraphInputs, String>>;

/// Makes the input sets that the graph cases among `cases` need.
pub(crate) fn make_all(
    cases: &[PlannedCase],
    cache: &Path,
    on_step: &mut dyn FnMut(&str),
) -> Graphs {
    let mut graphs = Graphs::new();
    for planned in cases.iter().filter(|c| c.skip.is_none()) {
        let Workload::Infer { batch, length } = planned.case.workload else { continue };
        let key = key(planned);
        if graphs.contains_key(&key) {
            continue;
        }
        on_step(&planned.case.model);
        graphs.insert(key, make(planned, batch, length, cache));
    }
    graphs
}

pub(crate) fn key(planned: &PlannedCase) -> (PathBuf, String) {
    (planned.source.clone(), planned.case.workload.key())
}

fn make(
    planned: &PlannedCase,
    batch: u32,
    length: u32,
    cache: &Path,
) -> Result<GraphInputs, String> {
    let ir = OpenVinoIr::at(&planned.source);
    let source = match &ir {
        Some(xml) => xml.clone(),
        None => convert::graph_source(&planned.source, cache).map_err(|e| e.to_string())?,
    };
    let read = match &ir {
        Some(xml) => OpenVinoIr::open(xml).map(|ir| ir.as_onnx()),
        None => onnx::read(&source),
    };
    let graph = read.map_err(|e| e.to_string())?;
    let catalog = Catalog::load().map_err(|e| e.to_string())?;
    let entry = catalog.get(&planned.case.model).ok();
    let kind = entry.map_or_else(|| graph.spec("").kind, |e| e.kind);
    let shape = entry.and_then(|e| e.graph.as_ref()).map(|g| g.input.as_slice());
    let tokenizer = tokenizer(&source, &graph)?;
    let sha256 =
        convert::source_sha256(std::slice::from_ref(&source), cache).map_err(|e| e.to_string())?;
    let mut notes = Vec::new();
    let mut set = |part: Part, batch: u32| -> Result<PathBuf, String> {
        let what =
            Inputs { graph: &graph, kind, tokenizer: tokenizer.as_ref(), shape, batch, length };
        let name = format!("{VERSION} {sha256} {part:?} {batch} {length} {shape:?} {kind:?}");
        let path = cache.join("inputs").join(format!("{}.safetensors", digest(&name)));
        let made = inputs::make(&what, part).map_err(|e| e.to_string())?;
        notes.extend(made.notes);
        if !path.is_file() {
            inputs::write(&path, &made.samples).map_err(|e| e.to_string())?;
        }
        Ok(path)
    };
    let evaluation = set(Part::Evaluation, batch)?;
    let calibration = set(Part::Calibration, batch)?;
    notes.sort();
    notes.dedup();
    let documents = if tokenizer.is_some() { inputs::DOCUMENTS } else { 0 };
    let task = GraphTask { kind, inputs: evaluation, reference: None, documents };
    // OpenVINO's own form is opened as it was given.
    let source = if ir.is_some() { planned.source.clone() } else { source };
    Ok(GraphInputs { task, source, calibration, notes })
}

fn tokenizer(source: &Path, graph: &OnnxSummary) -> Result<Option<Tokenizer>, String> {
    let path = source.with_file_name("tokenizer.json");
    if !graph.inputs.iter().any(|i| i.name.ends_with("input_ids")) || !path.is_file() {
        return Ok(None);
    }
    Tokenizer::from_file(&path).map(Some).map_err(|e| e.to_string())
}

/// Adds the FP32 outputs to every task. A source without them keeps its reason as a note. `None` where the user stopped.
pub(crate) fn references(
    cases: &[PlannedCase],
    graphs: &mut Graphs,
    variants: &Path,
    supervisor: &Supervisor,
    on_step: &mut dyn FnMut(&str),
) -> Option<()> {
    for planned in cases.iter().filter(|c| c.skip.is_none()) {
        let Some(Ok(graph)) = graphs.get_mut(&key(planned)) else { continue };
        if graph.task.reference.is_some()
            || !graph.notes.iter().all(|n| !n.starts_with(NO_REFERENCE))
        {
            continue;
        }
        on_step(&planned.case.model);
        match outputs(planned, graph, variants, supervisor)? {
            Ok(path) => graph.task.reference = Some(path),
            Err(why) => graph.notes.push(format!("{NO_REFERENCE}: {why}")),
        }
    }
    Some(())
}

const NO_REFERENCE: &str = "agreement with FP32 not measured";

/// A file of reference outputs, made by the first backend that can.
fn outputs(
    planned: &PlannedCase,
    graph: &GraphInputs,
    variants: &Path,
    supervisor: &Supervisor,
) -> Option<Result<PathBuf, String>> {
    let of = Of {
        model: &planned.case.model,
        source: &graph.source,
        precision: REFERENCE,
        inputs: Some(&graph.calibration),
        variants,
    };
    let fits = |info: &BackendInfo| info.kinds.contains(&graph.task.kind);
    let made = reference::from_any(&of, supervisor, fits, |id, variant| {
        let name = format!("{id} {} {}", variant.source_sha256, graph.task.inputs.display());
        let path = variants.join("outputs").join(format!("{}.safetensors", digest(&name)));
        if path.is_file() {
            return Wanted::Here(path);
        }
        let open = OpenRequest {
            variant,
            device: "cpu".to_owned(),
            threads: planned.case.threads,
            workload: planned.case.workload.clone(),
            context: 0,
            options: BTreeMap::new(),
        };
        let task = GraphTask { reference: Some(path.clone()), ..graph.task.clone() };
        let backend = id.to_owned();
        Wanted::Ask(Request::GraphReference { backend, open: Box::new(open), graph: task }, path)
    })?;
    Some(made.map_err(|reasons| match reasons.is_empty() {
        true => "no backend that is ready runs it in FP32".to_owned(),
        false => reasons.join("; "),
    }))
}

/// What decides the speed of a quantized graph, read from its file.
pub(crate) fn why(variant: &Variant, device: &Device) -> Option<Finding> {
    convert::explain(variant.precision, &onnx::read(&variant.path).ok()?, &device.cpu)
}

/// How a case ends whose inputs could not be made.
pub(crate) fn outcome(why: &str) -> CaseOutcome {
    CaseOutcome::Unsupported { reason: format!("no inputs: {why}") }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|b| format!("{b:02x}")).collect()
}

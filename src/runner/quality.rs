//! Which text, which token ids and which reference each model of a plan is judged by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::PlannedCase;
use super::reference::{self, Of, Wanted};
use crate::backend::OpenRequest;
use crate::formats::gguf::Gguf;
use crate::formats::tokenizer::Tokenizer;
use crate::model::{Precision, Workload};
use crate::quality::{Chunks, TOP_K};
use crate::worker::{QualityTask, Request, Supervisor};

/// The precision a reference is made in: the widest that engines read without converting.
const REFERENCE: Precision = Precision::F16;

/// What to measure quality on.
#[derive(Debug, Clone)]
pub struct QualityPlan {
    pub corpus: String,
    pub chunks: Chunks,
    /// Where references are kept.
    pub cache: PathBuf,
}

/// Per source file: the task, or why quality cannot be measured.
pub(crate) type Tasks = BTreeMap<PathBuf, Result<QualityTask, String>>;

/// Tokenizes the corpus and makes the references that are not there yet. `None` where the user stopped.
pub(crate) fn prepare_all(
    plan: &QualityPlan,
    cases: &[PlannedCase],
    variants: &Path,
    supervisor: &Supervisor,
    on_step: &mut dyn FnMut(&str),
) -> Option<Tasks> {
    let mut tasks = Tasks::new();
    for planned in cases.iter().filter(|c| c.skip.is_none()) {
        let generates = matches!(planned.case.workload, Workload::Generate { .. });
        if !generates || tasks.contains_key(&planned.source) {
            continue;
        }
        on_step(&planned.case.model);
        let task = match tokenize(plan, &planned.source) {
            Ok(chunks) => task(plan, planned, chunks, variants, supervisor)?,
            Err(why) => Err(why),
        };
        tasks.insert(planned.source.clone(), task);
    }
    Some(tasks)
}

fn tokenize(plan: &QualityPlan, source: &Path) -> Result<Vec<Vec<u32>>, String> {
    if source.extension().is_none_or(|e| e != "gguf") {
        return Err("the source is no GGUF, so its tokenizer is not known here".to_owned());
    }
    let gguf = Gguf::open(source).map_err(|e| e.to_string())?;
    let tokenizer = Tokenizer::from_gguf(&gguf).map_err(|e| e.to_string())?;
    let tokens = tokenizer.encode(&plan.corpus)?;
    plan.chunks.cut(&tokens, tokenizer.bos()).map_err(|e| e.to_string())
}

/// A 16-bit reference from the first backend that makes one. `None` where the user stopped.
fn task(
    plan: &QualityPlan,
    planned: &PlannedCase,
    chunks: Vec<Vec<u32>>,
    variants: &Path,
    supervisor: &Supervisor,
) -> Option<Result<QualityTask, String>> {
    let of = Of {
        model: &planned.case.model,
        source: &planned.source,
        precision: REFERENCE,
        inputs: None,
        variants,
    };
    let made = reference::from_any(
        &of,
        supervisor,
        |_| true,
        |id, variant| {
            let name = reference_name(&variant.source_sha256, id, &chunks);
            let task = QualityTask { chunks: chunks.clone(), reference: plan.cache.join(name) };
            if task.reference.is_file() {
                return Wanted::Here(task);
            }
            let open = OpenRequest {
                variant,
                device: "cpu".to_owned(),
                threads: planned.case.threads,
                workload: Workload::Generate { prompt: 1, decode: 1, depth: 0 },
                context: chunks.first().map_or(0, Vec::len) as u32,
                options: BTreeMap::new(),
            };
            let (backend, quality) = (id.to_owned(), task.clone());
            Wanted::Ask(Request::Reference { backend, open: Box::new(open), quality }, task)
        },
    )?;
    Some(made.map_err(|reasons| {
        format!("no backend made a {REFERENCE} reference ({})", reasons.join("; "))
    }))
}

/// Changes with everything the reference depends on.
fn reference_name(source_sha256: &str, backend: &str, chunks: &[Vec<u32>]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{source_sha256} {backend} {REFERENCE} {TOP_K} "));
    hash.update(env!("CARGO_PKG_VERSION"));
    for chunk in chunks {
        hash.update((chunk.len() as u64).to_le_bytes());
        chunk.iter().for_each(|t| hash.update(t.to_le_bytes()));
    }
    let digest: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{digest}.ref")
}

//! One entry point for all formats: sniffs what a path is and tells what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::gguf::{Gguf, to_spec};
use super::{FormatError, onnx, safetensors};
use crate::model::{ModelSpec, TypeCount};

/// What a model file or directory holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// `GGUF v3`, `ONNX`, `safetensors`.
    pub format: String,
    pub files: Vec<InspectedFile>,
    /// Tensor types with exact bytes, largest first.
    pub types: Vec<TypeCount>,
    pub tokenizer: Option<Tokenizer>,
    /// `general.file_type` and the like: what the file calls itself, which need not be what it holds.
    pub label: Option<String>,
    pub onnx: Option<onnx::OnnxSummary>,
    pub spec: ModelSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InspectedFile {
    pub path: PathBuf,
    pub bytes: u64,
}

/// The tokenizer inside a GGUF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tokenizer {
    /// `gpt2` (byte-pair), `llama` (SentencePiece), `bert` (WordPiece) and so on.
    pub model: String,
    pub pre: Option<String>,
    pub vocabulary: u64,
    pub merges: Option<u64>,
    /// The template as it stands; untrusted text.
    pub chat_template: Option<String>,
}

/// Reads the head of a GGUF, ONNX or safetensors file, or of a Hugging Face directory.
pub fn inspect(path: &Path) -> Result<Inspection, FormatError> {
    if path.is_dir() {
        return from_safetensors(path);
    }
    let mut magic = Vec::new();
    let file = File::open(path).map_err(|e| FormatError::read(path, e))?;
    file.take(9).read_to_end(&mut magic).map_err(|e| FormatError::read(path, e))?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match (magic.as_slice(), extension) {
        ([b'G', b'G', b'U', b'F', ..], _) | (_, "gguf") => from_gguf(path),
        (_, "onnx") => from_onnx(path),
        ([_, _, _, _, _, _, _, _, b'{'], _) | (_, "safetensors") => from_safetensors(path),
        // A protobuf that starts with `ir_version`.
        ([0x08, ..], _) => from_onnx(path),
        _ => Err(FormatError::NotThisFormat {
            path: path.to_owned(),
            wanted: "a model file that this build reads",
            why: "it is neither GGUF nor ONNX nor safetensors".into(),
        }),
    }
}

fn from_gguf(path: &Path) -> Result<Inspection, FormatError> {
    let gguf = Gguf::open(path)?;
    let mut spec = to_spec(&gguf)?;
    if spec.name.is_empty() {
        spec.name = stem(path);
    }
    let tokenizer = gguf.str("tokenizer.ggml.model").map(|model| Tokenizer {
        model: model.to_owned(),
        pre: gguf.str("tokenizer.ggml.pre").map(str::to_owned),
        vocabulary: gguf.array_len("tokenizer.ggml.tokens").unwrap_or(0),
        merges: gguf.array_len("tokenizer.ggml.merges"),
        chat_template: gguf.str("tokenizer.chat_template").map(str::to_owned),
    });
    let files = gguf.parts.iter();
    Ok(Inspection {
        format: format!("GGUF v{}", gguf.version),
        files: files.map(|p| InspectedFile { path: p.path.clone(), bytes: p.file_bytes }).collect(),
        types: histogram(&spec),
        tokenizer,
        label: gguf.u64("general.file_type").map(|t| format!("file_type {t}")),
        onnx: None,
        spec,
    })
}

fn from_onnx(path: &Path) -> Result<Inspection, FormatError> {
    let mut summary = onnx::read(path)?;
    let bytes = std::fs::metadata(path).map_err(|e| FormatError::read(path, e))?.len();
    let spec = summary.spec(&stem(path));
    // The spec has them; twice would only lengthen the JSON.
    summary.tensors = Vec::new();
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![InspectedFile { path: path.to_owned(), bytes }];
    files.extend(
        summary.external.iter().map(|f| InspectedFile { path: dir.join(&f.name), bytes: f.bytes }),
    );
    Ok(Inspection {
        format: "ONNX".into(),
        files,
        types: histogram(&spec),
        tokenizer: None,
        label: None,
        onnx: Some(summary),
        spec,
    })
}

fn from_safetensors(path: &Path) -> Result<Inspection, FormatError> {
    let read = safetensors::read(path)?;
    let mut spec = safetensors::to_spec(path, &read)?;
    spec.name = stem(path);
    Ok(Inspection {
        format: "safetensors".into(),
        types: histogram(&spec),
        files: read.files.into_iter().map(|(path, bytes)| InspectedFile { path, bytes }).collect(),
        tokenizer: None,
        label: None,
        onnx: None,
        spec,
    })
}

/// Storage type of most bytes; empty where there is none.
pub fn main_type(types: impl Iterator<Item = (String, u64)>) -> String {
    let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
    types.for_each(|(dtype, n)| *bytes.entry(dtype).or_default() += n);
    bytes.into_iter().max_by_key(|(_, n)| *n).map(|(dtype, _)| dtype).unwrap_or_default()
}

/// Tensors and bytes by stored type, most bytes first.
pub fn histogram(spec: &ModelSpec) -> Vec<TypeCount> {
    let mut types: Vec<TypeCount> = Vec::new();
    for t in &spec.tensors {
        match types.iter_mut().find(|c| c.dtype == t.dtype) {
            Some(c) => {
                c.tensors += 1;
                c.bytes = c.bytes.saturating_add(t.bytes);
            }
            None => types.push(TypeCount { dtype: t.dtype.clone(), tensors: 1, bytes: t.bytes }),
        }
    }
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    types
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

//! Makes GGUF variants through `llama_model_quantize`, so that they are what llama.cpp's own users have.

use std::ffi::{CString, c_int};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use super::check::checked;
use super::ffi;
use super::imatrix::{self, Imatrix};
use super::library::{BUILD, c_path, library, own_build};
use super::log;
use super::tool;
use crate::backend::{BackendError, PrepareRequest};
use crate::convert::source_sha256;
use crate::formats::gguf::{Gguf, TensorInfo, Value};
use crate::model::{Precision, TypeCount, Variant};
use crate::runtime::sha256_file;

/// `llama_ftype` by precision, widest first: what can be made and run.
const FILE_TYPES: &[(Precision, c_int)] = &[
    (Precision::F32, 0),
    (Precision::F16, 1),
    (Precision::BF16, 32),
    (Precision::Q8_0, 7),
    (Precision::Q6_K, 18),
    (Precision::Q5_K_M, 17),
    (Precision::Q5_K_S, 16),
    (Precision::Q5_1, 9),
    (Precision::Q5_0, 8),
    (Precision::Q4_K_M, 15),
    (Precision::Q4_K_S, 14),
    (Precision::Q4_1, 3),
    (Precision::Q4_0, 2),
    (Precision::IQ4_NL, 25),
    (Precision::IQ4_XS, 30),
    (Precision::Mxfp4, 38),
    (Precision::Q3_K_L, 13),
    (Precision::Q3_K_M, 12),
    (Precision::Q3_K_S, 11),
    (Precision::IQ3_M, 27),
    (Precision::IQ3_S, 26),
    (Precision::IQ3_XS, 22),
    (Precision::IQ3_XXS, 23),
    (Precision::Q2_K, 10),
    (Precision::Q2_K_S, 21),
    (Precision::IQ2_M, 29),
    (Precision::IQ2_S, 28),
    (Precision::IQ2_XS, 20),
    (Precision::IQ2_XXS, 19),
    (Precision::IQ1_M, 31),
    (Precision::IQ1_S, 24),
    (Precision::TQ2_0, 37),
    (Precision::TQ1_0, 36),
];

/// What can be made and run, widest first.
pub(super) const PRECISIONS: &[Precision] = &Precision::keys::<_, { FILE_TYPES.len() }>(FILE_TYPES);

/// Types that the library makes only with an importance matrix.
pub(super) const WANT_IMATRIX: &[Precision] = &[
    Precision::IQ3_XXS,
    Precision::Q2_K_S,
    Precision::IQ2_M,
    Precision::IQ2_S,
    Precision::IQ2_XS,
    Precision::IQ2_XXS,
    Precision::IQ1_M,
    Precision::IQ1_S,
];

/// Makes the variant, or finds it in the cache.
///
/// Quantized sources are expanded tensor by tensor and quantized again (the library's `allow_requantize`):
/// quality is then relative to that source, which [`Variant::source_type`] says.
pub(super) fn prepare(mut request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
    let precision = request.precision;
    let source = checked(request.source)?;
    let file_type = file_type(precision, &source)?;
    (request.progress)(0.0, "hashing the source");
    let parts: Vec<PathBuf> = source.parts.iter().map(|p| p.path.clone()).collect();
    let sha256 = source_sha256(&parts, request.cache)
        .map_err(|e| BackendError::failed("cannot hash the source", e))?;
    if source.get("general.file_type").and_then(Value::as_u64) == Some(file_type as u64) {
        let made = Made { path: request.source, made_by: "source", fallbacks: Vec::new() };
        return Ok(describe(&request, &source, &source, made, sha256));
    }
    let maker = Maker::here()?;
    let dir = request.cache.join(&sha256).join(&maker.tag);
    fs::create_dir_all(&dir).map_err(|e| BackendError::failed("cannot make the cache", e))?;
    let (name, imatrix) = match WANT_IMATRIX.contains(&precision) {
        false => (precision.to_string(), None),
        true if maker.program.is_some() => {
            let text = format!(
                "{precision} needs an importance matrix, made by the installed library only"
            );
            return Err(BackendError::Unsupported(text));
        }
        true => {
            let (tag, matrix) = imatrix::find_or_make(&mut request, &source, &dir)?;
            (format!("{precision}-{tag}"), Some(matrix))
        }
    };
    let path = dir.join(format!("{name}.gguf"));
    if let Some(known) = remembered(&path, &request) {
        return Ok(known);
    }
    let temporary = path.with_extension(format!("part-{}", std::process::id()));
    let lines = match &maker.program {
        Some(program) => {
            let name = if precision == Precision::Mxfp4 { "MXFP4_MOE" } else { precision.name() };
            tool::quantize(program, &source.parts[0].path, &temporary, name)
        }
        None => quantize(&mut request, &source, file_type, &temporary, imatrix.as_ref()),
    };
    let lines = lines.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    fs::rename(&temporary, &path)
        .map_err(|e| BackendError::failed("cannot keep the variant", e))?;
    let target = checked(&path)?;
    let made_by = match imatrix {
        None => maker.tag,
        Some(_) => format!("{}, importance matrix", maker.tag),
    };
    let made = Made { path: &path, made_by: &made_by, fallbacks: fallbacks(&lines) };
    let variant = describe(&request, &source, &target, made, sha256);
    remember(&path, &variant);
    Ok(variant)
}

/// What makes the variants: the installed library, or the `llama-quantize` of the user's own build.
struct Maker {
    /// Part of the cache path: another version makes its own.
    tag: String,
    program: Option<PathBuf>,
}

impl Maker {
    fn here() -> Result<Self, BackendError> {
        let Some(dir) = own_build() else {
            return Ok(Self { tag: format!("llama.cpp-{BUILD}"), program: None });
        };
        let program = tool::find_program(&dir, "llama-quantize").ok_or_else(|| {
            BackendError::Unsupported(format!("`{}` holds no llama-quantize", dir.display()))
        })?;
        let hash = sha256_file(&program)
            .map_err(|e| BackendError::failed("cannot read llama-quantize", e))?;
        Ok(Self { tag: format!("llama-quantize-{}", &hash[..12]), program: Some(program) })
    }
}

fn file_type(precision: Precision, source: &Gguf) -> Result<c_int, BackendError> {
    let known = FILE_TYPES.iter().find(|(p, _)| *p == precision).ok_or_else(|| {
        BackendError::Unsupported(format!("llama.cpp has no file type {precision}"))
    })?;
    let experts = source.arch("expert_count").and_then(Value::as_u64).unwrap_or(0);
    if precision == Precision::Mxfp4 && experts == 0 {
        return Err(BackendError::Unsupported(
            "MXFP4 is for the experts of a mixture: of a dense model llama.cpp makes Q8_0".into(),
        ));
    }
    Ok(known.1)
}

/// Runs the library on a thread of its own, so that progress can be told; returns its log.
fn quantize(
    request: &mut PrepareRequest<'_>,
    source: &Gguf,
    file_type: c_int,
    target: &Path,
    imatrix: Option<&Imatrix>,
) -> Result<Vec<String>, BackendError> {
    let llama = library()?;
    let input = c_path(&source.parts[0].path)?;
    let output = c_path(target)?;
    let entries = imatrix.map(Imatrix::entries).transpose()?;
    let start = log::mark();
    let run = || {
        let names: Vec<(&CString, &[f32])> =
            entries.iter().flatten().map(|(n, d)| (n, *d)).collect();
        let mut table: Vec<ffi::ImatrixData> = names
            .iter()
            .map(|(n, d)| ffi::ImatrixData { name: n.as_ptr(), data: d.as_ptr(), size: d.len() })
            .collect();
        table.push(ffi::ImatrixData { name: ptr::null(), data: ptr::null(), size: 0 });
        // SAFETY: paths and table live through the call; the source's header was checked.
        unsafe {
            let mut params = (llama.api.llama_model_quantize_default_params)();
            params.ftype = file_type;
            params.allow_requantize = true;
            if imatrix.is_some() {
                params.imatrix = table.as_ptr();
            }
            (llama.api.llama_model_quantize)(input.as_ptr(), output.as_ptr(), &params)
        }
    };
    let status = std::thread::scope(|scope| {
        let worker = scope.spawn(run);
        while !worker.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            let (fraction, tensor) = progress(&log::since(start));
            (request.progress)(fraction, &tensor);
        }
        worker.join()
    });
    if !matches!(status, Ok(0)) {
        return Err(BackendError::Failed(format!("cannot quantize: {}", log::cause(start))));
    }
    Ok(log::since(start))
}

/// `[  12/ 272] blk.0.attn_q.weight - ...` of the last such line.
fn progress(lines: &[String]) -> (f64, String) {
    let read = |line: &String| {
        let (counts, rest) = line.trim_start().strip_prefix('[')?.split_once(']')?;
        let (done, total) = counts.split_once('/')?;
        let (done, total): (f64, f64) = (done.trim().parse().ok()?, total.trim().parse().ok()?);
        let name = rest.split_whitespace().next()?.to_owned();
        (total > 0.0).then_some(((done / total).clamp(0.0, 1.0), name))
    };
    lines.iter().rev().find_map(read).unwrap_or((0.0, "reading".to_owned()))
}

/// `... (required for type    q4_K) -> falling back to    q5_0`, counted.
fn fallbacks(lines: &[String]) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<(String, String), u64>::new();
    for line in lines {
        let Some((_, rest)) = line.split_once("(required for type") else { continue };
        let Some((wanted, rest)) = rest.split_once(')') else { continue };
        let Some((_, used)) = rest.split_once("falling back to") else { continue };
        let key = (upper(wanted), upper(used));
        *counts.entry(key).or_default() += 1;
    }
    counts.into_iter().map(|((w, u), n)| format!("{w} -> {u}: {n}")).collect()
}

/// ggml writes `q4_K`, GGUF tools `Q4_K`.
fn upper(name: &str) -> String {
    name.trim().to_uppercase()
}

struct Made<'a> {
    path: &'a Path,
    made_by: &'a str,
    fallbacks: Vec<String>,
}

fn describe(
    request: &PrepareRequest<'_>,
    source: &Gguf,
    target: &Gguf,
    made: Made<'_>,
    source_sha256: String,
) -> Variant {
    let types = histogram(target);
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    let elements: u64 = target.tensors.iter().map(TensorInfo::elements).sum();
    Variant {
        model: request.model.to_owned(),
        precision: request.precision,
        path: made.path.to_owned(),
        size_bytes: target.file_bytes(),
        bits_per_weight: bytes as f64 * 8.0 / elements.max(1) as f64,
        types,
        made_by: made.made_by.to_owned(),
        source_sha256,
        source_type: histogram(source).first().map(|t| t.dtype.clone()).unwrap_or_default(),
        fallbacks: made.fallbacks,
    }
}

/// Tensors and bytes by type, most bytes first.
fn histogram(gguf: &Gguf) -> Vec<TypeCount> {
    let mut types: Vec<TypeCount> = Vec::new();
    for tensor in &gguf.tensors {
        let dtype = tensor.type_name();
        match types.iter_mut().find(|t| t.dtype == dtype) {
            Some(t) => {
                t.tensors += 1;
                t.bytes = t.bytes.saturating_add(tensor.bytes);
            }
            None => types.push(TypeCount { dtype, tensors: 1, bytes: tensor.bytes }),
        }
    }
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    types
}

fn note_of(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// A variant made earlier, as long as its file is still the one that was described.
fn remembered(path: &Path, request: &PrepareRequest<'_>) -> Option<Variant> {
    let text = fs::read(note_of(path)).ok()?;
    let known: Variant = serde_json::from_slice(&text).ok()?;
    let size = fs::metadata(path).ok()?.len();
    (known.precision == request.precision && known.size_bytes == size).then(|| Variant {
        model: request.model.to_owned(),
        path: path.to_owned(),
        ..known
    })
}

/// Best effort: without the note the variant is made again.
fn remember(path: &Path, variant: &Variant) {
    if let Ok(text) = serde_json::to_vec_pretty(variant) {
        let _ = fs::write(note_of(path), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_fallbacks_are_read_from_the_log() {
        let lines = [
            "warning: blk.0.attn_q.weight - ncols    576 not divisible by 256 (required for type    q4_K) -> falling back to    q5_0",
            "warning: blk.1.attn_q.weight - ncols    576 not divisible by 256 (required for type    q4_K) -> falling back to    q5_0",
            "[   3/ 272] blk.0.attn_k.weight              - [  576,   192], type =   q4_1, converting",
        ]
        .map(String::from);
        assert_eq!(fallbacks(&lines), ["Q4_K -> Q5_0: 2"]);
        let (fraction, name) = progress(&lines);
        assert!((fraction - 3.0 / 272.0).abs() < 1e-9);
        assert_eq!(name, "blk.0.attn_k.weight");
    }

    #[test]
    fn every_type_that_wants_an_importance_matrix_can_be_made() {
        assert!(WANT_IMATRIX.iter().all(|p| PRECISIONS.contains(p)));
    }
}

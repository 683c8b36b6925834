//! From a source GGUF to a variant in the cache, tensor by tensor.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use super::recipe;
use super::{ConvertError, quantize, source_sha256};
use crate::formats::gguf::{Encoded, Gguf, GgufWriter, Mixture, TensorDecl, TensorInfo};
use crate::model::{Precision, TypeCount, Variant};

/// What makes the variants; part of the cache path, so a change of recipe or library makes them anew.
const TOOL: &str = "candle-0.11.1-mix2";
/// Elements read, converted and written at a time.
const STEP: u64 = 4 << 20;
/// Elements one thread converts at a time.
const PIECE: u64 = 128 << 10;

/// Makes `source` at `precision`, or finds it under `cache`. Calls `progress` with the fraction done.
///
/// The source itself is the variant where it already has the types wanted. Fails where the precision is not one
/// of [`super::PRECISIONS`], the source has a tensor that cannot be expanded, or files cannot be read or written.
pub fn gguf_variant(
    model: &str,
    source: &Path,
    precision: Precision,
    cache: &Path,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<Variant, ConvertError> {
    let unsupported = || {
        ConvertError::Unsupported(format!("{precision} cannot be made by the embedded quantizer"))
    };
    let file_type = recipe::file_type(precision).ok_or_else(unsupported)?;
    let gguf = Gguf::open(source)?;
    let plan = plan(&gguf, &Mixture::of_file(precision, &gguf).ok_or_else(unsupported)?)?;
    progress(0.0, "hashing the source");
    let parts: Vec<PathBuf> = gguf.parts.iter().map(|p| p.path.clone()).collect();
    let sha256 = source_sha256(&parts, cache)?;
    let describe = |path: &Path, size: u64, made_by: &str| {
        describe(model, precision, &gguf, &plan, path, size, made_by, &sha256)
    };
    if plan.tensors.iter().all(|t| t.convert.is_none()) {
        return Ok(describe(source, gguf.file_bytes(), "source"));
    }
    let dir = cache.join(&sha256).join(TOOL);
    let path = dir.join(format!("{precision}.gguf"));
    if !is_made(&path, &plan) {
        fs::create_dir_all(&dir).map_err(|e| ConvertError::write(&dir, e))?;
        write(&path, &gguf, &plan, file_type, progress)?;
    }
    let size = fs::metadata(&path).map_err(|e| ConvertError::read(&path, e))?.len();
    Ok(describe(&path, size, TOOL))
}

struct Plan {
    tensors: Vec<Planned>,
    /// `wanted -> used: count`.
    fallbacks: Vec<String>,
}

struct Planned {
    decl: TensorDecl,
    /// From and to; `None` where the bytes are copied.
    convert: Option<(GgmlDType, GgmlDType)>,
}

fn plan(gguf: &Gguf, mixture: &Mixture) -> Result<Plan, ConvertError> {
    let mut fallbacks: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut tensors = Vec::with_capacity(gguf.tensors.len());
    for info in &gguf.tensors {
        let mut decl = TensorDecl {
            name: info.name.clone(),
            shape: info.shape.clone(),
            type_id: info.type_id,
        };
        let mut convert = None;
        if let Some((wanted, used)) = mixture.types(&info.name, &info.shape) {
            if wanted != used {
                *fallbacks.entry((wanted.name, used.name)).or_default() += 1;
            }
            let from = info.type_name();
            if from != used.name {
                let from = recipe::by_name(&from).ok_or_else(|| {
                    let text =
                        format!("tensor `{}` is {from}, which cannot be expanded", info.name);
                    ConvertError::Unsupported(text)
                })?;
                let to = recipe::by_name(used.name).ok_or_else(|| {
                    ConvertError::Unsupported(format!("candle does not write {}", used.name))
                })?;
                decl.type_id = used.id;
                convert = Some((from, to));
            }
        }
        tensors.push(Planned { decl, convert });
    }
    let fallbacks = fallbacks
        .into_iter()
        .map(|((wanted, used), n)| format!("{wanted} -> {used}: {n}"))
        .collect();
    Ok(Plan { tensors, fallbacks })
}

/// Whether a whole file with the planned tensors is there.
fn is_made(path: &Path, plan: &Plan) -> bool {
    let Ok(made) = Gguf::open(path) else { return false };
    made.tensors.len() == plan.tensors.len()
        && made.tensors.iter().zip(&plan.tensors).all(|(t, p)| {
            (&t.name, &t.shape, t.type_id) == (&p.decl.name, &p.decl.shape, p.decl.type_id)
        })
}

fn write(
    path: &Path,
    gguf: &Gguf,
    plan: &Plan,
    file_type: u32,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<(), ConvertError> {
    let mut metadata = gguf.encoded_metadata()?;
    metadata.retain(|(k, _)| k != "general.file_type" && k != "general.quantization_version");
    metadata.push(("general.file_type".into(), Encoded::u32(file_type)));
    metadata.push(("general.quantization_version".into(), Encoded::u32(2)));
    let decls: Vec<TensorDecl> = plan.tensors.iter().map(|t| t.decl.clone()).collect();
    let mut writer = GgufWriter::create(path, &metadata, &decls)?;
    let mut files = gguf
        .parts
        .iter()
        .map(|p| File::open(&p.path).map_err(|e| ConvertError::read(&p.path, e)))
        .collect::<Result<Vec<_>, _>>()?;
    let total: u64 = gguf.tensors.iter().map(|t| t.bytes).sum();
    let mut done = 0u64;
    let mut buffer = Vec::new();
    for (info, planned) in gguf.tensors.iter().zip(&plan.tensors) {
        let read = |e| ConvertError::read(&gguf.parts[info.part].path, e);
        let file = &mut files[info.part];
        file.seek(SeekFrom::Start(info.offset)).map_err(read)?;
        let step = step_bytes(info, planned.convert);
        let mut left = info.bytes;
        while left > 0 {
            let n = left.min(step);
            buffer.resize(n as usize, 0);
            file.read_exact(&mut buffer).map_err(read)?;
            match planned.convert {
                None => writer.write(&buffer)?,
                Some((from, to)) => {
                    for piece in convert(info, from, to, &buffer)? {
                        writer.write(&piece)?;
                    }
                }
            }
            left -= n;
            done += n;
            progress(done as f64 / total.max(1) as f64, &info.name);
        }
    }
    writer.finish()?;
    Ok(())
}

/// Bytes of [`STEP`] elements; any number will do where nothing is converted.
fn step_bytes(info: &TensorInfo, convert: Option<(GgmlDType, GgmlDType)>) -> u64 {
    match convert {
        None => (8 << 20).min(info.bytes),
        Some((from, _)) => STEP / from.block_size() as u64 * from.type_size() as u64,
    }
}

/// All pieces of `bytes` in order, converted by all threads. `PIECE` is a multiple of every block.
fn convert(
    info: &TensorInfo,
    from: GgmlDType,
    to: GgmlDType,
    bytes: &[u8],
) -> Result<Vec<Vec<u8>>, ConvertError> {
    let piece = (PIECE / from.block_size() as u64 * from.type_size() as u64) as usize;
    bytes
        .par_chunks(piece)
        .map(|b| quantize::convert(from, to, b))
        .collect::<Result<_, _>>()
        .map_err(|e| ConvertError::Quantize { tensor: info.name.clone(), why: e.to_string() })
}

#[expect(clippy::too_many_arguments, reason = "the fields of a variant, gathered in one place")]
fn describe(
    model: &str,
    precision: Precision,
    gguf: &Gguf,
    plan: &Plan,
    path: &Path,
    size_bytes: u64,
    made_by: &str,
    source_sha256: &str,
) -> Variant {
    let sizes = plan.tensors.iter().zip(&gguf.tensors).map(|(p, info)| {
        // A type this build does not know is copied: its size is the source's.
        let name = TensorInfo { type_id: p.decl.type_id, ..info.clone() }.type_name();
        (name, p.decl.bytes().unwrap_or(info.bytes))
    });
    let types = histogram(sizes);
    let bytes: u64 = types.iter().map(|t| t.bytes).sum();
    let elements: u64 = gguf.tensors.iter().map(TensorInfo::elements).sum();
    let source = histogram(gguf.tensors.iter().map(|t| (t.type_name(), t.bytes)));
    Variant {
        model: model.to_owned(),
        precision,
        path: path.to_owned(),
        size_bytes,
        bits_per_weight: bytes as f64 * 8.0 / elements.max(1) as f64,
        types,
        made_by: made_by.to_owned(),
        source_sha256: source_sha256.to_owned(),
        source_type: source.first().map(|t| t.dtype.clone()).unwrap_or_default(),
        fallbacks: plan.fallbacks.clone(),
    }
}

/// Tensors and bytes by type, most bytes first.
fn histogram(tensors: impl Iterator<Item = (String, u64)>) -> Vec<TypeCount> {
    let mut by_type: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (name, bytes) in tensors {
        let entry = by_type.entry(name).or_default();
        *entry = (entry.0 + 1, entry.1.saturating_add(bytes));
    }
    let mut types: Vec<_> = by_type
        .into_iter()
        .map(|(dtype, (tensors, bytes))| TypeCount { dtype, tensors, bytes })
        .collect();
    types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.dtype.cmp(&b.dtype)));
    types
}

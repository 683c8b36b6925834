//! Importance matrices: mean squares of what each weight column is multiplied with, over a text.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::io::Read;
use std::path::Path;

use super::ffi::{self, Tensor};
use super::library::{Llama, library};
use super::options::Options;
use super::session::{context_params, load_model, new_context};
use crate::backend::{BackendError, PrepareRequest};
use crate::formats::gguf::{Encoded, Gguf, GgufWriter, TensorDecl};
use crate::runtime::sha256_bytes;

/// Tokens a chunk, and most chunks read of a corpus.
const CHUNK: usize = 512;
const MAX_CHUNKS: usize = 32;
/// Most text read of a corpus: far more than the chunks hold.
const MAX_TEXT: u64 = 1 << 20;

/// Importance by tensor name: one value a column, for each expert one after another.
#[derive(Debug, Default)]
pub(super) struct Imatrix(BTreeMap<String, Vec<f32>>);

impl Imatrix {
    /// Names as C strings beside their values.
    pub(super) fn entries(&self) -> Result<Vec<(CString, &[f32])>, BackendError> {
        let entry = |(name, data): (&String, &'_ Vec<f32>)| {
            let name = CString::new(name.as_str())
                .map_err(|e| BackendError::failed("a tensor's name", e))?;
            Ok((name, data.len()))
        };
        let names: Vec<(CString, usize)> =
            self.0.iter().map(entry).collect::<Result<_, BackendError>>()?;
        Ok(names.into_iter().zip(self.0.values()).map(|((n, _), d)| (n, d.as_slice())).collect())
    }
}

/// The matrix for a source and corpus, with a tag that names the corpus.
pub(super) fn find_or_make(
    request: &mut PrepareRequest<'_>,
    source: &Gguf,
    dir: &Path,
) -> Result<(String, Imatrix), BackendError> {
    let Some(corpus) = request.corpus else {
        return Err(BackendError::Unsupported(format!(
            "{} needs an importance matrix, and the suite names no text to compute it from",
            request.precision
        )));
    };
    let mut text = Vec::new();
    fs::File::open(corpus)
        .and_then(|f| f.take(MAX_TEXT).read_to_end(&mut text))
        .map_err(|e| BackendError::failed(&format!("cannot read `{}`", corpus.display()), e))?;
    let tag = format!("imatrix-{}", &sha256_bytes(&text)[..12]);
    let path = dir.join(format!("{tag}.gguf"));
    if let Some(known) = load(&path) {
        return Ok((tag, known));
    }
    let matrix = compute(request, source, &text)?;
    save(&path, &matrix)?;
    Ok((tag, matrix))
}

fn compute(
    request: &mut PrepareRequest<'_>,
    source: &Gguf,
    text: &[u8],
) -> Result<Imatrix, BackendError> {
    let llama = library()?;
    let options = Options { mmap: true, ..Options::default() };
    let model = load_model(llama, request.source, source, "cpu", &options)?;
    let tokens = tokenize(llama, model.pointer, text)?;
    let chunks: Vec<&[i32]> = tokens.chunks_exact(CHUNK).take(MAX_CHUNKS).collect();
    if chunks.is_empty() {
        let text =
            format!("the text has {} tokens, an importance matrix needs {CHUNK}", tokens.len());
        return Err(BackendError::Unsupported(text));
    }
    let mut sums = Sums::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let mut params = context_params(llama, &options, CHUNK as u32, threads);
    params.cb_eval = Some(observe);
    params.cb_eval_user_data = (&raw mut sums).cast::<c_void>();
    let context = new_context(&model, params)?;
    for (i, chunk) in chunks.iter().enumerate() {
        (request.progress)(i as f64 / chunks.len() as f64, "importance matrix");
        let mut ids = chunk.to_vec();
        let batch = ffi::Batch {
            n_tokens: ids.len() as i32,
            token: ids.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: std::ptr::null_mut(),
            n_seq_id: std::ptr::null_mut(),
            seq_id: std::ptr::null_mut(),
            logits: std::ptr::null_mut(),
        };
        // SAFETY: a live context; `sums` outlives it and is touched only from inside the call.
        let status = unsafe {
            (llama.api.llama_memory_clear)((llama.api.llama_get_memory)(context.pointer), true);
            let status = (llama.api.llama_decode)(context.pointer, batch);
            (llama.api.llama_synchronize)(context.pointer);
            status
        };
        if status != 0 {
            return Err(BackendError::Failed(format!("llama_decode returned {status}")));
        }
    }
    drop(context);
    Ok(sums.finish())
}

fn tokenize(llama: &Llama, model: ffi::Model, text: &[u8]) -> Result<Vec<i32>, BackendError> {
    let text = String::from_utf8_lossy(text);
    let length = text.len() as i32;
    // A token is at least one byte, but for what the tokenizer adds.
    let mut tokens = vec![0i32; text.len() + 8];
    // SAFETY: pointers and lengths belong together; the model is live.
    let count = unsafe {
        let vocabulary = (llama.api.llama_model_get_vocab)(model);
        let (start, room) = (text.as_ptr().cast(), tokens.len() as i32);
        (llama.api.llama_tokenize)(
            vocabulary,
            start,
            length,
            tokens.as_mut_ptr(),
            room,
            true,
            false,
        )
    };
    let count = usize::try_from(count)
        .map_err(|_| BackendError::Failed("the library cannot tokenize the text".into()))?;
    tokens.truncate(count);
    Ok(tokens)
}

/// Sums of squares and how many rows went in, by tensor name.
#[derive(Default)]
struct Sums(BTreeMap<String, Sum>);

struct Sum {
    columns: usize,
    squares: Vec<f32>,
    /// One an expert; one in all for a plain matrix.
    rows: Vec<u64>,
}

impl Sums {
    fn entry(&mut self, name: &str, columns: usize, experts: usize) -> Option<&mut Sum> {
        let new = || Sum { columns, squares: vec![0.0; columns * experts], rows: vec![0; experts] };
        let sum = self.0.entry(name.to_owned()).or_insert_with(new);
        (sum.columns == columns && sum.rows.len() == experts).then_some(sum)
    }

    fn finish(self) -> Imatrix {
        let mean = |sum: Sum| {
            let Sum { columns, mut squares, rows } = sum;
            for (values, &n) in squares.chunks_exact_mut(columns).zip(&rows) {
                // An expert that never ran gets equal weights.
                values.iter_mut().for_each(|v| *v = if n == 0 { 1.0 } else { *v / n as f32 });
            }
            squares
        };
        Imatrix(self.0.into_iter().map(|(name, sum)| (name, mean(sum))).collect())
    }
}

impl Sum {
    fn add(&mut self, expert: usize, row: &[f32]) {
        let Some(n) = self.rows.get_mut(expert) else { return };
        *n += 1;
        let values = &mut self.squares[expert * self.columns..][..self.columns];
        for (v, x) in values.iter_mut().zip(row) {
            *v += x * x;
        }
    }
}

/// Called for every node of the graph: first whether it is wanted, then with its inputs computed.
unsafe extern "C" fn observe(node: *mut Tensor, ask: bool, user: *mut c_void) -> bool {
    // SAFETY: the scheduler passes a live node of a CPU graph, and `user` is the `Sums` of `compute`.
    unsafe {
        let Some(node) = node.as_ref() else { return !ask };
        let (Some(weight), Some(input)) = (node.src[0].as_ref(), node.src[1].as_ref()) else {
            return !ask;
        };
        let product = matches!(node.op, ffi::OP_MUL_MAT | ffi::OP_MUL_MAT_ID);
        let name = CStr::from_ptr(weight.name.as_ptr()).to_string_lossy();
        let wanted = product && input.type_ == ffi::TYPE_F32 && name.starts_with("blk.");
        if ask || !wanted {
            return wanted || !ask;
        }
        if let Some(sums) = user.cast::<Sums>().as_mut() {
            if node.op == ffi::OP_MUL_MAT {
                add_rows(sums, &name, input);
            } else if let Some(ids) = node.src[2].as_ref() {
                add_expert_rows(sums, &name, weight, input, ids);
            }
        }
        true
    }
}

/// # Safety
/// `input` must be a computed F32 tensor in host memory.
unsafe fn add_rows(sums: &mut Sums, name: &str, input: &Tensor) {
    let [columns, n1, n2, n3] = input.ne.map(|n| usize::try_from(n).unwrap_or(0));
    let Some(sum) = sums.entry(name, columns, 1) else { return };
    for i3 in 0..n3 {
        for i2 in 0..n2 {
            for i1 in 0..n1 {
                // SAFETY: indices are below the tensor's own extents.
                let row = unsafe { row(input, columns, [i1, i2, i3]) };
                sum.add(0, row);
            }
        }
    }
}

/// # Safety
/// As [`add_rows`]; `ids` holds 32-bit expert numbers.
unsafe fn add_expert_rows(
    sums: &mut Sums,
    name: &str,
    weight: &Tensor,
    input: &Tensor,
    ids: &Tensor,
) {
    let [columns, slots, tokens, _] = input.ne.map(|n| usize::try_from(n).unwrap_or(0));
    let experts = usize::try_from(weight.ne[2]).unwrap_or(0);
    let used = usize::try_from(ids.ne[0]).unwrap_or(0);
    let Some(sum) = sums.entry(name, columns, experts) else { return };
    if slots == 0 || ids.data.is_null() {
        return;
    }
    for token in 0..tokens {
        for k in 0..used {
            // SAFETY: indices are below the tensors' own extents.
            unsafe {
                let at = ids.data.byte_add(k * ids.nb[0] + token * ids.nb[1]).cast::<i32>();
                let expert = usize::try_from(at.read_unaligned()).unwrap_or(usize::MAX);
                sum.add(expert, row(input, columns, [k % slots, token, 0]));
            }
        }
    }
}

/// # Safety
/// The indices must be below `tensor.ne`, its data F32 rows of `columns` in host memory.
unsafe fn row(tensor: &Tensor, columns: usize, at: [usize; 3]) -> &[f32] {
    if tensor.data.is_null() {
        return &[];
    }
    let offset = at[0] * tensor.nb[1] + at[1] * tensor.nb[2] + at[2] * tensor.nb[3];
    // SAFETY: see above; the innermost stride of an F32 product's input is 4.
    unsafe { std::slice::from_raw_parts(tensor.data.byte_add(offset).cast(), columns) }
}

/// Kept as a GGUF of F32 vectors.
fn save(path: &Path, matrix: &Imatrix) -> Result<(), BackendError> {
    let failed = |e| BackendError::failed("cannot keep the importance matrix", e);
    let metadata = [("general.type".to_owned(), Encoded::string("imatrix"))];
    let decl = |(name, data): (&String, &Vec<f32>)| TensorDecl {
        name: name.clone(),
        shape: vec![data.len() as u64],
        type_id: 0,
    };
    let decls: Vec<TensorDecl> = matrix.0.iter().map(decl).collect();
    let mut writer = GgufWriter::create(path, &metadata, &decls).map_err(failed)?;
    for data in matrix.0.values() {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.write(&bytes).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

fn load(path: &Path) -> Option<Imatrix> {
    let gguf = Gguf::open(path).ok()?;
    let bytes = fs::read(path).ok()?;
    let mut matrix = Imatrix::default();
    for tensor in &gguf.tensors {
        let start = usize::try_from(tensor.offset).ok()?;
        let length = usize::try_from(tensor.bytes).ok()?;
        let data = bytes.get(start..start.checked_add(length)?)?;
        let values =
            data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        matrix.0.insert(tensor.name.clone(), values);
    }
    (!matrix.0.is_empty()).then_some(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_means_and_idle_experts_weigh_alike() {
        let mut sums = Sums::default();
        let sum = sums.entry("blk.0.ffn_up_exps.weight", 2, 2).unwrap();
        sum.add(0, &[1.0, 2.0]);
        sum.add(0, &[3.0, 0.0]);
        sum.add(7, &[9.0, 9.0]);
        assert!(sums.entry("blk.0.ffn_up_exps.weight", 3, 2).is_none());
        assert_eq!(sums.finish().0["blk.0.ffn_up_exps.weight"], [5.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn a_matrix_is_kept_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let matrix = Imatrix(BTreeMap::from([
            ("blk.0.a.weight".to_owned(), vec![1.0, 2.0]),
            ("blk.0.b.weight".to_owned(), vec![3.0]),
        ]));
        save(&path, &matrix).unwrap();
        assert_eq!(load(&path).unwrap().0, matrix.0);
        assert!(load(&dir.path().join("none")).is_none());
    }
}

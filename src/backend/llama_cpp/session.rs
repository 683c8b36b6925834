//! One model with one context: the autoregressive loop over `llama_decode`.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use super::check::checked;
use super::ffi::{self, Api};
use super::library::{Llama, c_path, library};
use super::log::{self, Buffers};
use super::options::Options;
use crate::backend::greedy::argmax;
use crate::backend::{BackendError, OpenRequest, TextSession};
use crate::formats::gguf::{Gguf, to_spec};
use crate::predict::{KvPrecision, PlanFor, memory_plan};
use crate::probe::{LiveHost, host_state};
use crate::record::SessionFacts;

/// Logit rows fetched at a time: bounds the output buffer (vocabulary x 4 bytes a row).
const LOGIT_ROWS: usize = 128;

/// A loaded model; freed on drop.
pub(super) struct Model {
    pub llama: &'static Llama,
    pub pointer: ffi::Model,
}

/// An opened model with its context.
pub(super) struct LlamaSession {
    // Declared before the model: it must be freed first.
    context: Context,
    model: Model,
    vocabulary: u32,
    batch: usize,
    limit: usize,
    past: usize,
    facts: SessionFacts,
}

/// A context; freed on drop.
pub(super) struct Context {
    llama: &'static Llama,
    pub pointer: ffi::Context,
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by this library, freed once.
        unsafe { (self.llama.api.llama_model_free)(self.pointer) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: as above, and its model still lives.
        unsafe { (self.llama.api.llama_free)(self.pointer) }
    }
}

impl LlamaSession {
    pub(super) fn open(request: &OpenRequest) -> Result<Self, BackendError> {
        let options = Options::parse(&request.options)?;
        let path = &request.variant.path;
        let gguf = checked(path)?;
        let llama = library()?;
        let context = request.context.max(1);
        let on_cpu = request.device.eq_ignore_ascii_case("cpu");
        if on_cpu {
            check_memory(&gguf, u64::from(context), options.kv.0)?;
        }
        let start = log::mark();
        let model = load_model(llama, path, &gguf, &request.device, &options)?;
        let params = context_params(llama, &options, context, request.threads);
        let context = new_context(&model, params)?;
        // SAFETY: live pointers of this library.
        let (vocabulary, batch, limit, layers) = unsafe {
            let api = &llama.api;
            (
                (api.llama_vocab_n_tokens)((api.llama_model_get_vocab)(model.pointer)),
                (api.llama_n_batch)(context.pointer) as usize,
                (api.llama_n_ctx)(context.pointer) as usize,
                (api.llama_model_n_layer)(model.pointer),
            )
        };
        let vocabulary = u32::try_from(vocabulary).ok().filter(|v| *v > 0).ok_or_else(|| {
            BackendError::Unsupported("the model has no vocabulary to predict".to_owned())
        })?;
        let lines = log::since(start);
        let mut facts = facts(llama, &options, &lines, &request.device, layers);
        // SAFETY: a live context.
        let ubatch = unsafe { (llama.api.llama_n_ubatch)(context.pointer) };
        facts.settings.insert("batch".into(), format!("{batch}/{ubatch}"));
        facts.settings.insert("threads".into(), request.threads.to_string());
        Ok(Self { context, model, vocabulary, batch, limit, past: 0, facts })
    }

    fn api(&self) -> &'static Api {
        &self.model.llama.api
    }

    /// Appends one batch; `outputs` flags the tokens whose logits are wanted, all off without it but for the last.
    fn run(&mut self, tokens: &[u32], outputs: Option<&mut [i8]>) -> Result<(), BackendError> {
        let mut ids = Vec::with_capacity(tokens.len());
        for &t in tokens {
            if t >= self.vocabulary {
                let text = format!("token {t} is outside the vocabulary of {}", self.vocabulary);
                return Err(BackendError::Failed(text));
            }
            ids.push(t as i32);
        }
        let batch = ffi::Batch {
            n_tokens: ids.len() as i32,
            token: ids.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: ptr::null_mut(),
            n_seq_id: ptr::null_mut(),
            seq_id: ptr::null_mut(),
            logits: outputs.map_or(ptr::null_mut(), <[i8]>::as_mut_ptr),
        };
        let start = log::mark();
        // SAFETY: the arrays hold `n_tokens` entries and live through the call.
        let status = unsafe { (self.api().llama_decode)(self.context.pointer, batch) };
        match status {
            0 => {
                self.past += tokens.len();
                Ok(())
            }
            // GGML_STATUS_ALLOC_FAILED
            -2 => Err(out_of_memory(&log::cause(start))),
            1 => Err(BackendError::Failed("no room in the KV cache for the batch".into())),
            _ => Err(failed(&format!("llama_decode returned {status}"), start)),
        }
    }

    fn check_room(&self, more: usize) -> Result<(), BackendError> {
        if more == 0 {
            return Err(BackendError::Failed("no tokens were given".into()));
        }
        if self.past + more > self.limit {
            return Err(BackendError::Failed(format!(
                "{more} tokens behind {} do not fit the context of {}",
                self.past, self.limit
            )));
        }
        Ok(())
    }

    fn synchronize(&self) {
        // SAFETY: a live context.
        unsafe { (self.api().llama_synchronize)(self.context.pointer) }
    }

    /// Logits of the `index`-th token of the last batch, -1 for its last output.
    fn row(&self, index: i32) -> Result<&[f32], BackendError> {
        // SAFETY: the library returns null for a row that was not asked for, else `vocabulary` floats that
        // stay valid until the next decode, which needs `&mut self`.
        unsafe {
            let row = (self.api().llama_get_logits_ith)(self.context.pointer, index);
            if row.is_null() {
                return Err(BackendError::Failed("the library returned no logits".into()));
            }
            Ok(std::slice::from_raw_parts(row, self.vocabulary as usize))
        }
    }
}

impl TextSession for LlamaSession {
    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        // SAFETY: a live context.
        unsafe {
            let memory = (self.api().llama_get_memory)(self.context.pointer);
            (self.api().llama_memory_clear)(memory, false);
        }
        self.past = 0;
        Ok(())
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<u32, BackendError> {
        self.check_room(tokens.len())?;
        let last = tokens.len().div_ceil(self.batch) - 1;
        for (i, chunk) in tokens.chunks(self.batch).enumerate() {
            let mut none = vec![0; if i < last { chunk.len() } else { 0 }];
            self.run(chunk, (i < last).then_some(none.as_mut_slice()))?;
        }
        self.synchronize();
        Ok(argmax(self.row(-1)?))
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        self.check_room(1)?;
        self.run(&[token], None)?;
        self.synchronize();
        Ok(argmax(self.row(-1)?))
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        self.check_room(tokens.len())?;
        let rows = LOGIT_ROWS.min(self.batch);
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            let mut all = vec![1; chunk.len()];
            self.run(chunk, Some(&mut all))?;
            self.synchronize();
            for j in 0..chunk.len() {
                sink(i * rows + j, self.row(j as i32)?);
            }
        }
        Ok(())
    }
}

/// Loads the weights onto `device`. Text-generating models only.
pub(super) fn load_model(
    llama: &'static Llama,
    path: &Path,
    gguf: &Gguf,
    device: &str,
    options: &Options,
) -> Result<Model, BackendError> {
    let mut devices = chosen_devices(llama, device)?;
    let mut split = options.tensor_split.clone();
    // SAFETY: a function without arguments.
    split.resize(unsafe { (llama.api.llama_max_devices)() }.max(1), 0.0);
    // SAFETY: as above.
    let mut params = unsafe { (llama.api.llama_model_default_params)() };
    params.devices = devices.as_mut_ptr();
    params.n_gpu_layers = if devices.len() == 1 { 0 } else { options.gpu_layers.unwrap_or(-1) };
    params.load_mode = if options.mmap { ffi::LOAD_MMAP } else { ffi::LOAD_PLAIN };
    if !options.tensor_split.is_empty() {
        params.tensor_split = split.as_ptr();
    }
    let parts: Vec<CString> =
        gguf.parts.iter().map(|p| c_path(&p.path)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = parts.iter().map(|p| p.as_ptr()).collect();
    let start = log::mark();
    // SAFETY: paths, devices and shares live through the call; the header was checked.
    let pointer = unsafe {
        match pointers.as_mut_slice() {
            [one] => (llama.api.llama_model_load_from_file)(*one, params),
            many => (llama.api.llama_model_load_from_splits)(many.as_mut_ptr(), many.len(), params),
        }
    };
    if pointer.is_null() {
        return Err(failed(&format!("cannot load `{}`", path.display()), start));
    }
    let model = Model { llama, pointer };
    // SAFETY: a live model.
    let generates = unsafe {
        (llama.api.llama_model_has_decoder)(pointer)
            && !(llama.api.llama_model_has_encoder)(pointer)
    };
    if !generates {
        let architecture = gguf.architecture();
        let text = format!("`{architecture}` does not generate text token by token");
        return Err(BackendError::Unsupported(text));
    }
    Ok(model)
}

/// The library's list for a device name: empty for the CPU, else that device, or all GPUs for `gpu`.
fn chosen_devices(llama: &Llama, wanted: &str) -> Result<Vec<ffi::Device>, BackendError> {
    let mut chosen = Vec::new();
    if !wanted.eq_ignore_ascii_case("cpu") {
        let all = llama.devices();
        let is_gpu = |d: &crate::backend::BackendDevice| d.kind != crate::model::ProcessorKind::Cpu;
        let fits = |d: &crate::backend::BackendDevice| {
            d.id.eq_ignore_ascii_case(wanted) || (wanted.eq_ignore_ascii_case("gpu") && is_gpu(d))
        };
        chosen.extend(all.iter().filter(|(_, d)| fits(d)).map(|(pointer, _)| *pointer));
        if chosen.is_empty() {
            let ids: Vec<_> = all.iter().map(|(_, d)| d.id.as_str()).collect();
            return Err(BackendError::Unsupported(format!(
                "llama.cpp has no device `{wanted}`; it lists {}",
                ids.join(", ")
            )));
        }
    }
    chosen.push(ptr::null_mut());
    Ok(chosen)
}

pub(super) fn context_params(
    llama: &Llama,
    options: &Options,
    context: u32,
    threads: u32,
) -> ffi::ContextParams {
    // SAFETY: a function without arguments.
    let mut params = unsafe { (llama.api.llama_context_default_params)() };
    params.n_ctx = context;
    params.n_batch = options.batch;
    params.n_ubatch = options.ubatch;
    params.n_threads = i32::try_from(threads.max(1)).unwrap_or(1);
    params.n_threads_batch = params.n_threads;
    params.flash_attn_type = options.flash_attention;
    params.type_k = options.kv.1;
    params.type_v = options.kv.1;
    params.no_perf = true;
    // Sliding-window layers keep their window only, as llama-bench measures them.
    params.swa_full = false;
    params
}

pub(super) fn new_context(
    model: &Model,
    params: ffi::ContextParams,
) -> Result<Context, BackendError> {
    let llama = model.llama;
    let start = log::mark();
    // SAFETY: a live model; the parameters hold no pointers of ours beyond the call's needs.
    let pointer = unsafe { (llama.api.llama_init_from_model)(model.pointer, params) };
    if pointer.is_null() {
        return Err(failed("cannot make a context", start));
    }
    Ok(Context { llama, pointer })
}

/// The cache is filled when it is made, so one that does not fit would end in the kernel's OOM killer.
fn check_memory(gguf: &Gguf, context: u64, kv: &str) -> Result<(), BackendError> {
    // A shape or cache type that the planner does not know is left to the library.
    let (Ok(spec), Ok(kv)) = (to_spec(gguf), kv.parse::<KvPrecision>()) else { return Ok(()) };
    let Some(available) = host_state(&LiveHost::new()).memory_available_bytes else {
        return Ok(());
    };
    let backend = super::library::NAME;
    let plan = memory_plan(&spec, &PlanFor { precision: None, context, kv, backend, cpu_isa: &[] });
    let needed = plan.kv_cache.saturating_add(plan.compute);
    if needed <= available {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(BackendError::OutOfMemory(format!(
        "a context of {context} tokens needs {:.1} GiB beside the weights, {:.1} GiB are available \
         (hint: a shorter context, or option kv=q8_0)",
        gib(needed),
        gib(available)
    )))
}

fn facts(
    llama: &Llama,
    options: &Options,
    lines: &[String],
    device: &str,
    layers: i32,
) -> SessionFacts {
    let buffers = Buffers::read(lines);
    let mut facts = SessionFacts {
        version: llama.version.clone(),
        kernel: llama.kernel.clone(),
        path: "library".to_owned(),
        weight_bytes: buffers.weights,
        kv_cache_bytes: buffers.kv_cache,
        compute_buffer_bytes: buffers.compute,
        ..SessionFacts::default()
    };
    let host = |name: &str| name.starts_with("CPU") || name.ends_with("_Host");
    let on_device = buffers.by_device.iter().filter(|(name, _)| !host(name));
    let device_bytes: u64 = on_device.map(|(_, bytes)| bytes).sum();
    facts.device_memory_bytes = (device_bytes > 0).then_some(device_bytes);
    placement(&mut facts, lines, device, layers);
    facts.settings.insert("kv".into(), options.kv.0.into());
    facts.settings.insert("mmap".into(), if options.mmap { "on" } else { "off" }.into());
    let flash = match options.flash_attention {
        0 => "off",
        1 => "on",
        _ => "auto",
    };
    facts.settings.insert("fa".into(), flash.into());
    facts
}

/// `load_tensors: offloaded 20/31 layers to GPU`, which a CPU-only library does not print.
fn placement(facts: &mut SessionFacts, lines: &[String], device: &str, layers: i32) {
    let offloaded = lines.iter().find_map(|line| {
        let (_, rest) = line.split_once("offloaded ")?;
        let (done, rest) = rest.split_once('/')?;
        let (total, _) = rest.split_once(' ')?;
        Some((done.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    match offloaded {
        Some((gpu, total)) if !device.eq_ignore_ascii_case("cpu") => {
            facts.placement.insert(device.to_owned(), gpu);
            facts.placement.insert("cpu".to_owned(), total.saturating_sub(gpu));
        }
        _ => {
            let all = u64::try_from(layers).unwrap_or(0) + 1;
            facts.placement.insert("cpu".to_owned(), all);
        }
    }
}

fn failed(what: &str, since: usize) -> BackendError {
    let cause = log::cause(since);
    if log::is_out_of_memory(&cause) {
        return out_of_memory(&cause);
    }
    BackendError::Failed(format!("{what}: {cause}"))
}

fn out_of_memory(cause: &str) -> BackendError {
    BackendError::OutOfMemory(format!(
        "{cause} (hint: fewer layers on the GPU with option ngl=N, a shorter context, or kv=q8_0)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloaded_layers_are_read_from_the_log() {
        let mut facts = SessionFacts::default();
        let lines = ["load_tensors: offloaded 20/31 layers to GPU".to_owned()];
        placement(&mut facts, &lines, "CUDA0", 30);
        assert_eq!(facts.placement["CUDA0"], 20);
        assert_eq!(facts.placement["cpu"], 11);
        let mut facts = SessionFacts::default();
        placement(&mut facts, &[], "cpu", 30);
        assert_eq!(facts.placement["cpu"], 31);
    }
}

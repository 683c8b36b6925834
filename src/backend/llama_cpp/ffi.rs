//! The part of llama.cpp's C API that is used, as build b11434 lays it out.
//!
//! The structs carry no size or version field and change between builds, so these match exactly the pinned
//! packages. The numbers in the assertions come from a C program compiled against that build's headers.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of};

/// What `llama_version` returns: of the pinned packages, or of the crate that is linked, whose headers are the same.
pub(super) const LIBRARY_VERSION: &str =
    if cfg!(feature = "llama-cpp-linked") { "0.6.0-dev" } else { "0.5.0-dev" };

pub(super) type Model = *mut c_void;
pub(super) type Context = *mut c_void;
pub(super) type Vocab = *const c_void;
pub(super) type Memory = *mut c_void;
pub(super) type Device = *mut c_void;
pub(super) type Registry = *mut c_void;

pub(super) type LogCallback = unsafe extern "C" fn(c_int, *const c_char, *mut c_void);
pub(super) type EvalCallback = unsafe extern "C" fn(*mut Tensor, bool, *mut c_void) -> bool;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ModelParams {
    /// Ends with a null; null itself means every device.
    pub devices: *mut Device,
    pub tensor_buft_overrides: *const c_void,
    pub n_gpu_layers: i32,
    pub split_mode: c_int,
    pub load_mode: c_int,
    pub lazy_mode: c_int,
    pub main_gpu: i32,
    pub tensor_split: *const f32,
    pub progress_callback: *const c_void,
    pub progress_callback_user_data: *mut c_void,
    pub kv_overrides: *const c_void,
    pub vocab_only: bool,
    pub check_tensors: bool,
    pub use_extra_bufts: bool,
    pub no_host: bool,
    pub no_alloc: bool,
    pub load_mtp: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ContextParams {
    pub n_ctx: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub n_seq_max: u32,
    pub n_rs_seq: u32,
    pub n_outputs_max: u32,
    pub n_outputs_max_per_seq: u32,
    pub n_threads: i32,
    pub n_threads_batch: i32,
    pub ctx_type: c_int,
    pub rope_scaling_type: c_int,
    pub pooling_type: c_int,
    pub attention_type: c_int,
    pub flash_attn_type: c_int,
    pub rope_freq_base: f32,
    pub rope_freq_scale: f32,
    pub yarn_ext_factor: f32,
    pub yarn_attn_factor: f32,
    pub yarn_beta_fast: f32,
    pub yarn_beta_slow: f32,
    pub yarn_orig_ctx: u32,
    pub defrag_thold: f32,
    pub cb_eval: Option<EvalCallback>,
    pub cb_eval_user_data: *mut c_void,
    pub type_k: c_int,
    pub type_v: c_int,
    pub abort_callback: *const c_void,
    pub abort_callback_data: *mut c_void,
    pub embeddings: bool,
    pub offload_kqv: bool,
    pub no_perf: bool,
    pub op_offload: bool,
    pub swa_full: bool,
    pub kv_unified: bool,
    pub samplers: *mut c_void,
    pub n_samplers: usize,
    pub ctx_other: Context,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub n_tokens: i32,
    pub token: *mut i32,
    pub embd: *mut f32,
    pub pos: *mut i32,
    pub n_seq_id: *mut i32,
    pub seq_id: *mut *mut i32,
    /// Null: output for the last token only.
    pub logits: *mut i8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct QuantizeParams {
    pub nthread: i32,
    pub ftype: c_int,
    pub output_tensor_type: c_int,
    pub token_embedding_type: c_int,
    pub allow_requantize: bool,
    pub quantize_output_tensor: bool,
    pub only_copy: bool,
    pub pure_: bool,
    pub keep_split: bool,
    pub dry_run: bool,
    pub imatrix: *const ImatrixData,
    pub kv_overrides: *const c_void,
    pub tt_overrides: *const c_void,
    pub prune_layers: *const i32,
    pub max_buf_size: usize,
}

#[repr(C)]
pub(super) struct ImatrixData {
    pub name: *const c_char,
    pub data: *const f32,
    pub size: usize,
}

/// `ggml_tensor`, as far as an evaluation callback reads it.
#[repr(C)]
pub(super) struct Tensor {
    pub type_: c_int,
    pub buffer: *mut c_void,
    pub ne: [i64; 4],
    pub nb: [usize; 4],
    pub op: c_int,
    pub op_params: [i32; 16],
    pub flags: i32,
    pub src: [*mut Tensor; 10],
    pub view_src: *mut Tensor,
    pub view_offs: usize,
    pub data: *mut c_void,
    pub name: [c_char; 64],
    pub extra: *mut c_void,
    pub padding: [u8; 8],
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<ModelParams>() == 80);
    assert!(offset_of!(ModelParams, n_gpu_layers) == 16);
    assert!(offset_of!(ModelParams, tensor_split) == 40);
    assert!(offset_of!(ModelParams, kv_overrides) == 64);
    assert!(offset_of!(ModelParams, no_alloc) == 76);
    assert!(size_of::<ContextParams>() == 160);
    assert!(offset_of!(ContextParams, flash_attn_type) == 52);
    assert!(offset_of!(ContextParams, cb_eval) == 88);
    assert!(offset_of!(ContextParams, type_v) == 108);
    assert!(offset_of!(ContextParams, kv_unified) == 133);
    assert!(offset_of!(ContextParams, ctx_other) == 152);
    assert!(size_of::<Batch>() == 56);
    assert!(offset_of!(Batch, logits) == 48);
    assert!(size_of::<QuantizeParams>() == 64);
    assert!(offset_of!(QuantizeParams, allow_requantize) == 16);
    assert!(offset_of!(QuantizeParams, imatrix) == 24);
    assert!(offset_of!(QuantizeParams, max_buf_size) == 56);
    assert!(size_of::<ImatrixData>() == 24);
    assert!(size_of::<Tensor>() == 336);
    assert!(offset_of!(Tensor, op) == 80);
    assert!(offset_of!(Tensor, src) == 152);
    assert!(offset_of!(Tensor, data) == 248);
    assert!(offset_of!(Tensor, name) == 256);
};

// The crate that is linked vendors a build with the same headers: its bindings, made from them, must agree.
#[cfg(feature = "llama-cpp-linked")]
const _: () = {
    use llama_cpp_sys_2 as sys;
    assert!(size_of::<ModelParams>() == size_of::<sys::llama_model_params>());
    assert!(offset_of!(ModelParams, load_mtp) == offset_of!(sys::llama_model_params, load_mtp));
    assert!(size_of::<ContextParams>() == size_of::<sys::llama_context_params>());
    assert!(
        offset_of!(ContextParams, ctx_other) == offset_of!(sys::llama_context_params, ctx_other)
    );
    assert!(size_of::<Batch>() == size_of::<sys::llama_batch>());
    assert!(size_of::<QuantizeParams>() == size_of::<sys::llama_model_quantize_params>());
    assert!(size_of::<Tensor>() == size_of::<sys::ggml_tensor>());
    assert!(OP_MUL_MAT_ID as i64 == sys::GGML_OP_MUL_MAT_ID as i64);
};

/// `ggml_type` ids of KV caches.
pub(super) const KV_TYPES: &[(&str, c_int)] = &[
    ("f32", 0),
    ("f16", 1),
    ("bf16", 30),
    ("q8_0", 8),
    ("q5_1", 7),
    ("q5_0", 6),
    ("q4_1", 3),
    ("q4_0", 2),
    ("iq4_nl", 20),
];
pub(super) const TYPE_F32: c_int = 0;
/// `ggml_op` of a matrix product, and of one that picks experts.
pub(super) const OP_MUL_MAT: c_int = 29;
pub(super) const OP_MUL_MAT_ID: c_int = 30;

/// `llama_load_mode`.
pub(super) const LOAD_PLAIN: c_int = 0;
pub(super) const LOAD_MMAP: c_int = 1;

/// `ggml_backend_dev_type`.
pub(super) const DEVICE_GPU: c_int = 1;
pub(super) const DEVICE_IGPU: c_int = 2;

/// `LLAMA_MAX_LAYERS` and `LLAMA_MAX_EXPERTS`: beyond them the library aborts the process.
pub(super) const MAX_LAYERS: u64 = 512;
pub(super) const MAX_EXPERTS: u64 = 1024;

macro_rules! api {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions that are used, looked up once.
        pub(super) struct Api { $(pub $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Api {
            /// Fails with the first name that is missing.
            ///
            /// # Safety
            /// `library` must be the pinned build, and stay loaded as long as the functions are used.
            pub(super) unsafe fn load(library: &libloading::Library) -> Result<Self, &'static str> {
                Ok(Self { $($name: {
                    // SAFETY: the signatures are those of the pinned build's headers.
                    *unsafe { library.get(stringify!($name)) }.map_err(|_| stringify!($name))?
                },)* })
            }

            /// The functions that are linked in, where llama.cpp was compiled into this program.
            #[cfg(feature = "llama-cpp-linked")]
            pub(super) fn linked() -> Option<Self> {
                unsafe extern "C" { $(fn $name($(_: $arg),*) $(-> $ret)?;)* }
                Some(Self { $($name,)* })
            }

            #[cfg(not(feature = "llama-cpp-linked"))]
            pub(super) fn linked() -> Option<Self> {
                None
            }
        }
    };
}

api! {
    llama_version: fn() -> *const c_char;
    llama_log_set: fn(LogCallback, *mut c_void);
    llama_backend_init: fn();
    llama_print_system_info: fn() -> *const c_char;
    llama_model_default_params: fn() -> ModelParams;
    llama_context_default_params: fn() -> ContextParams;
    llama_model_quantize_default_params: fn() -> QuantizeParams;
    llama_model_load_from_file: fn(*const c_char, ModelParams) -> Model;
    llama_model_load_from_splits: fn(*mut *const c_char, usize, ModelParams) -> Model;
    llama_model_free: fn(Model);
    llama_model_n_layer: fn(Model) -> i32;
    llama_model_has_decoder: fn(Model) -> bool;
    llama_model_has_encoder: fn(Model) -> bool;
    llama_model_get_vocab: fn(Model) -> Vocab;
    llama_vocab_n_tokens: fn(Vocab) -> i32;
    llama_tokenize: fn(Vocab, *const c_char, i32, *mut i32, i32, bool, bool) -> i32;
    llama_init_from_model: fn(Model, ContextParams) -> Context;
    llama_free: fn(Context);
    llama_n_ctx: fn(Context) -> u32;
    llama_n_batch: fn(Context) -> u32;
    llama_n_ubatch: fn(Context) -> u32;
    llama_get_memory: fn(Context) -> Memory;
    llama_memory_clear: fn(Memory, bool);
    llama_decode: fn(Context, Batch) -> i32;
    llama_synchronize: fn(Context);
    llama_get_logits_ith: fn(Context, i32) -> *mut f32;
    llama_model_quantize: fn(*const c_char, *const c_char, *const QuantizeParams) -> u32;
    llama_max_devices: fn() -> usize;
    ggml_backend_load_all_from_path: fn(*const c_char);
    ggml_backend_dev_count: fn() -> usize;
    ggml_backend_dev_get: fn(usize) -> Device;
    ggml_backend_dev_name: fn(Device) -> *const c_char;
    ggml_backend_dev_description: fn(Device) -> *const c_char;
    ggml_backend_dev_memory: fn(Device, *mut usize, *mut usize);
    ggml_backend_dev_type: fn(Device) -> c_int;
    ggml_backend_dev_backend_reg: fn(Device) -> Registry;
    ggml_backend_reg_name: fn(Registry) -> *const c_char;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_library_without_the_functions_is_refused_by_the_first_missing_name() {
        // SAFETY: the C library has no initialisers that matter, and no function of it is called.
        let missing = unsafe {
            let libc = libloading::Library::new("libc.so.6").unwrap();
            Api::load(&libc).err()
        };
        assert_eq!(missing, Some("llama_version"));
    }
}

//! The pinned library in this process: loaded once, its devices, its log.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library;

use super::{ffi, log};
use crate::backend::{BackendDevice, BackendError};
use crate::model::ProcessorKind;
use crate::runtime::{self, Installed};

/// Registry and runtime name.
pub(super) const NAME: &str = "llama.cpp";
/// The lock file's version that [`ffi`] matches, or the crate that is linked. Names what it made, too.
pub(super) const BUILD: &str = if LINKED { "llama-cpp-sys-2-0.1.161" } else { "b11434" };

/// The loaded library. Never unloaded: its worker threads would outlive it.
pub(super) struct Llama {
    pub api: ffi::Api,
    pub version: String,
    /// Instruction sets of the kernels chosen for this CPU.
    pub kernel: String,
    _libraries: Vec<Library>,
}

/// Loads the installed library, or says why not.
pub(super) fn library() -> Result<&'static Llama, BackendError> {
    static LOADED: OnceLock<Result<Llama, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(obtain);
    loaded.as_ref().map_err(|e| BackendError::Failed(e.clone()))
}

/// True where llama.cpp was compiled into this program.
pub(super) const LINKED: bool = cfg!(feature = "llama-cpp-linked");

fn obtain() -> Result<Llama, String> {
    if let Some(api) = ffi::Api::linked() {
        // SAFETY: `ffi` asserts that it matches the bindings of the crate that is linked.
        return unsafe { start(api, Vec::new(), None) };
    }
    let installed = pinned().map_err(|e| e.to_string())?;
    // SAFETY: the files are those of the pinned package, whose layout `ffi` matches.
    unsafe { load(&installed.dir) }
}

/// The directory of a build of the user's own, which is driven through its programs and not loaded.
pub(super) fn own_build() -> Option<PathBuf> {
    runtime::find(NAME).filter(|i| !i.pinned).map(|i| i.dir)
}

/// The installed package, if it is the one that the bindings match.
pub(super) fn pinned() -> Result<Installed, BackendError> {
    let hint = || format!("edge-advisor runtime install {NAME}");
    let installed =
        runtime::find(NAME).ok_or_else(|| BackendError::NotInstalled { hint: hint() })?;
    if !installed.pinned || installed.version != BUILD {
        return Err(BackendError::Failed(format!(
            "`{}` is not the pinned {BUILD}: its struct layouts may differ, so it is not loaded",
            installed.dir.display()
        )));
    }
    Ok(installed)
}

/// # Safety
/// `dir` must hold the build that [`ffi`] matches.
unsafe fn load(dir: &Path) -> Result<Llama, String> {
    let mut libraries = Vec::new();
    for stem in ["libggml-base", "libggml", "libllama"] {
        let path = file_of(dir, stem)?;
        // SAFETY: initialisers of the pinned package only.
        let library = unsafe { open_global(&path) }
            .map_err(|e| format!("cannot load `{}`: {}", path.display(), chain(&e)))?;
        libraries.push(library);
    }
    let llama = libraries.last().expect("three were loaded");
    // SAFETY: as above; the libraries are kept.
    let api = unsafe { ffi::Api::load(llama) }.map_err(|symbol| {
        format!("the library in `{}` lacks `{symbol}`: not {BUILD}", dir.display())
    })?;
    // SAFETY: as above.
    unsafe { start(api, libraries, Some(dir)) }
}

/// Loads the backends in `dir`; where llama.cpp is linked in, they are too.
///
/// # Safety
/// `api` must be the build that [`ffi`] matches, not in use yet, and stay loaded with `libraries`.
unsafe fn start(
    api: ffi::Api,
    libraries: Vec<Library>,
    dir: Option<&Path>,
) -> Result<Llama, String> {
    // SAFETY: see above.
    unsafe {
        let version = text((api.llama_version)());
        if version != ffi::LIBRARY_VERSION {
            let wanted = ffi::LIBRARY_VERSION;
            return Err(format!("the library says it is {version}, {BUILD} says {wanted}"));
        }
        (api.llama_log_set)(log::capture, std::ptr::null_mut());
        if let Some(dir) = dir {
            let dir = c_path(dir).map_err(|e| e.to_string())?;
            (api.ggml_backend_load_all_from_path)(dir.as_ptr());
        }
        if (api.ggml_backend_dev_count)() == 0 {
            return Err("the library found no device, not even a CPU".to_owned());
        }
        (api.llama_backend_init)();
        let kernel = kernel_of(&text((api.llama_print_system_info)()));
        Ok(Llama { version: format!("{BUILD} ({version})"), kernel, api, _libraries: libraries })
    }
}

/// The one file `<stem>[.flavour][.version].so`; the flavours name theirs differently.
fn file_of(dir: &Path, stem: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("`{}`: {e}", dir.display()))?;
    let fits = |name: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'));
    entries
        .filter_map(Result::ok)
        .find(|e| e.file_name().to_str().is_some_and(fits))
        .map(|e| e.path())
        .ok_or_else(|| format!("`{}` holds no {stem}", dir.display()))
}

/// Later libraries resolve against earlier ones, so their symbols must be global.
#[cfg(unix)]
unsafe fn open_global(path: &Path) -> Result<Library, libloading::Error> {
    use libloading::os::unix;
    // SAFETY: the caller vouches for the file.
    unsafe { unix::Library::open(Some(path), unix::RTLD_NOW | unix::RTLD_GLOBAL) }
        .map(Library::from)
}

#[cfg(not(unix))]
unsafe fn open_global(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: the caller vouches for the file.
    unsafe { Library::new(path) }
}

fn chain(e: &dyn std::error::Error) -> String {
    e.source().map_or_else(|| e.to_string(), |s| s.to_string())
}

/// `CPU : SSE3 = 1 | AVX2 = 1 | REPACK = 1 |` -> `cpu: SSE3 AVX2 REPACK`.
fn kernel_of(info: &str) -> String {
    let cpu = info.split("CPU :").nth(1).unwrap_or(info);
    let on = |flag: &str| flag.trim().strip_suffix("= 1").map(|name| name.trim().to_owned());
    cpu.split('|').filter_map(on).collect::<Vec<_>>().join(" ")
}

/// A C string as the library hands it out.
///
/// # Safety
/// `pointer` must be null or a terminated string.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

pub(super) fn c_path(path: &Path) -> Result<CString, BackendError> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| BackendError::Failed(format!("`{}` holds a zero byte", path.display())))
}

impl Llama {
    /// Devices in ggml's registry, as it lists them.
    pub(super) fn devices(&self) -> Vec<(ffi::Device, BackendDevice)> {
        // SAFETY: indices are below the count; strings and sizes are read at once.
        unsafe {
            (0..(self.api.ggml_backend_dev_count)())
                .map(|i| {
                    let device = (self.api.ggml_backend_dev_get)(i);
                    (device, self.describe(device))
                })
                .collect()
        }
    }

    /// # Safety
    /// `device` must come from this library.
    unsafe fn describe(&self, device: ffi::Device) -> BackendDevice {
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: see above.
        let (name, description, registry, kind) = unsafe {
            (self.api.ggml_backend_dev_memory)(device, &mut free, &mut total);
            let registry = (self.api.ggml_backend_dev_backend_reg)(device);
            (
                text((self.api.ggml_backend_dev_name)(device)),
                text((self.api.ggml_backend_dev_description)(device)),
                text((self.api.ggml_backend_reg_name)(registry)),
                (self.api.ggml_backend_dev_type)(device),
            )
        };
        let kind = match kind {
            ffi::DEVICE_GPU => ProcessorKind::DiscreteGpu,
            ffi::DEVICE_IGPU => ProcessorKind::IntegratedGpu,
            // Accelerators beside the CPU (BLAS, AMX) work on its memory.
            _ => ProcessorKind::Cpu,
        };
        let cpu = name == "CPU";
        BackendDevice {
            id: if cpu { "cpu".to_owned() } else { name },
            kind,
            name: if cpu { description } else { format!("{description} ({registry})") },
            memory_total_bytes: (total > 0).then_some(total as u64),
            memory_free_bytes: (free > 0).then_some(free as u64),
            problem: String::new(),
            alias: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_flags_are_those_switched_on() {
        let info = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | REPACK = 1 | ";
        assert_eq!(kernel_of(info), "SSE3 AVX2 REPACK");
    }

    #[test]
    fn a_directory_without_the_library_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        // SAFETY: nothing is there to load.
        let e = unsafe { load(dir.path()) }.err().unwrap();
        assert!(e.contains("libggml-base"), "{e}");
    }
}

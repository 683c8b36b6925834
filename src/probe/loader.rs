//! Loads a compute API's library and asks it how many devices it has.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};

use libloading::{Library, Symbol};

use super::host::Loader;

/// Loads `name` by the platform's rules and counts devices where we know the entry point.
pub(crate) fn load(name: &str) -> Loader {
    // SAFETY: loading a driver's library runs its constructors; it is what every user of the API does.
    let library = match unsafe { Library::new(name) } {
        Ok(library) => library,
        Err(e) => return absent_or_broken(name, &message(&e)),
    };
    let devices = if name.contains("OpenCL") {
        opencl_platforms(&library)
    } else if name.contains("libcuda") || name.contains("nvcuda") {
        cuda_devices(&library)
    } else if name.contains("ze_loader") {
        level_zero_drivers(&library)
    } else {
        None
    };
    // Drivers start threads and exit handlers: unloading them crashes some.
    std::mem::forget(library);
    Loader::Loads { devices }
}

/// The system's own words are the error's source.
fn message(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A missing file is not a fault; a file that does not load is.
fn absent_or_broken(name: &str, message: &str) -> Loader {
    let missing = ["No such file", "not found", "image not found", "cannot find", "could not find"];
    // The linker names the file it misses: another one is a dependency of a library that is there.
    let missed = message.split_once(": cannot open shared object file").map(|(file, _)| file);
    let dependency = message.contains("GLIBC") || missed.is_some_and(|file| file != name);
    if !dependency && missing.iter().any(|m| message.contains(m)) {
        return Loader::Absent;
    }
    Loader::Broken(super::parse::clean(message))
}

fn cuda_devices(library: &Library) -> Option<u32> {
    // SAFETY: signatures of the CUDA driver API, cuInit and cuDeviceGetCount.
    unsafe {
        let init: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = library.get(b"cuInit").ok()?;
        let count: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
            library.get(b"cuDeviceGetCount").ok()?;
        let mut n = 0;
        if init(0) != 0 {
            return Some(0);
        }
        (count(&raw mut n) == 0).then_some(n.max(0) as u32)
    }
}

fn opencl_platforms(library: &Library) -> Option<u32> {
    type GetPlatforms = unsafe extern "C" fn(c_uint, *mut c_void, *mut c_uint) -> c_int;
    // SAFETY: signature of clGetPlatformIDs; a null list with zero entries only counts.
    unsafe {
        let get: Symbol<GetPlatforms> = library.get(b"clGetPlatformIDs").ok()?;
        let mut n: c_uint = 0;
        // -1001: the loader is there and no driver is registered.
        match get(0, std::ptr::null_mut(), &raw mut n) {
            0 => Some(n),
            _ => Some(0),
        }
    }
}

fn level_zero_drivers(library: &Library) -> Option<u32> {
    // SAFETY: signatures of zeInit and zeDriverGet; a null list only counts.
    unsafe {
        let init: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = library.get(b"zeInit").ok()?;
        let get: Symbol<unsafe extern "C" fn(*mut c_uint, *mut c_void) -> c_int> =
            library.get(b"zeDriverGet").ok()?;
        let mut n: c_uint = 0;
        if init(0) != 0 {
            return Some(0);
        }
        (get(&raw mut n, std::ptr::null_mut()) == 0).then_some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_absent() {
        assert_eq!(load("libedge_advisor_no_such.so.1"), Loader::Absent);
    }

    #[test]
    fn a_library_that_needs_a_newer_libc_is_broken_not_absent() {
        let message = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by libcuda.so.1)";
        assert!(matches!(absent_or_broken("libcuda.so.1", message), Loader::Broken(_)));
        let message =
            "libamd_comgr.so.2: cannot open shared object file: No such file or directory";
        assert!(matches!(absent_or_broken("libamdhip64.so", message), Loader::Broken(_)));
    }
}

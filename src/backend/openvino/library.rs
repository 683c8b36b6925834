//! The library in this process: found, loaded by path, its version checked, its devices.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use openvino::{Core, DeviceType, InferenceError, PropertyKey};

use crate::backend::{BackendDevice, BackendError};
use crate::model::ProcessorKind;
use crate::runtime;

/// Registry and runtime name.
pub(super) const NAME: &str = "openvino";

/// Where the library is: an installed runtime's own directory, else those of Intel's archives and of the wheel.
const PLACES: &[&str] = &[
    "",
    "openvino/libs",
    "libs",
    "runtime/lib/intel64",
    "runtime/lib/aarch64",
    "runtime/lib/arm64/Release",
    "runtime/bin/intel64/Release",
];

/// The C library under `dir`; its name carries the version on Linux and macOS.
pub(super) fn find_library(dir: &Path) -> Result<PathBuf, String> {
    let fits = |name: &str| name.starts_with("libopenvino_c.") || name == "openvino_c.dll";
    let found = PLACES.iter().find_map(|place| {
        let entries = std::fs::read_dir(dir.join(place)).ok()?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .filter(|e| e.file_name().to_str().is_some_and(fits))
            .map(|e| e.path())
            .collect();
        found.sort();
        found.pop()
    });
    found.ok_or_else(|| format!("`{}` holds no OpenVINO C library", dir.display()))
}

/// Loads the library once and returns its version, or says why not.
pub(super) fn version() -> Result<&'static str, BackendError> {
    static LOADED: OnceLock<Result<String, String>> = OnceLock::new();
    let installed = runtime::find(NAME).ok_or_else(|| BackendError::NotInstalled {
        hint: format!("edge-advisor runtime install {NAME}"),
    })?;
    let loaded = LOADED.get_or_init(|| {
        let version = load(&find_library(&installed.dir)?)?;
        let pinned = format!("{}-", installed.version);
        if installed.pinned && !version.starts_with(&pinned) {
            return Err(format!(
                "the library says it is {version}, pinned is {}",
                installed.version
            ));
        }
        Ok(version)
    });
    loaded.as_ref().map(String::as_str).map_err(|e| BackendError::Failed(e.clone()))
}

/// Loads `path` and returns the version it reports. Versions before 2025.1 are refused: their types have other numbers.
fn load(path: &Path) -> Result<String, String> {
    // The crate panics where the library lacks a function or numbers its version otherwise.
    let loaded = std::panic::catch_unwind(|| {
        openvino_sys::library::load_from(path)?;
        Ok(openvino::version().build_number)
    });
    loaded.unwrap_or_else(|_| Err(format!("`{}` is not OpenVINO's C library", path.display())))
}

/// A core of the loaded library.
pub(super) fn core() -> Result<Core, BackendError> {
    version()?;
    Core::new().map_err(|e| BackendError::failed("OpenVINO does not start", e))
}

/// The parts of an error that say something: without the places in OpenVINO's source it was passed through.
pub(super) fn reason(e: &InferenceError) -> String {
    let text = e.message.clone().unwrap_or_else(|| e.kind.to_string());
    let says = |l: &&str| !l.is_empty() && !l.starts_with("Exception from ");
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(says).collect();
    lines.dedup();
    let text = if lines.is_empty() { e.kind.to_string() } else { lines.join("; ") };
    text.chars().take(600).collect()
}

/// An error of the library as ours.
pub(super) fn failed(context: &str, e: &InferenceError) -> BackendError {
    let why = reason(e);
    let lower = why.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["bad_alloc", "out of memory", "not enough memory", "failed to allocate"]) {
        return BackendError::OutOfMemory(format!("{context}: {why}"));
    }
    if has(&[
        "not supported",
        "unsupported",
        "is not implemented",
        "no translator",
        "not implemented",
    ]) {
        return BackendError::Unsupported(format!("{context}: {why}"));
    }
    BackendError::Failed(format!("{context}: {why}"))
}

/// What OpenVINO calls a device that the command line calls `cpu`.
pub(super) fn device_name(wanted: &str) -> String {
    wanted.to_ascii_uppercase()
}

/// A property as text; `None` where the device has no such property or cannot be asked.
pub(super) fn property(core: &Core, device: &str, key: &'static str) -> Option<String> {
    core.get_property(&DeviceType::from(device), &PropertyKey::Other(key.into())).ok()
}

/// Every device that OpenVINO knows, those that lack a driver with what is missing.
pub(super) fn devices() -> Result<Vec<BackendDevice>, BackendError> {
    let core = core()?;
    let present = core.available_devices().map_err(|e| failed("cannot list devices", &e))?;
    let present: Vec<String> = present.iter().map(ToString::to_string).collect();
    let mut devices: Vec<BackendDevice> = present.iter().map(|d| describe(&core, d)).collect();
    for (device, kind) in [("GPU", ProcessorKind::IntegratedGpu), ("NPU", ProcessorKind::Npu)] {
        if !present.iter().any(|p| p.starts_with(device)) {
            devices.push(BackendDevice { problem: missing(&core, device), ..blank(device, kind) });
        }
    }
    let auto = blank("AUTO", ProcessorKind::Cpu);
    let name = "the best of those above, chosen at load".into();
    devices.push(BackendDevice { name, alias: true, ..auto });
    Ok(devices)
}

fn blank(id: &str, kind: ProcessorKind) -> BackendDevice {
    BackendDevice {
        id: id.to_owned(),
        kind,
        name: id.to_owned(),
        memory_total_bytes: None,
        memory_free_bytes: None,
        problem: String::new(),
        alias: false,
    }
}

fn describe(core: &Core, device: &str) -> BackendDevice {
    let ask = |key| property(core, device, key);
    let kind = match device.split('.').next() {
        Some("GPU") if ask("DEVICE_TYPE").is_some_and(|t| t.eq_ignore_ascii_case("discrete")) => {
            ProcessorKind::DiscreteGpu
        }
        Some("GPU") => ProcessorKind::IntegratedGpu,
        Some("NPU") => ProcessorKind::Npu,
        _ => ProcessorKind::Cpu,
    };
    let name = ask("FULL_DEVICE_NAME").unwrap_or_else(|| device.to_owned());
    let can = ask("OPTIMIZATION_CAPABILITIES").unwrap_or_default();
    let total = ask("GPU_DEVICE_TOTAL_MEM_SIZE").or_else(|| ask("NPU_DEVICE_TOTAL_MEM_SIZE"));
    BackendDevice {
        name: format!("{} ({})", name.trim(), can.trim()),
        memory_total_bytes: total.and_then(|t| t.parse().ok()),
        ..blank(if device == "CPU" { "cpu" } else { device }, kind)
    }
}

/// Why a device that has a plugin is not among those present.
fn missing(core: &Core, device: &str) -> String {
    let key = PropertyKey::AvailableDevices;
    match core.get_property(&DeviceType::from(device), &key) {
        Err(e) => {
            let why = reason(&e);
            // `Cannot load library "...plugin.so": libOpenCL.so.1: cannot open ...`
            let missing =
                why.rsplit_once("\": ").map(|(_, m)| format!("its plugin does not load: {m}"));
            missing.unwrap_or(why)
        }
        Ok(_) => "its plugin finds no device: none is here, or its driver is not installed".into(),
    }
}

#[cfg(test)]
mod tests {
    use openvino::InferenceErrorKind;

    use super::*;

    #[test]
    fn errors_keep_what_says_something_and_get_their_kind() {
        let e = |text: &str| InferenceError {
            kind: InferenceErrorKind::GeneralError,
            message: Some(text.to_owned()),
        };
        let gpu = e("Exception from src/inference/src/cpp/core.cpp:268:\n\
            Cannot load library \"libx.so\": libOpenCL.so.1: cannot open\n\n");
        assert_eq!(reason(&gpu), "Cannot load library \"libx.so\": libOpenCL.so.1: cannot open");
        assert!(matches!(failed("c", &e("std::bad_alloc")), BackendError::OutOfMemory(_)));
        let e = failed("c", &e("Operation Foo is not supported"));
        assert!(matches!(e, BackendError::Unsupported(_)));
    }

    #[test]
    fn a_directory_without_the_library_and_a_file_that_is_none_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find_library(dir.path()).unwrap_err().contains("holds no OpenVINO"));
        let file = dir.path().join("libopenvino_c.so.1");
        std::fs::write(&file, "not a library").unwrap();
        assert_eq!(find_library(dir.path()), Ok(file.clone()));
        assert!(load(&file).unwrap_err().contains("libopenvino_c.so.1"));
    }
}

//! Finds ONNX Runtime's library, looks at its version before it is loaded, and loads it once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::providers;
use crate::backend::BackendError;
use crate::runtime;

/// Registry and runtime name.
pub(super) const NAME: &str = "onnxruntime";

/// A library on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    /// `1.32.0`; `None` where no file says it.
    pub version: Option<String>,
}

impl Found {
    /// Some older libraries abort the process when they are asked for a newer API: they are never loaded.
    pub(super) fn check(&self) -> Result<(), String> {
        let minor = |v: &str| {
            let mut parts = v.split('.').map(str::parse::<u32>);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        };
        let oldest = (1, ort::MINOR_VERSION);
        match self.version.as_deref().and_then(minor) {
            Some(version) if version < oldest => Err(format!(
                "`{}` is version {}, too old: 1.{} or newer is needed",
                self.path.display(),
                self.version.as_deref().unwrap_or("?"),
                ort::MINOR_VERSION
            )),
            // Unknown is left to the binding, which asks the library itself before anything else.
            _ => Ok(()),
        }
    }
}

/// The library to use: a directory of the user's, the installed one, then one in the active Python environment.
pub(super) fn find() -> Option<Found> {
    if let Some(installed) = runtime::find(NAME) {
        let mut found = in_dir(&installed.dir)?;
        if installed.pinned {
            found.version = Some(installed.version);
        }
        return Some(found);
    }
    ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .filter_map(std::env::var_os)
        .find_map(|dir| in_dir(Path::new(&dir)))
}

/// The library in a directory: there, in its `lib` or `capi`, or in the packages of a Python environment.
fn in_dir(dir: &Path) -> Option<Found> {
    let mut places = vec![dir.to_owned(), dir.join("lib"), dir.join("bin"), dir.join("capi")];
    let package = |packages: PathBuf| packages.join("onnxruntime").join("capi");
    places.push(package(dir.join("Lib").join("site-packages")));
    let versions = std::fs::read_dir(dir.join("lib")).into_iter().flatten().filter_map(Result::ok);
    places.extend(
        versions
            .filter(|e| e.file_name().to_string_lossy().starts_with("python"))
            .map(|e| package(e.path().join("site-packages"))),
    );
    let path = places.iter().find_map(|place| library_in(place))?;
    let version = version_of(&path);
    Some(Found { path, version })
}

fn library_in(dir: &Path) -> Option<PathBuf> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(is_library) && p.is_file())
        .collect();
    names.sort();
    names.pop()
}

/// `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`; not the providers beside it.
fn is_library(name: &str) -> bool {
    let (prefix, ending) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    name.strip_prefix(prefix)
        .and_then(|n| n.strip_prefix("onnxruntime."))
        .is_some_and(|rest| format!(".{rest}").contains(ending))
}

/// The version in the file's own name, or in that of the wheel's metadata beside the package.
fn version_of(library: &Path) -> Option<String> {
    let real = library.canonicalize().ok()?;
    let name = real.file_name()?.to_str()?;
    let digits = |text: &str| -> Option<String> {
        let text = text.trim_matches(|c: char| !c.is_ascii_digit());
        let dotted =
            text.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        (dotted && text.contains('.')).then(|| text.to_owned())
    };
    let own = name.split_once("onnxruntime.").and_then(|(_, rest)| digits(rest));
    own.or_else(|| {
        let packages = real.ancestors().nth(3)?;
        let names = std::fs::read_dir(packages)
            .ok()?
            .filter_map(|e| e.ok()?.file_name().into_string().ok());
        names
            .filter(|n| n.ends_with(".dist-info"))
            .find_map(|n| digits(n.strip_prefix("onnxruntime-")?.strip_suffix(".dist-info")?))
    })
}

/// The loaded library.
pub(super) struct Runtime {
    pub environment: Environment,
    pub version: String,
    /// Plugin execution providers that could not be registered, with the reason.
    pub problems: Vec<(String, String)>,
}

/// Loads the library, or says why not. Inside a worker only.
pub(super) fn load() -> Result<&'static Runtime, BackendError> {
    static LOADED: OnceLock<Result<Runtime, String>> = OnceLock::new();
    if find().is_none() {
        return Err(BackendError::NotInstalled {
            hint: format!("edge-advisor runtime install {NAME}"),
        });
    }
    let loaded = LOADED.get_or_init(|| {
        let found = find().ok_or("the library is gone")?;
        found.check()?;
        let text =
            |e: &dyn std::fmt::Display| format!("cannot load `{}`: {e}", found.path.display());
        let environment = ort::init_from(&found.path)
            .map_err(|e| text(&e))?
            .with_name("edge-advisor")
            .with_telemetry(false)
            .build()
            .map_err(|e| text(&e))?;
        environment.set_log_level(LogLevel::Error);
        let problems = providers::register_plugins(&environment);
        let version = found.version.unwrap_or_else(|| "unknown".to_owned());
        Ok(Runtime { environment, version, problems })
    });
    loaded.as_ref().map_err(|e: &String| BackendError::Failed(e.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_is_found_with_its_version_where_packages_put_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(in_dir(dir.path()), None);
        let capi = dir.path().join("lib/python3.12/site-packages/onnxruntime/capi");
        touch(&capi.join("libonnxruntime_providers_shared.so"));
        assert_eq!(in_dir(dir.path()), None);
        touch(&capi.join("libonnxruntime.so.1.22.1"));
        let found = in_dir(dir.path()).unwrap();
        assert_eq!(found.version.as_deref(), Some("1.22.1"));
        assert!(found.check().unwrap_err().contains("too old"));
        let plain = tempfile::tempdir().unwrap();
        touch(&plain.path().join("lib/libonnxruntime.so"));
        let found = in_dir(plain.path()).unwrap();
        assert_eq!((found.version.clone(), found.check()), (None, Ok(())));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let found = |v: &str| Found { path: "x".into(), version: Some(v.into()) };
        for (version, fits) in [
            ("1.9.0", false),
            ("1.22.1", false),
            ("1.24.0", true),
            ("1.32.0", true),
            ("2.0.0", true),
        ] {
            assert_eq!(found(version).check().is_ok(), fits, "{version}");
        }
    }
}

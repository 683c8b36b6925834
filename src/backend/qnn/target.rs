//! Which processor a QNN library reaches on this machine. That the provider registers proves nothing: it does on any
//! host. Only the probe knows of a Hexagon NPU.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::backend::BackendError;
use crate::model::{ComputeApi, Device, ProcessorKind};

/// QNN's backends by the library that is loaded. The Saver is none: it writes calls to a file and returns garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    Htp,
    Gpu,
    Cpu,
}

impl Library {
    pub(super) fn name(self) -> &'static str {
        match self {
            Library::Htp => "htp",
            Library::Gpu => "gpu",
            Library::Cpu => "cpu",
        }
    }

    fn stem(self) -> &'static str {
        match self {
            Library::Htp => "QnnHtp",
            Library::Gpu => "QnnGpu",
            Library::Cpu => "QnnCpu",
        }
    }

    /// Its file among the installed ones.
    pub(super) fn find(self, dir: &Path) -> Result<PathBuf, BackendError> {
        let (prefix, ending) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let name = format!("{prefix}{}{ending}", self.stem());
        find_file(dir, &name, 5).ok_or_else(|| {
            BackendError::Unsupported(format!("`{}` holds no {name}", dir.display()))
        })
    }
}

/// A file of that name, at most `depth` directories down.
pub(super) fn find_file(dir: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let direct = dir.join(name);
    if direct.is_file() {
        return Some(direct);
    }
    let inner = std::fs::read_dir(dir).ok()?.filter_map(|e| Some(e.ok()?.path()));
    inner.filter(|p| depth > 0 && p.is_dir()).find_map(|p| find_file(&p, name, depth - 1))
}

/// What does the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The NPU, with its HTP architecture where the probe knows it (`75`).
    Npu {
        htp_arch: Option<u32>,
    },
    Gpu,
    Cpu,
    /// A host computes what an NPU would: answers count, times do not.
    Simulator,
}

/// What `library` reaches on `device`; an error says why nothing.
pub(super) fn target(library: Library, device: &Device) -> Result<Target, BackendError> {
    let qualcomm = |kind: ProcessorKind| {
        let fits = |p: &&crate::model::Processor| {
            p.kind == kind
                && (p.apis.contains(&ComputeApi::Qnn) || p.vendor.eq_ignore_ascii_case("qualcomm"))
        };
        device.processors.iter().find(fits)
    };
    let x86 = matches!(device.cpu.arch.as_str(), "x86_64" | "x86");
    match library {
        Library::Cpu => Ok(Target::Cpu),
        Library::Htp if x86 => Ok(Target::Simulator),
        Library::Htp => qualcomm(ProcessorKind::Npu)
            .map(|npu| Target::Npu { htp_arch: htp_arch(&npu.architecture) })
            .ok_or_else(|| absent("Hexagon NPU")),
        Library::Gpu => qualcomm(ProcessorKind::IntegratedGpu)
            .map(|_| Target::Gpu)
            .ok_or_else(|| absent("Adreno GPU")),
    }
}

fn absent(what: &str) -> BackendError {
    BackendError::Unsupported(format!(
        "the probe finds no {what} here; that QNN's provider registers is no proof of one"
    ))
}

/// `hexagon-v75` is architecture 75.
fn htp_arch(architecture: &str) -> Option<u32> {
    architecture.strip_prefix("hexagon-v")?.parse().ok()
}

/// A SoC as QNN numbers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Soc {
    pub name: String,
    pub soc_model: u32,
    pub htp_arch: u32,
    pub vtcm_mb: u32,
}

/// The SoC of that name (`SM8650`), for compiling context binaries for it elsewhere.
pub(super) fn soc(name: &str) -> Result<Soc, String> {
    #[derive(Deserialize)]
    struct Table {
        soc: Vec<Soc>,
    }
    let text = include_str!("../../../profiles/qnn_socs.toml");
    let table: Table = toml::from_str(text).expect("embedded table is tested");
    let known: Vec<String> = table.soc.iter().map(|s| s.name.clone()).collect();
    let found = table.soc.into_iter().find(|s| s.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("one of {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Processor;
    use crate::probe;

    fn device(arch: &str, processors: Vec<Processor>) -> Device {
        let mut device =
            probe::run(&probe::LiveHost::new(), probe::ProbeOptions::default()).device();
        device.cpu.arch = arch.to_owned();
        device.processors = processors;
        device
    }

    fn npu() -> Processor {
        let text = r#"{"id": "npu0", "kind": "npu", "vendor": "Qualcomm", "name": "Hexagon",
            "architecture": "hexagon-v75", "apis": ["qnn"]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_a_probed_npu_is_an_npu_and_x86_simulates() {
        let phone = device("aarch64", vec![npu()]);
        assert_eq!(target(Library::Htp, &phone).unwrap(), Target::Npu { htp_arch: Some(75) });
        assert_eq!(target(Library::Htp, &device("x86_64", vec![])).unwrap(), Target::Simulator);
        // Even beside a probed NPU, an x86 library is the simulator.
        assert_eq!(
            target(Library::Htp, &device("x86_64", vec![npu()])).unwrap(),
            Target::Simulator
        );
        let bare = device("aarch64", vec![]);
        let why = target(Library::Htp, &bare).unwrap_err().to_string();
        assert!(why.contains("no Hexagon NPU"), "{why}");
        assert!(target(Library::Gpu, &bare).unwrap_err().to_string().contains("Adreno"));
        assert_eq!(target(Library::Cpu, &bare).unwrap(), Target::Cpu);
    }

    #[test]
    fn a_soc_is_found_by_name_and_an_unknown_one_is_answered_with_those_that_are() {
        assert_eq!(soc("sm8650").unwrap().htp_arch, 75);
        assert!(soc("SM9999").unwrap_err().contains("SM8750"));
    }

    #[test]
    fn a_library_is_found_below_its_package_or_named_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let e = Library::Htp.find(dir.path()).unwrap_err().to_string();
        assert!(e.contains("QnnHtp"), "{e}");
        let name =
            format!("{}QnnHtp{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let inner = dir.path().join("onnxruntime_qnn/lib");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join(&name), b"").unwrap();
        assert_eq!(Library::Htp.find(dir.path()).unwrap(), inner.join(name));
    }
}

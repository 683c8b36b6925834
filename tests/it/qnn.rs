//! QNN without its package: consent, what is missing and said so, and the real thing where a user has installed it.

use std::path::{Path, PathBuf};

use edge_advisor::backend::{self, Availability, BackendError, PrepareRequest};
use edge_advisor::model::{CaseOutcome, FindingKind, Metric, Precision};
use edge_advisor::runtime;

use crate::support::{edge_advisor, only_record};

#[test]
fn nothing_is_fetched_before_the_licence_is_accepted() {
    let data = tempfile::tempdir().unwrap();
    let out = edge_advisor()
        .args(["runtime", "install", "qnn"])
        .env("EDGE_ADVISOR_DATA_DIR", data.path())
        // Nobody listens there: asking it anything would be another error.
        .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(3), "{text}");
    for wanted in ["vendor's licence", "pypi.org/project/onnxruntime-qnn", "--accept-licence"] {
        assert!(text.contains(wanted), "{text}");
    }
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn accepting_fetches_the_pinned_file_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let out = edge_advisor()
        .args(["runtime", "install", "qnn", "--accept-license"])
        .env("EDGE_ADVISOR_DATA_DIR", data.path())
        .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    // Consent given, the next thing is the network, which is not there.
    assert_eq!(out.status.code(), Some(3), "{text}");
    assert!(text.contains("127.0.0.1:9") && !text.contains("vendor's licence:"), "{text}");
}

/// A graph of one Relu over a picture of `[1, 3, 64, 64]`, written by hand: protobuf fields are (number << 3 | kind), length, content.
fn write_model(path: &Path) {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, content.len() as u8];
        out.extend(content);
        out
    }
    let dims = [1, 3, 64, 64].map(|n| field(1, &[8, n])).concat();
    let tensor = [vec![8, 1], field(2, &dims)].concat();
    let port = |name: &str| [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(3, b"r"), field(4, b"Relu")].concat();
    let graph =
        [field(1, &node), field(2, b"g"), field(11, &port("x")), field(12, &port("y"))].concat();
    let opset = [field(1, b""), vec![16, 17]].concat();
    let model = [vec![8, 8], field(7, &graph), field(8, &opset)].concat();
    std::fs::write(path, model).unwrap();
}

fn suite(dir: &Path, model: &Path, devices: &str) -> PathBuf {
    let path = dir.join("graph.toml");
    let text = format!(
        "name = 'graph'\nprotocol = 'quick'\n[[group]]\nmodels = [{:?}]\nbackends = ['qnn', 'null']\n\
         precisions = ['F16', 'F32']\ndevices = [{devices}]\nworkloads = [{{ kind = 'infer', batch = 1 }}]\n",
        model.display().to_string()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Benches a tiny graph on QNN with `dir` as its installation.
fn bench(dir: &Path, devices: &str) -> Vec<edge_advisor::record::CaseRecord> {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("relu.onnx");
    write_model(&model);
    let out = scratch.path().join("out");
    let run = edge_advisor()
        .args(["bench", "--quiet", "--allow-invalid", "--seed", "1", "--max-foreign-cpus", "1000"])
        .arg("--suite")
        .arg(suite(scratch.path(), &model, devices))
        .arg("--out")
        .arg(&out)
        .env(runtime::override_variable("qnn"), dir)
        .output()
        .unwrap();
    assert!(out.exists(), "{}", String::from_utf8_lossy(&run.stderr));
    let cases = only_record(&out).cases;
    cases.into_iter().filter(|c| c.case.backend == "qnn").collect()
}

#[test]
fn an_installation_without_the_provider_is_one_reason() {
    let empty = tempfile::tempdir().unwrap();
    for case in bench(empty.path(), "'htp'") {
        let why = case.outcome.reason();
        assert!(matches!(case.outcome, CaseOutcome::Unsupported { .. }), "{:?}", case.outcome);
        assert!(why.contains("onnxruntime_providers_qnn"), "{why}");
    }
}

#[test]
fn precisions_are_what_the_file_s_own_types_say() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("relu.onnx");
    write_model(&model);
    let qnn = backend::find("qnn").unwrap();
    let prepare = |source: &Path, precision| {
        qnn.prepare(PrepareRequest {
            model: "relu",
            source,
            precision,
            cache: &dir.path().join("cache"),
            corpus: None,
            inputs: None,
            progress: &mut |_, _| (),
        })
    };
    let variant = prepare(&model, Precision::F16).unwrap();
    assert_eq!((variant.path, variant.made_by.as_str()), (model.clone(), "source"));
    let refused = |source: &Path, precision| match prepare(source, precision) {
        Err(BackendError::Unsupported(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&model, Precision::A8W8).contains("not quantized"));
    let text = dir.path().join("model.gguf");
    std::fs::write(&text, b"GGUF").unwrap();
    assert!(refused(&text, Precision::F16).contains("QNN takes ONNX files"));
}

/// Only where a user has installed the package and with it accepted its licence.
#[test]
fn the_real_provider_runs_where_a_user_has_installed_it() {
    let qnn = backend::find("qnn").unwrap();
    let Availability::Ready { .. } = qnn.availability() else {
        eprintln!("skipped: QNN's package is not installed, and no test installs it");
        return;
    };
    let dir = runtime::find("qnn").unwrap().dir;
    for case in bench(&dir, "'htp'") {
        assert_eq!(case.outcome, CaseOutcome::Completed, "{:?}", case.findings);
        if cfg!(target_arch = "x86_64") {
            assert!(case.findings.iter().any(|f| f.kind == FindingKind::Simulated));
            assert!(case.samples(Metric::LatencyNs).is_empty());
        }
    }
}

/// ONNX Runtime's devices as `runtime doctor` lists them (id, problem), with `dir` as QNN's installation; `None` with a
/// note where ONNX Runtime is not installed.
#[cfg(target_arch = "x86_64")]
fn listed(dir: &Path) -> Option<Vec<(String, String)>> {
    let host = backend::find("onnxruntime").expect("registered");
    if !host.availability().is_ready() {
        let why = format!("onnxruntime: {:?}; tests/run installs it", host.availability());
        assert!(std::env::var("CI").is_err(), "{why}");
        eprintln!("skipped: {why}");
        return None;
    }
    let out = edge_advisor()
        .args(["runtime", "doctor", "onnxruntime", "--format", "json"])
        .env(runtime::override_variable("qnn"), dir)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let devices = answer[0]["devices"]["devices"].as_array().expect("devices").clone();
    let text = |d: &serde_json::Value, key: &str| d[key].as_str().unwrap_or("").to_owned();
    Some(devices.iter().map(|d| (text(d, "id"), text(d, "problem"))).collect())
}

#[cfg(target_arch = "x86_64")]
fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_provider_that_is_no_library_is_named_with_the_loader_s_reason() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["onnxruntime_providers_qnn", "QnnHtp"] {
        std::fs::write(dir.path().join(library(name)), b"not a library").unwrap();
    }
    let Some(found) = listed(dir.path()) else { return };
    let (_, problem) = found.iter().find(|(id, _)| id == "qnn").expect("listed with its problem");
    assert!(problem.contains("onnxruntime_providers_qnn"), "{problem}");
    for case in bench(dir.path(), "'htp'") {
        let why = case.outcome.reason();
        assert!(why.contains("cannot be registered"), "{why}");
    }
}

/// The WebGPU plugin, which anyone may use, takes the place of Qualcomm's: found, registered and asked for devices by the
/// same code. Neither is on this processor.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_freely_licensed_plugin_goes_the_same_way() {
    let Some(webgpu) = runtime::find("onnxruntime-ep-webgpu") else {
        assert!(std::env::var("CI").is_err(), "tests/run installs onnxruntime-ep-webgpu");
        eprintln!("skipped: onnxruntime-ep-webgpu is not installed");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("onnxruntime_qnn");
    std::fs::create_dir(&inner).unwrap();
    let real = webgpu.dir.join(library("onnxruntime_providers_webgpu"));
    std::fs::copy(real, inner.join(library("onnxruntime_providers_qnn"))).unwrap();
    std::fs::write(inner.join(library("QnnHtp")), b"").unwrap();
    let Some(found) = listed(dir.path()) else { return };
    assert!(found.iter().all(|(_, problem)| problem.is_empty()), "registered: {found:?}");
    assert!(found.iter().any(|(id, _)| id == "cpu"), "{found:?}");
    for case in bench(dir.path(), "'htp'") {
        let why = case.outcome.reason();
        assert!(why.contains("offers no device"), "{why}");
    }
}

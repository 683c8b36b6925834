//! OpenVINO on real files: the pinned library, variants made by its tools, and what must end in one reason.

use std::path::{Path, PathBuf};

use edge_advisor::backend::{
    self, Backend, BackendError, GraphSession, OpenRequest, PrepareRequest, Session, TextSession,
};
#[cfg(unix)]
use edge_advisor::model::CaseOutcome;
use edge_advisor::model::{Precision, Tensor, TensorData, Variant, Workload};
use edge_advisor::{catalog, dirs, runtime};

use predicates::prelude::*;

use crate::sessions::{TOKENS, all_logits, as_it_is, best, probabilities};
use crate::support::edge_advisor;
#[cfg(unix)]
use crate::support::only_record;

/// The backend where its library is installed; with `tools` also the real model and what converts it. `None` with a
/// note where something is missing.
fn installed(tools: bool) -> Option<(&'static dyn Backend, PathBuf)> {
    let backend = backend::find("openvino").expect("registered");
    let model = catalog::resolve_model("smollm2-135m").map(|m| m.path).unwrap_or_default();
    let whole = !tools || (model.is_file() && runtime::python_env("openvino-tools").is_some());
    if backend.availability().is_ready() && whole {
        return Some((backend, model));
    }
    let why = format!("openvino: {:?}; tests/run installs what is needed", backend.availability());
    assert!(std::env::var("CI").is_err(), "{why}");
    eprintln!("skipped: {why}");
    None
}

fn make(
    backend: &dyn Backend,
    source: &Path,
    precision: Precision,
    cache: &Path,
) -> Result<Variant, BackendError> {
    backend.prepare(PrepareRequest {
        model: "m",
        source,
        precision,
        cache,
        corpus: None,
        inputs: None,
        progress: &mut |_, _| (),
    })
}

/// The real model at a precision; made once and kept.
fn real(backend: &dyn Backend, model: &Path, precision: Precision) -> Variant {
    make(backend, model, precision, &dirs::cache().join("variants")).unwrap()
}

fn request(variant: Variant, workload: Workload, options: &[(&str, &str)]) -> OpenRequest {
    OpenRequest {
        variant,
        device: "cpu".into(),
        threads: 2,
        workload,
        context: 64,
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

const GENERATE: Workload = Workload::Generate { prompt: 32, decode: 8, depth: 0 };
const INFER: Workload = Workload::Infer { batch: 2, length: 0 };

fn open_text(
    backend: &dyn Backend,
    variant: Variant,
    options: &[(&str, &str)],
) -> Result<Box<dyn TextSession>, BackendError> {
    match backend.open(&request(variant, GENERATE, options))? {
        Session::Text(session) => Ok(session),
        _ => panic!("a text session"),
    }
}

fn open_graph(
    backend: &dyn Backend,
    variant: Variant,
) -> Result<Box<dyn GraphSession>, BackendError> {
    match backend.open(&request(variant, INFER, &[]))? {
        Session::Graph(session) => Ok(session),
        _ => panic!("a graph session"),
    }
}

/// Half the sum of the differences of two distributions.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let (p, q) = (probabilities(a), probabilities(b));
    p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

#[test]
fn prefill_decode_and_logits_agree_and_repeat_after_a_reset() {
    let Some((backend, model)) = installed(true) else { return };
    let mut s = open_text(backend, real(backend, &model, Precision::F16), &[]).unwrap();
    assert_eq!(s.vocabulary(), 49152);
    let rows = all_logits(s.as_mut(), TOKENS);
    assert_eq!(rows.len(), TOKENS.len());
    let greedy = |s: &mut dyn TextSession| {
        s.reset().unwrap();
        let mut tokens = vec![s.prefill(TOKENS).unwrap()];
        for _ in 0..7 {
            tokens.push(s.decode(*tokens.last().unwrap()).unwrap());
        }
        tokens
    };
    let first = greedy(s.as_mut());
    assert_eq!(first[0], best(&rows[TOKENS.len() - 1]));
    assert_eq!(first, greedy(s.as_mut()));
    assert!(s.decode(60_000).is_err() && s.prefill(&[]).is_err());
    assert!(s.prefill(&[1, 2, 3]).is_ok(), "an error leaves the session usable");
    let facts = s.facts();
    assert_eq!(facts.path, "library");
    assert!(facts.version.starts_with("2026.4.1-"), "{}", facts.version);
    assert!(facts.weight_bytes.is_some_and(|b| b > 250 << 20), "{facts:?}");
    assert_eq!(facts.settings["KV_CACHE_PRECISION"], "f16");
    assert_eq!(facts.settings["INFERENCE_NUM_THREADS"], "2");
    assert!(facts.settings.contains_key("DYNAMIC_QUANTIZATION_GROUP_SIZE"), "{facts:?}");
    assert!(facts.placement["cpu"] > 1000, "{facts:?}");
}

#[test]
fn the_embedded_engine_and_openvino_agree_on_the_same_weights() {
    let Some((backend, model)) = installed(true) else { return };
    let Some(candle) = backend::find("candle") else { return };
    let mut ours = open_text(candle, real(candle, &model, Precision::F16), &[]).unwrap();
    let reference = all_logits(ours.as_mut(), TOKENS);
    let mut s = open_text(backend, real(backend, &model, Precision::F32), &[]).unwrap();
    assert_eq!(s.facts().settings["INFERENCE_PRECISION_HINT"], "f32");
    let rows = all_logits(s.as_mut(), TOKENS);
    let worst = rows.iter().zip(&reference).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
    assert!(worst < 0.02, "total variation {worst}");
}

#[test]
fn a_precision_that_the_processor_lacks_is_refused_rather_than_mislabelled() {
    let Some((backend, model)) = installed(true) else { return };
    let cpu = backend.devices().unwrap().into_iter().find(|d| d.id == "cpu").expect("a CPU");
    let variant = real(backend, &model, Precision::BF16);
    assert_eq!(variant.types[0].dtype, "bf16");
    match open_text(backend, variant, &[]) {
        Ok(s) => assert_eq!(s.facts().settings["INFERENCE_PRECISION_HINT"], "bf16"),
        Err(e) => {
            assert!(!cpu.name.contains("BF16"), "{}", cpu.name);
            assert!(matches!(&e, BackendError::Unsupported(t) if t.contains("bf16")), "{e}");
        }
    }
}

#[test]
fn groups_that_do_not_divide_the_rows_are_replaced_and_reported() {
    let Some((backend, model)) = installed(true) else { return };
    let made = real(backend, &model, Precision::Int4SymG128);
    // 576 columns are no multiple of 128.
    assert!(made.fallbacks.iter().any(|f| f.starts_with("G128 -> G64: ")), "{:?}", made.fallbacks);
    assert!(made.types.iter().any(|t| t.dtype == "i4"), "{:?}", made.types);
    assert!((4.0..6.0).contains(&made.bits_per_weight), "{}", made.bits_per_weight);
    assert_eq!(made.source_type, "Q4_1");
    let when = std::fs::metadata(&made.path).unwrap().modified().unwrap();
    assert_eq!(real(backend, &model, Precision::Int4SymG128), made);
    assert_eq!(std::fs::metadata(&made.path).unwrap().modified().unwrap(), when);
    let mut wide = open_text(backend, real(backend, &model, Precision::F16), &[]).unwrap();
    let mut narrow = open_text(backend, made, &[]).unwrap();
    let (a, b) = (all_logits(wide.as_mut(), TOKENS), all_logits(narrow.as_mut(), TOKENS));
    let same = a.iter().zip(&b).filter(|(a, b)| best(a) == best(b)).count();
    assert!((TOKENS.len() / 4..TOKENS.len()).contains(&same), "{same} of {}", TOKENS.len());
}

#[test]
fn an_ir_of_the_users_own_runs_as_it_is_and_is_not_compressed_twice() {
    let Some((backend, model)) = installed(true) else { return };
    let dir = tempfile::tempdir().unwrap();
    let made = real(backend, &model, Precision::Int4SymG128);
    for kind in ["xml", "bin"] {
        let to = dir.path().join("openvino_model").with_extension(kind);
        std::fs::copy(made.path.with_extension(kind), to).unwrap();
    }
    // Two groups are in it: the first weight's decides.
    let own = make(backend, dir.path(), Precision::Int4SymG64, dir.path()).unwrap();
    assert_eq!((own.made_by.as_str(), own.types.len()), ("source", made.types.len()));
    assert!(open_text(backend, own, &[]).unwrap().prefill(TOKENS).is_ok());
    let e = make(backend, dir.path(), Precision::Nf4, dir.path()).unwrap_err();
    assert!(e.to_string().contains("INT4_SYM_G64 already"), "{e}");
}

/// ONNX in protobuf's wire format: `y = op(x, w)`, x [n, 3, 4, 4], w [4, 3] = 0 to 11.
fn onnx(op: &str) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut n = bytes.len();
        while n >= 128 {
            out.push(n as u8 | 128);
            n >>= 7;
        }
        out.push(n as u8);
        [out, bytes.to_vec()].concat()
    }
    let number = |field: u8, value: u8| vec![field << 3, value];
    let join = |parts: &[Vec<u8>]| parts.concat();
    let dim = |n: u8| field(1, &number(1, n));
    let free = field(1, &field(2, b"n"));
    let port = |name: &str, dims: Vec<u8>| {
        let tensor = join(&[number(1, 1), field(2, &dims)]);
        join(&[field(1, name.as_bytes()), field(2, &field(1, &tensor))])
    };
    let node = join(&[field(1, b"x"), field(1, b"w"), field(2, b"y"), field(4, op.as_bytes())]);
    let values: Vec<u8> = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let weights =
        join(&[number(1, 4), number(1, 3), number(2, 1), field(8, b"w"), field(9, &values)]);
    let graph = join(&[
        field(1, &node),
        field(2, b"g"),
        field(5, &weights),
        field(11, &port("x", join(&[free.clone(), dim(3), dim(4), dim(4)]))),
        field(12, &port("y", join(&[free, dim(3), dim(4), dim(3)]))),
    ]);
    join(&[number(1, 8), field(7, &graph), field(8, &join(&[field(1, b""), number(2, 17)]))])
}

fn onnx_file(dir: &Path, op: &str) -> PathBuf {
    let path = dir.join(format!("{op}.onnx"));
    std::fs::write(&path, onnx(op)).unwrap();
    path
}

#[test]
fn an_onnx_graph_is_read_directly_and_computes_what_it_says() {
    let Some((backend, _)) = installed(false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = onnx_file(dir.path(), "MatMul");
    let variant = make(backend, &path, Precision::F32, dir.path()).unwrap();
    assert_eq!((variant.made_by.as_str(), &variant.path), ("source", &path));
    let mut s = open_graph(backend, variant).unwrap();
    assert_eq!(s.facts().settings["shapes"], "free");
    let mut run = |batch: usize| {
        let data = TensorData::F32([1.0, 0.0, 0.0, 2.0].repeat(12 * batch));
        let x = Tensor { name: "x".into(), shape: vec![batch, 3, 4, 4], data };
        s.set_inputs(&[x]).unwrap();
        s.run().unwrap();
        (s.output().unwrap(), s.output_shape().unwrap())
    };
    // Rows of w are 0 1 2, 3 4 5, 6 7 8, 9 10 11.
    let wanted = [18.0, 21.0, 24.0];
    assert_eq!(run(1), (wanted.repeat(12), vec![1, 3, 4, 3]));
    // Another size is compiled anew.
    assert_eq!(run(2), (wanted.repeat(24), vec![2, 3, 4, 3]));
    assert_eq!(s.facts().settings["shapes"], "fixed");
    let other = Tensor { name: "z".into(), shape: vec![1], data: TensorData::F32(vec![0.0]) };
    assert!(s.set_inputs(&[other]).unwrap_err().to_string().contains("`x`"));
}

#[test]
fn damaged_files_unknown_operators_devices_and_options_are_one_reason_each() {
    let Some((backend, _)) = installed(false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let why = |path: &Path| open_graph(backend, as_it_is(path, Precision::F32)).err().unwrap();
    let e = why(&onnx_file(dir.path(), "Frobnicate"));
    assert!(e.to_string().contains("Frobnicate"), "{e}");
    let short = dir.path().join("short.onnx");
    std::fs::write(&short, &onnx("MatMul")[..60]).unwrap();
    assert!(matches!(why(&short), BackendError::Unsupported(_)));
    let xml = dir.path().join("m.xml");
    std::fs::write(&xml, "<net><layers><layer type=\"Const\"><data element_type=\"f32\" shape=\"9\" offset=\"0\" size=\"36\"/></layer></layers></net>").unwrap();
    std::fs::write(dir.path().join("m.bin"), [0; 8]).unwrap();
    assert!(why(&xml).to_string().contains("truncated"));
    std::fs::write(dir.path().join("m.bin"), [0; 36]).unwrap();
    assert!(matches!(why(&xml), BackendError::Failed(_) | BackendError::Unsupported(_)));
    let good = onnx_file(dir.path(), "MatMul");
    let mut r = request(as_it_is(&good, Precision::F32), INFER, &[]);
    for absent in ["GPU.7", "TPU"] {
        r.device = absent.into();
        let e = backend.open(&r).err().unwrap();
        assert!(matches!(&e, BackendError::Unsupported(t) if t.contains(absent)), "{e}");
    }
    let e = backend
        .open(&request(as_it_is(&good, Precision::F32), INFER, &[("speed", "11")]))
        .err()
        .unwrap();
    assert!(matches!(e, BackendError::Unsupported(_)), "{e}");
    let e = make(backend, &good, Precision::Int8Static, dir.path()).unwrap_err();
    assert!(e.to_string().contains("calibration inputs"), "{e}");
}

#[test]
fn every_device_is_listed_and_those_without_a_driver_say_what_is_missing() {
    let Some((backend, _)) = installed(false) else { return };
    let devices = backend.devices().unwrap();
    let find = |id: &str| devices.iter().find(|d| d.id.starts_with(id));
    assert!(find("cpu").is_some_and(|d| d.name.contains("FP32") && d.problem.is_empty()));
    assert!(find("AUTO").is_some());
    edge_advisor().args(["runtime", "doctor", "openvino"]).assert().success().stdout(
        predicates::str::contains("openvino 2026.4.1").and(predicates::str::contains("AUTO")),
    );
    for id in ["GPU", "NPU"] {
        let device = find(id).expect(id);
        assert!(device.id != id || !device.problem.is_empty() || device.name != id, "{device:?}");
    }
}

/// Runs one case with the library in `dir` and returns how it ended.
#[cfg(unix)]
fn outcome_with(dir: &Path, precision: &str) -> CaseOutcome {
    let scratch = tempfile::tempdir().unwrap();
    let model = onnx_file(scratch.path(), "MatMul");
    let suite = format!(
        "name='t'\nprotocol='quick'\n[[group]]\nmodels=['{}']\nbackends=['openvino']\nprecisions=['{precision}']\n\
         workloads=[{{kind='infer',batch=1}}]\n",
        model.display()
    );
    let path = scratch.path().join("t.toml");
    std::fs::write(&path, suite).unwrap();
    let out = scratch.path().join("out");
    let mut command = edge_advisor();
    command.env("EDGE_ADVISOR_OPENVINO_DIR", dir).env("EDGE_ADVISOR_DATA_DIR", scratch.path());
    command.env("EDGE_ADVISOR_CACHE_DIR", scratch.path().join("cache"));
    command.args(["bench", "--allow-invalid", "--suite"]).arg(&path).arg("--out").arg(&out);
    command.output().unwrap();
    only_record(&out).cases[0].outcome.clone()
}

#[test]
#[cfg(unix)]
fn a_wrong_library_and_missing_tools_end_in_one_reason_and_the_run_goes_on() {
    let Some((backend, _)) = installed(false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libopenvino_c.so.1");
    std::fs::write(&library, "not a library").unwrap();
    let why = outcome_with(dir.path(), "F32");
    assert!(why.reason().contains("libopenvino_c.so.1"), "{why:?}");
    let real = backend.library().unwrap();
    let other = std::fs::read_dir(&real).unwrap().map(|e| e.unwrap().path());
    let other = other.into_iter().find(|p| p.to_string_lossy().contains("libtbb.")).unwrap();
    std::fs::copy(other, &library).unwrap();
    let why = outcome_with(dir.path(), "F32");
    assert!(why.reason().contains("not OpenVINO's C library"), "{why:?}");
    let why = outcome_with(&real, "INT8_SYM");
    assert!(why.reason().contains("runtime install openvino-tools"), "{why:?}");
    // Other work on this machine makes it invalid, and it ran all the same.
    let ran = outcome_with(&real, "F32");
    assert!(matches!(ran, CaseOutcome::Completed | CaseOutcome::Invalid { .. }), "{ran:?}");
    let why = outcome_with(&dir.path().join("nowhere"), "F32");
    assert!(why.reason().contains("not installed"), "{why:?}");
}

#[test]
fn installed_files_are_what_was_pinned() {
    let Some(installed) = runtime::find("openvino").filter(|i| i.pinned) else { return };
    assert_eq!(runtime::check(&installed.dir), Ok(vec![]));
}

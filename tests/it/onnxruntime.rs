//! ONNX Runtime on real and hand-made graphs: the pinned library, variants from a GGUF, and what cannot run.

use std::path::{Path, PathBuf};

use edge_advisor::backend::{
    self, Backend, BackendError, GraphSession, OpenRequest, PrepareRequest, Session, TextSession,
};
use edge_advisor::catalog::{self, Catalog};
use edge_advisor::model::{Precision, ProcessorKind, Tensor, TensorData, Variant, Workload};
use edge_advisor::{dirs, formats, runtime};

use crate::sessions::{TOKENS, all_logits, as_it_is, best, probabilities};
#[cfg(target_os = "linux")]
use crate::support::edge_advisor;

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The backend, or `None` with a note where the library is not installed.
fn installed() -> Option<&'static dyn Backend> {
    let backend = backend::find("onnxruntime").expect("registered");
    if backend.availability().is_ready() {
        return Some(backend);
    }
    let why = format!("onnxruntime: {:?}; tests/run installs it", backend.availability());
    assert!(std::env::var("CI").is_err(), "{why}");
    eprintln!("skipped: {why}");
    None
}

fn with_model() -> Option<(&'static dyn Backend, PathBuf)> {
    let model = find(&dirs::data(), 5);
    assert!(model.is_some() || std::env::var("CI").is_err(), "{MODEL}: tests/run pulls it");
    Some((installed()?, model?))
}

fn find(dir: &Path, depth: u32) -> Option<PathBuf> {
    let entries: Vec<PathBuf> =
        std::fs::read_dir(dir).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    let here = entries.iter().find(|p| p.file_name().is_some_and(|n| n == MODEL)).cloned();
    here.or_else(|| {
        let deeper = entries.iter().filter(|p| depth > 0 && p.is_dir());
        deeper.into_iter().find_map(|p| find(p, depth - 1))
    })
}

fn make(
    backend: &dyn Backend,
    source: &Path,
    precision: Precision,
) -> Result<Variant, BackendError> {
    backend.prepare(PrepareRequest {
        model: "smollm2-135m",
        source,
        precision,
        cache: &dirs::cache().join("variants"),
        corpus: None,
        inputs: None,
        progress: &mut |_, _| (),
    })
}

fn request(variant: Variant, workload: Workload, options: &[(&str, &str)]) -> OpenRequest {
    OpenRequest {
        variant,
        device: "cpu".into(),
        threads: 2,
        workload,
        context: 96,
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

const TEXT: Workload = Workload::Generate { prompt: 32, decode: 8, depth: 0 };

fn text(backend: &dyn Backend, variant: Variant) -> Result<Box<dyn TextSession>, BackendError> {
    match backend.open(&request(variant, TEXT, &[]))? {
        Session::Text(session) => Ok(session),
        _ => panic!("a text session"),
    }
}

fn graph(
    backend: &dyn Backend,
    path: &Path,
    options: &[(&str, &str)],
) -> Result<Box<dyn GraphSession>, BackendError> {
    let workload = Workload::Infer { batch: 1, length: 0 };
    match backend.open(&request(as_it_is(path, Precision::F32), workload, options))? {
        Session::Graph(session) => Ok(session),
        _ => panic!("a graph session"),
    }
}

/// Input `x` of rows of `columns` ones.
fn ones(rows: usize, columns: usize) -> [Tensor; 1] {
    let data = TensorData::F32(vec![1.0; rows * columns]);
    [Tensor { name: "x".into(), shape: vec![rows, columns], data }]
}

/// Mean Kullback-Leibler divergence of `b` from `a`, and how many positions agree on the best token.
fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> (f64, usize) {
    let mut divergence = 0.0;
    let mut same = 0;
    for (x, y) in a.iter().zip(b) {
        same += usize::from(best(x) == best(y));
        let (p, q) = (probabilities(x), probabilities(y));
        divergence +=
            p.iter().zip(&q).map(|(p, q)| p * (p / q.max(1e-30)).max(1e-30).ln()).sum::<f64>();
    }
    (divergence / a.len() as f64, same)
}

#[test]
fn the_same_weights_give_the_same_logits_as_the_embedded_engine() {
    let Some((backend, model)) = with_model() else { return };
    let candle = backend::find("candle").expect("always there");
    // F32 differs by rounding alone; in the others the kernels quantize activations to eight bits.
    for (precision, most) in
        [(Precision::F32, 1e-5), (Precision::Q8_0, 0.02), (Precision::Q4_0, 0.02)]
    {
        let ours = make(backend, &model, precision).unwrap();
        assert_eq!(ours.source_type, "Q4_1");
        let theirs = make(candle, &model, precision).unwrap();
        let a = all_logits(text(candle, theirs).unwrap().as_mut(), TOKENS);
        let b = all_logits(text(backend, ours).unwrap().as_mut(), TOKENS);
        let (divergence, same) = distance(&a, &b);
        eprintln!(
            "{precision}: divergence {divergence:.2e}, {same} of {} best tokens",
            TOKENS.len()
        );
        assert!(divergence < most, "{precision}: {divergence}");
        assert!(same + 4 >= TOKENS.len(), "{precision}: {same}");
    }
}

/// Narrow models of four layers with random weights: what differs between architectures is all there (biases, norms of
/// queries and keys, layers without positions, tied outputs).
#[test]
fn other_architectures_give_the_same_logits_as_the_embedded_engine() {
    let Some(backend) = installed() else { return };
    let candle = backend::find("candle").expect("always there");
    let catalog = Catalog::load_with(None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["llama-3.2-1b", "qwen2.5-0.5b", "qwen3-0.6b", "smollm3-3b"] {
        let mut entry = catalog.get(name).unwrap().clone();
        let shape = entry.shape.as_mut().expect("a decoder");
        (shape.hidden, shape.ffn, shape.vocabulary) = (256, 512, 2048);
        (shape.heads, shape.kv_heads, shape.head_dim) = (4, 2, 64);
        let path = dir.path().join(format!("{name}.gguf"));
        catalog::synthesize(&entry, Precision::Q8_0, Some(4), &path, &mut |_, _| ()).unwrap();
        let logits = |backend: &dyn Backend| {
            let cache = dir.path().join(backend.info().id);
            let variant = backend.prepare(PrepareRequest {
                model: name,
                source: &path,
                precision: Precision::F32,
                cache: &cache,
                corpus: None,
                inputs: None,
                progress: &mut |_, _| (),
            });
            let tokens: Vec<u32> = (0..48).map(|i| i * 97 % 2048).collect();
            all_logits(text(backend, variant.unwrap()).unwrap().as_mut(), &tokens)
        };
        let (a, b) = (logits(candle), logits(backend));
        let (divergence, same) = distance(&a, &b);
        let spread = a[9].iter().fold(0f32, |m, x| m.max(x.abs()));
        eprintln!(
            "{name}: divergence {divergence:.2e}, {same} of 48 best tokens, logits to {spread}"
        );
        assert!(spread > 0.1, "{name}: random weights that say nothing test nothing");
        assert!(divergence < 1e-4, "{name}: {divergence}");
        assert!(same >= 47, "{name}: {same}");
    }
}

#[test]
fn prefill_decode_and_logits_agree_and_repeat_after_a_reset() {
    let Some((backend, model)) = with_model() else { return };
    let variant = make(backend, &model, Precision::F32).unwrap();
    let mut s = text(backend, variant).unwrap();
    assert_eq!(s.vocabulary(), 49152);
    let rows = all_logits(s.as_mut(), TOKENS);
    assert!(rows.iter().flatten().all(|x| x.is_finite()));
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
    // Token by token is the same context as all at once.
    s.reset().unwrap();
    let one_by_one = TOKENS.iter().map(|&t| s.decode(t).unwrap()).last();
    assert_eq!(one_by_one, Some(first[0]));
    let facts = s.facts();
    // 30 layers x 96 positions x 2 x 3 heads x 64 values of 4 bytes.
    assert_eq!(facts.kv_cache_bytes, Some(30 * 96 * 2 * 3 * 64 * 4));
    assert!(facts.weight_bytes.is_some_and(|b| b > 500 << 20), "{facts:?}");
    assert!(facts.placement["cpu"] > 300, "{facts:?}");
    assert!(s.prefill(&[1; 97]).is_err() && s.decode(60_000).is_err() && s.prefill(&[]).is_err());
    s.reset().unwrap();
    assert_eq!(s.prefill(TOKENS).unwrap(), first[0], "an error leaves the session usable");
}

#[test]
fn every_precision_runs_and_says_what_it_stores() {
    let Some((backend, model)) = with_model() else { return };
    let reference = make(backend, &model, Precision::F32).unwrap();
    let reference = all_logits(text(backend, reference).unwrap().as_mut(), TOKENS);
    // Divergence from F32 on 32 tokens: bounds a little above what was measured.
    for (precision, bits, fallback, most) in [
        (Precision::F16, 16.0, "", 1e-3),
        (Precision::Int8Sym, 8.5, "INT8 sym g128 -> INT8 sym g64", 0.05),
        (Precision::Int8Asym, 8.65, "INT8 asym g128 -> INT8 asym g64", 0.05),
        (Precision::Int4SymG32, 5.0, "", 1.0),
        (Precision::Int4SymG128, 4.5, "INT4 sym g128 -> INT4 sym g64", 1.5),
        (Precision::Int4AsymG32, 5.125, "", 1.0),
    ] {
        let made = make(backend, &model, precision).unwrap();
        assert!((made.bits_per_weight - bits).abs() < 0.1, "{precision}: {}", made.bits_per_weight);
        let noted = made.fallbacks.iter().any(|f| f.starts_with(fallback));
        assert!(noted || fallback.is_empty(), "{precision}: {:?}", made.fallbacks);
        assert!(made.size_bytes as f64 > bits * 134e6 / 8.0, "{precision}: {}", made.size_bytes);
        let rows = all_logits(text(backend, made).unwrap().as_mut(), TOKENS);
        let (divergence, same) = distance(&reference, &rows);
        eprintln!(
            "{precision}: divergence {divergence:.3}, {same} of {} best tokens",
            TOKENS.len()
        );
        assert!(divergence < most, "{precision}: {divergence}");
    }
}

#[test]
fn a_variant_is_made_once() {
    let Some((backend, model)) = with_model() else { return };
    let made = make(backend, &model, Precision::Q8_0).unwrap();
    let written = std::fs::metadata(&made.path).unwrap().modified().unwrap();
    assert_eq!(make(backend, &model, Precision::Q8_0).unwrap(), made);
    assert_eq!(std::fs::metadata(&made.path).unwrap().modified().unwrap(), written);
    let summary = formats::onnx::read(&made.path).unwrap();
    assert_eq!(summary.operators["com.microsoft:GroupQueryAttention"], 30);
    assert_eq!(summary.operators["com.microsoft:MatMulNBits"], 30 * 7 + 1);
}

// Graphs written by hand, field by field.

fn varint(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

fn int(number: u64, v: u64) -> Vec<u8> {
    [varint(number << 3), varint(v)].concat()
}

fn bytes(number: u64, data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [varint(number << 3 | 2), varint(data.len() as u64), data.to_vec()].concat()
}

/// A port of floats; a size of 0 is an axis `n`.
fn port(name: &str, dims: &[u64]) -> Vec<u8> {
    let dim = |&d: &u64| bytes(1, if d == 0 { bytes(2, "n") } else { int(1, d) });
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [int(1, 1), bytes(2, shape)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// `y = op(x, w)` with `w` of four floats, inside the file or at `location`.
fn tiny(op: &str, location: Option<&str>) -> Vec<u8> {
    let floats: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let entry = |k: &str, v: &str| bytes(13, [bytes(1, k), bytes(2, v)].concat());
    let data = match location {
        None => bytes(9, floats),
        Some(l) => {
            [entry("location", l), entry("offset", "0"), entry("length", "16"), int(14, 1)].concat()
        }
    };
    let weight = [int(1, 4), int(2, 1), bytes(8, "w"), data].concat();
    let node = [bytes(1, "x"), bytes(1, "w"), bytes(2, "y"), bytes(4, op)].concat();
    let graph = [
        bytes(1, node),
        bytes(2, "tiny"),
        bytes(5, weight),
        bytes(11, port("x", &[0, 4])),
        bytes(12, port("y", &[0, 4])),
    ]
    .concat();
    let opset = bytes(8, [bytes(1, ""), int(2, 17)].concat());
    [int(1, 8), bytes(7, graph), opset].concat()
}

fn written(dir: &Path, name: &str, model: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, model).unwrap();
    path
}

#[test]
fn a_plain_graph_runs_on_inputs_of_any_shape_it_allows() {
    let Some(backend) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "mul.onnx", &tiny("Mul", None));
    let mut s = graph(backend, &path, &[("spin", "off")]).unwrap();
    assert!(s.output().is_err(), "nothing was run");
    for rows in [1, 3, 2] {
        s.set_inputs(&ones(rows, 4)).unwrap();
        s.run().unwrap();
        assert_eq!(s.output().unwrap(), [1.0, 2.0, 3.0, 4.0].repeat(rows));
        assert_eq!(s.output_shape(), Some(vec![rows, 4]));
    }
    let facts = s.facts();
    assert_eq!(
        (facts.settings["input x"].as_str(), facts.settings["spin"].as_str()),
        ("2x4", "off")
    );
    assert_eq!((facts.placement["cpu"], facts.path.as_str()), (1, "library"));
    let mut fixed = graph(backend, &path, &[("dim.n", "5")]).unwrap();
    assert!(fixed.set_inputs(&ones(4, 4)).and_then(|_| fixed.run()).is_err());
    assert!(fixed.set_inputs(&ones(5, 4)).and_then(|_| fixed.run()).is_ok());
}

#[test]
fn a_plain_graph_is_its_own_variant_and_only_that() {
    let Some(backend) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "mul.onnx", &tiny("Mul", None));
    let made = make(backend, &path, Precision::F32).unwrap();
    assert_eq!((made.made_by.as_str(), &made.path), ("source", &path));
    let e = make(backend, &path, Precision::Q4_0).unwrap_err();
    assert!(matches!(&e, BackendError::Unsupported(t) if t.contains("makes no Q4_0")), "{e}");
}

#[test]
fn what_cannot_run_is_one_reason_each() {
    let Some(backend) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let fails = |name: &str, model: &[u8], options: &[(&str, &str)]| {
        let path = written(dir.path(), name, model);
        let e = graph(backend, &path, options).err().unwrap_or_else(|| panic!("{name} opened"));
        let text = e.to_string();
        assert!(text.lines().count() == 1, "{text}");
        (matches!(e, BackendError::Unsupported(_)), text)
    };
    let whole = tiny("Mul", None);
    let (_, text) = fails("corrupt.onnx", &whole[..whole.len() / 2], &[]);
    assert!(text.contains("corrupt.onnx"), "{text}");
    let (_, text) = fails("noise.onnx", &[0xff; 64], &[]);
    assert!(text.contains("not an ONNX model"), "{text}");
    let (_, text) = fails("external.onnx", &tiny("Mul", Some("weights.bin")), &[]);
    assert!(text.contains("weights.bin") && text.contains("missing"), "{text}");
    let (_, text) = fails("outside.onnx", &tiny("Mul", Some("../weights.bin")), &[]);
    assert!(text.contains("outside"), "{text}");
    let (unsupported, text) = fails("operator.onnx", &tiny("Frobnicate", None), &[]);
    assert!(unsupported && text.contains("Frobnicate"), "{text}");
    let (unsupported, text) = fails("option.onnx", &whole, &[("speed", "11")]);
    assert!(unsupported && text.contains("speed=11"), "{text}");
    // Three columns against four weights.
    let path = written(dir.path(), "shape.onnx", &whole);
    let mut s = graph(backend, &path, &[]).unwrap();
    let e = s.set_inputs(&ones(1, 3)).and_then(|_| s.run()).unwrap_err();
    assert!(matches!(e, BackendError::Failed(_)) && e.to_string().contains("x"), "{e}");
    let e =
        s.set_inputs(&[Tensor { name: "z".into(), ..ones(1, 4)[0].clone() }]).and_then(|_| s.run());
    assert!(e.unwrap_err().to_string().contains("`z`"));
    let e = backend.open(&request(as_it_is(&path, Precision::F32), TEXT, &[])).err().unwrap();
    assert!(matches!(&e, BackendError::Unsupported(t) if t.contains("cache")), "{e}");
}

#[test]
fn devices_are_the_providers_that_are_there() {
    let Some(backend) = installed() else { return };
    let devices = backend.devices().unwrap();
    assert_eq!((devices[0].id.as_str(), devices[0].kind), ("cpu", ProcessorKind::Cpu));
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "mul.onnx", &tiny("Mul", None));
    let mut r =
        request(as_it_is(&path, Precision::F32), Workload::Infer { batch: 1, length: 0 }, &[]);
    r.device = "abacus".into();
    let e = backend.open(&r).err().unwrap();
    assert!(
        matches!(&e, BackendError::Unsupported(t) if t.contains("`abacus`") && t.contains("cpu")),
        "{e}"
    );
}

#[test]
fn installed_files_are_what_was_pinned() {
    let Some(installed) = runtime::find("onnxruntime").filter(|i| i.pinned) else { return };
    assert_eq!(runtime::check(&installed.dir), Ok(vec![]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_is_too_old_or_none_is_a_row_with_the_reason() {
    let Some((_, model)) = with_model() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bench = |library: &Path| {
        let out = tempfile::tempdir().unwrap();
        let _ = edge_advisor()
            .args([
                "bench",
                "--backend",
                "onnxruntime",
                "--precision",
                "Q8_0",
                "--quick",
                "--no-quality",
            ])
            .args(["--prompt", "8", "--decode", "4", "--model"])
            .arg(&model)
            .arg("--out")
            .arg(out.path())
            .env("EDGE_ADVISOR_ONNXRUNTIME_DIR", library)
            .env_remove("VIRTUAL_ENV")
            .assert();
        let record = crate::support::only_record(out.path());
        assert_eq!(record.cases.len(), 1);
        record.cases[0].outcome.reason()
    };
    assert!(bench(dir.path()).contains("runtime install onnxruntime"));
    written(dir.path(), "libonnxruntime.so.1.22.1", b"");
    assert!(bench(dir.path()).contains("too old"));
    std::fs::rename(
        dir.path().join("libonnxruntime.so.1.22.1"),
        dir.path().join("libonnxruntime.so"),
    )
    .unwrap();
    assert!(bench(dir.path()).contains("cannot load"));
}

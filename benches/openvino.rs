//! Our loops against OpenVINO's own, interleaved in one run: GenAI's LLMPipeline on the same variant (the same greedy
//! tokens, decode within 5 %), and `benchmark_app` on a graph (median within 3 %).
//!
//! ```text
//! edge-advisor runtime install openvino && edge-advisor runtime install openvino-tools
//! edge-advisor models pull smollm2-135m
//! BENCH_PRECISION=INT8_SYM BENCH_ONNX=encoder.onnx BENCH_SHAPE=1,128 cargo bench --bench openvino
//! ```
//!
//! `BENCH_ROUNDS` (default 5) rounds of both, alternating which goes first; `BENCH_THREADS` (default: all). `BENCH_ONNX`
//! names a graph whose inputs all have the shape `BENCH_SHAPE`; without it only text is compared. Absolute numbers
//! move with the machine's load; the ratio of medians does not, as long as the load is steady.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use edge_advisor::backend::TextSession;
use edge_advisor::backend::{self, GraphSession, OpenRequest, PrepareRequest, Session};
use edge_advisor::formats::onnx;
use edge_advisor::model::{Precision, Tensor, TensorData, Variant, Workload};
use edge_advisor::{catalog, dirs, runtime};
use serde_json::{Value, json};

const PROMPT: u32 = 128;
const DECODE: u32 = 64;
const GENAI: &str = include_str!("openvino_genai.py");

fn main() {
    let backend = backend::find("openvino").expect("registered");
    let tools = runtime::python_env("openvino-tools");
    let (Some(tools), true) = (tools, backend.availability().is_ready()) else {
        println!("skipped: install openvino and openvino-tools (see the head of this file)");
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let (threads, rounds) =
        (number("BENCH_THREADS").unwrap_or(cores), number("BENCH_ROUNDS").unwrap_or(5));
    let name = std::env::var("BENCH_PRECISION").unwrap_or_else(|_| "INT8_SYM".into());
    let precision: Precision = name.parse().expect("a precision");
    text(&tools.python, precision, threads, rounds);
    if let Some(path) = std::env::var_os("BENCH_ONNX") {
        let shape = std::env::var("BENCH_SHAPE").expect("BENCH_SHAPE, as in 1,128");
        graph(&tools.dir, Path::new(&path), &shape, threads, rounds);
    }
}

fn make(source: &Path, precision: Precision) -> Variant {
    let request = PrepareRequest {
        model: "bench",
        source,
        precision,
        cache: &dirs::cache().join("variants"),
        corpus: None,
        inputs: None,
        progress: &mut |_, _| (),
    };
    backend::find("openvino").expect("registered").prepare(request).expect("a variant")
}

fn open(variant: Variant, workload: Workload, threads: u32) -> Session {
    let options = [("precision".to_owned(), "f32".to_owned())].into();
    let request =
        OpenRequest { variant, device: "cpu".into(), threads, workload, context: 4096, options };
    backend::find("openvino").expect("registered").open(&request).expect("it opens")
}

/// Runs both sides `rounds` times after a warm-up, alternating which goes first.
fn interleaved<T: Copy>(
    rounds: u32,
    mut ours: impl FnMut() -> T,
    mut theirs: impl FnMut() -> T,
) -> Vec<(T, T)> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let pair = match round % 2 {
            0 => {
                let a = ours();
                (a, theirs())
            }
            _ => {
                let b = theirs();
                (ours(), b)
            }
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    pairs
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut x: Vec<f64> = values.collect();
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn text(python: &Path, precision: Precision, threads: u32, rounds: u32) {
    let source = catalog::resolve_model("smollm2-135m").expect("models pull smollm2-135m").path;
    let f16 = edge_advisor::convert::gguf_variant(
        "bench",
        &source,
        Precision::F16,
        &dirs::cache().join("variants"),
        &mut |_, _| (),
    );
    let variant = make(&source, precision);
    let workload = Workload::Generate { prompt: PROMPT, decode: DECODE, depth: 0 };
    let work = tempfile::tempdir().expect("a scratch directory");
    let prompt: Vec<u32> = (0..PROMPT).map(|i| i.wrapping_mul(2_654_435_761) % 49_152).collect();
    let request = json!({
        "gguf": f16.expect("an F16 file").path, "xml": variant.path, "work": work.path(),
        "threads": threads, "prompt": prompt, "decode": DECODE,
    });
    let Session::Text(mut session) = open(variant, workload, threads) else {
        panic!("a text session");
    };
    let mut child = Command::new(python)
        .args(["-I", "-c", GENAI])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut to = child.stdin.take().expect("stdin");
    let mut from = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut ask = |line: &Value| -> Value {
        writeln!(to, "{line}").expect("GenAI reads");
        let answer = from.by_ref().map_while(Result::ok).find(|l| l.starts_with('{'));
        serde_json::from_str(&answer.expect("GenAI answers")).expect("JSON")
    };
    ask(&request);
    let (mut our_tokens, mut their_tokens) = (Vec::new(), Vec::new());
    let pairs = interleaved(
        rounds,
        || {
            let (tokens, speed) = measure(session.as_mut(), &prompt);
            our_tokens = tokens;
            speed
        },
        || {
            let answer = ask(&json!({}));
            let ids = answer["tokens"].as_array().expect("token ids");
            their_tokens = ids.iter().filter_map(Value::as_u64).map(|t| t as u32).collect();
            (answer["prefill"].as_f64().unwrap_or(0.0), answer["decode"].as_f64().unwrap_or(0.0))
        },
    );
    drop(to);
    let _ = child.wait();
    let same = our_tokens.iter().zip(&their_tokens).take_while(|(a, b)| a == b).count();
    for (a, b) in &pairs {
        println!("ours {:.1}/{:.1}, GenAI {:.1}/{:.1}", a.0, a.1, b.0, b.1);
    }
    println!(
        "{precision}: ours / GenAI: pp{PROMPT} {:.3}, tg{DECODE} {:.3}; {same} of {} greedy tokens the same",
        median(pairs.iter().map(|p| p.0.0)) / median(pairs.iter().map(|p| p.1.0)),
        median(pairs.iter().map(|p| p.0.1)) / median(pairs.iter().map(|p| p.1.1)),
        our_tokens.len(),
    );
}

/// Greedy tokens behind the prompt, and tokens a second of prefill and decode.
fn measure(session: &mut dyn TextSession, prompt: &[u32]) -> (Vec<u32>, (f64, f64)) {
    session.reset().expect("reset");
    let start = Instant::now();
    let mut tokens = vec![session.prefill(prompt).expect("prefill")];
    let prefill = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..DECODE {
        tokens.push(session.decode(tokens[tokens.len() - 1]).expect("decode"));
    }
    let decode = start.elapsed().as_secs_f64();
    (tokens, (f64::from(PROMPT) / prefill, f64::from(DECODE) / decode))
}

fn graph(tools: &Path, path: &Path, shape: &str, threads: u32, rounds: u32) {
    let axes: Vec<usize> = shape.split(',').map(|d| d.trim().parse().expect("a size")).collect();
    let variant = make(path, Precision::F32);
    let workload = Workload::Infer { batch: axes[0] as u32, length: 0 };
    let Session::Graph(mut session) = open(variant, workload, threads) else {
        panic!("a graph session");
    };
    let count = axes.iter().product();
    let inputs: Vec<Tensor> = onnx::read(path)
        .expect("an ONNX file")
        .inputs
        .iter()
        .map(|port| Tensor {
            name: port.name.clone(),
            shape: axes.clone(),
            data: match port.dtype.as_str() {
                "INT64" => TensorData::I64(vec![1; count]),
                "INT32" => TensorData::I32(vec![1; count]),
                _ => TensorData::F32(vec![0.5; count]),
            },
        })
        .collect();
    session.set_inputs(&inputs).expect("inputs");
    let shapes: Vec<String> = inputs.iter().map(|t| format!("{}[{shape}]", t.name)).collect();
    let reports = tempfile::tempdir().expect("a scratch directory");
    let pairs = interleaved(
        rounds,
        || median_latency(session.as_mut()),
        || benchmark_app(tools, path, &shapes.join(","), threads, reports.path()),
    );
    for (a, b) in &pairs {
        println!("ours {a:.3} ms, benchmark_app {b:.3} ms");
    }
    println!(
        "ours / benchmark_app, median latency: {:.3}",
        median(pairs.iter().map(|p| p.0)) / median(pairs.iter().map(|p| p.1))
    );
}

/// Milliseconds, over three seconds.
fn median_latency(session: &mut dyn GraphSession) -> f64 {
    let begin = Instant::now();
    let mut all = Vec::new();
    while begin.elapsed().as_secs_f64() < 3.0 {
        let start = Instant::now();
        session.run().expect("it runs");
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    median(all.into_iter())
}

fn benchmark_app(tools: &Path, path: &Path, shapes: &str, threads: u32, reports: &Path) -> f64 {
    let program: PathBuf = tools.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let status = Command::new(program.join("benchmark_app"))
        .arg("-m")
        .arg(path)
        .args(["-shape", shapes, "-hint", "none", "-nstreams", "1", "-api", "sync", "-t", "3"])
        .args(["-infer_precision", "f32", "-nthreads", &threads.to_string(), "-d", "CPU"])
        .args(["--json_stats", "-report_type", "no_counters", "-report_folder"])
        .arg(reports)
        .stdout(Stdio::null())
        .status()
        .expect("benchmark_app runs");
    assert!(status.success(), "benchmark_app: {status}");
    let file = std::fs::read_dir(reports)
        .expect("reports")
        .filter_map(Result::ok)
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "json"))
        .expect("a report");
    let text = std::fs::read(file).expect("a report");
    let report: Value = serde_json::from_slice(&text).expect("JSON");
    let value = &report["execution_results"]["latency_median"];
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).expect("a median")
}

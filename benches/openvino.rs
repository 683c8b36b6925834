//! Our loops against OpenVINO's own, interleaved in one run: GenAI's LLMPipeline on the same variant (the same greedy
//! tokens, decode within 5 %), and `benchmark_app` on a graph (median within 3 %).
//!
//! ```text
//! edge-advisor runtime install openvino && edge-advisor runtime install openvino-tools
//! edge-advisor models pull smollm2-135m
//! BENCH_PRECISION=INT8_SYM BENCH_ONNX=encoder.onnx BENCH_SHAPE=1,128 cargo bench --bench openvino
//! ```
//!
//! `BENCH_ROUNDS` (default 10) rounds of both, alternating which goes first; `BENCH_THREADS` (default: all). `BENCH_ONNX`
//! names a graph whose inputs all have the shape `BENCH_SHAPE`; without it only text is compared.

mod anchor;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anchor::{DECODE, Peer};
use edge_advisor::backend;
use edge_advisor::model::Precision;
use edge_advisor::{catalog, dirs, runtime};
use serde_json::{Value, json};

fn main() {
    let backend = backend::find("openvino").expect("registered");
    let tools = runtime::python_env("openvino-tools");
    let (Some(tools), true) = (tools, backend.availability().is_ready()) else {
        println!("skipped: install openvino and openvino-tools (see the head of this file)");
        return;
    };
    let rounds = anchor::number("BENCH_ROUNDS").unwrap_or(10);
    let name = std::env::var("BENCH_PRECISION").unwrap_or_else(|_| "INT8_SYM".into());
    text(&tools.python, name.parse().expect("a precision"), rounds);
    if let Some(path) = std::env::var_os("BENCH_ONNX") {
        let shape = std::env::var("BENCH_SHAPE").expect("BENCH_SHAPE, as in 1,128");
        graph(&tools.dir, Path::new(&path), &shape, rounds);
    }
}

fn text(python: &Path, precision: Precision, rounds: u32) {
    let source = catalog::resolve_model("smollm2-135m").expect("models pull smollm2-135m").path;
    let variants = dirs::cache().join("variants");
    let f16 = Precision::F16;
    let f16 = edge_advisor::convert::gguf_variant("bench", &source, f16, &variants, &mut |_, _| ());
    let variant = anchor::make("openvino", &source, precision);
    let work = tempfile::tempdir().expect("a scratch directory");
    let prompt = anchor::prompt(49_152);
    let request = json!({
        "gguf": f16.expect("an F16 file").path, "xml": variant.path, "work": work.path(),
        "threads": anchor::threads(), "prompt": prompt, "decode": DECODE,
    });
    let options = [("precision", "f32")];
    let mut session = anchor::open_text("openvino", variant, &options);
    let mut genai = Peer::start(python, include_str!("anchor/openvino_genai.py"), &request);
    let ours = || anchor::speak(session.as_mut(), &prompt);
    let pairs = anchor::interleaved(rounds, ours, || genai.speak());
    anchor::compare_text(&format!("{precision}, ours / GenAI"), &pairs);
}

fn graph(tools: &Path, path: &Path, shape: &str, rounds: u32) {
    let (mut session, _, inputs) =
        anchor::open_graph("openvino", path, shape, &[("precision", "f32")]);
    let shapes: Vec<String> = inputs.iter().map(|t| format!("{}[{shape}]", t.name)).collect();
    let reports = tempfile::tempdir().expect("a scratch directory");
    let pairs = anchor::interleaved(
        rounds,
        || anchor::median_latency(session.as_mut()),
        || benchmark_app(tools, path, &shapes.join(","), reports.path()),
    );
    anchor::compare_latency("ours / benchmark_app", &pairs);
}

fn benchmark_app(tools: &Path, path: &Path, shapes: &str, reports: &Path) -> f64 {
    let program: PathBuf = tools.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let status = Command::new(program.join("benchmark_app"))
        .arg("-m")
        .arg(path)
        .args(["-shape", shapes, "-hint", "none", "-nstreams", "1", "-api", "sync", "-t", "3"])
        .args(["-infer_precision", "f32", "-nthreads", &anchor::threads().to_string()])
        .args(["-d", "CPU", "--json_stats", "-report_type", "no_counters", "-report_folder"])
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
    // The median, as no other percentile was asked for.
    let value = &report["execution_results"]["latency (ms)"];
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).expect("a median")
}

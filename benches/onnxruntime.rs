//! Our loops against ONNX Runtime's own, interleaved in one run: onnxruntime-genai on the same graph (the same greedy
//! tokens, decode within 5 %), and its Python API on an encoder (median within 3 %).
//!
//! ```text
//! edge-advisor runtime install onnxruntime
//! edge-advisor models pull smollm2-135m
//! python3 -m venv genai && genai/bin/pip install onnxruntime-genai onnx onnxruntime==1.32.0
//! BENCH_PYTHON=$PWD/genai/bin/python BENCH_ONNX=encoder.onnx BENCH_SHAPE=1,128 cargo bench --bench onnxruntime
//! ```
//!
//! `BENCH_PRECISION` (default Q4_0), `BENCH_ROUNDS` (default 10), `BENCH_THREADS` (default: all). `BENCH_ONNX` names a
//! graph whose inputs all have the shape `BENCH_SHAPE`; without it only text is compared.

mod anchor;

use std::path::Path;

use anchor::{DECODE, PROMPT, Peer};
use edge_advisor::catalog::{self, Catalog};
use edge_advisor::model::Precision;
use serde_json::json;

const MODEL: &str = "smollm2-135m";
/// Their default; ours leaves the cores to others where all are used.
const LIKE_THEIRS: [(&str, &str); 1] = [("spin", "on")];

fn main() {
    let Some(python) = std::env::var_os("BENCH_PYTHON") else {
        println!("skipped: set BENCH_PYTHON (see the head of this file)");
        return;
    };
    let rounds = anchor::number("BENCH_ROUNDS").unwrap_or(10);
    let name = std::env::var("BENCH_PRECISION").unwrap_or_else(|_| "Q4_0".into());
    text(Path::new(&python), name.parse().expect("a precision"), rounds);
    if let Some(path) = std::env::var_os("BENCH_ONNX") {
        let shape = std::env::var("BENCH_SHAPE").expect("BENCH_SHAPE, as in 1,128");
        graph(Path::new(&python), Path::new(&path), &shape, rounds);
    }
}

/// What genai wants to know of a graph beside it.
fn genai_config() -> serde_json::Value {
    let catalog = Catalog::load().expect("the catalogue");
    let shape = catalog.get(MODEL).expect("an entry").shape.as_ref().expect("a decoder's shape");
    json!({
        "model": {
            "type": "llama", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
            "context_length": shape.context, "vocab_size": shape.vocabulary,
            "decoder": {
                "session_options": { "intra_op_num_threads": anchor::threads(), "provider_options": [] },
                "filename": "model.onnx",
                "head_size": shape.head_width(), "hidden_size": shape.hidden,
                "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
                "num_hidden_layers": shape.layers,
                "inputs": {
                    "input_ids": "input_ids", "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits", "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        // The shortest length keeps it from ending at an end-of-text token.
        "search": {
            "do_sample": false, "past_present_share_buffer": true,
            "min_length": PROMPT + DECODE + 1, "max_length": PROMPT + DECODE + 1,
        },
    })
}

fn text(python: &Path, precision: Precision, rounds: u32) {
    let source = catalog::resolve_model(MODEL).expect("models pull smollm2-135m").path;
    let variant = anchor::make("onnxruntime", &source, precision);
    let dir = tempfile::tempdir().expect("a scratch directory");
    let from = variant.path.parent().expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").filter_map(Result::ok) {
        let name = entry.file_name();
        // The weights keep the name that the graph knows them by.
        let name = if entry.path() == variant.path { "model.onnx".into() } else { name };
        if entry.path().is_file() {
            std::fs::hard_link(entry.path(), dir.path().join(&name))
                .or_else(|_| std::fs::copy(entry.path(), dir.path().join(&name)).map(drop))
                .expect("room for a copy");
        }
    }
    let config = dir.path().join("genai_config.json");
    std::fs::write(config, genai_config().to_string()).expect("room for the configuration");
    let mut session = anchor::open_text("onnxruntime", variant, &LIKE_THEIRS);
    let prompt = anchor::prompt(session.vocabulary());
    let request = json!({ "dir": dir.path(), "prompt": prompt, "decode": DECODE });
    let mut genai = Peer::start(python, include_str!("anchor/onnxruntime_genai.py"), &request);
    let ours = || anchor::speak(session.as_mut(), &prompt);
    let pairs = anchor::interleaved(rounds, ours, || genai.speak());
    anchor::compare_text(&format!("{precision}, ours / genai"), &pairs);
}

fn graph(python: &Path, path: &Path, shape: &str, rounds: u32) {
    let (mut session, axes, inputs) = anchor::open_graph("onnxruntime", path, shape, &LIKE_THEIRS);
    let names: Vec<&str> = inputs.iter().map(|t| t.name.as_str()).collect();
    let request =
        json!({ "onnx": path, "inputs": names, "shape": axes, "threads": anchor::threads() });
    let mut python = Peer::start(python, include_str!("anchor/onnxruntime_api.py"), &request);
    let pairs = anchor::interleaved(
        rounds,
        || anchor::median_latency(session.as_mut()),
        || python.ask(&json!({}))["median_ms"].as_f64().expect("a median"),
    );
    anchor::compare_latency("ours / the Python API", &pairs);
}

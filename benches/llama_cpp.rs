//! Our loop around llama.cpp against llama-bench, interleaved in one run: the ratio should be within 2 %.
//!
//! ```text
//! edge-advisor runtime install llama.cpp
//! LLAMA_BENCH_DIR=/path/to/build/bin BENCH_MODEL=model.gguf cargo bench --bench llama_cpp
//! ```
//!
//! `BENCH_ROUNDS` (default 20) rounds of both, each with a fresh context, alternating which goes first; `BENCH_THREADS`
//! (default: all). Printed is the geometric mean of the rounds' ratios with its 95 % interval. For the
//! same kernels on both sides let llama-bench load the installed libraries: put links named as it wants them
//! (`libllama.so.0`, `libggml.so.0`, `libggml-base.so.0`) to the files of `edge-advisor runtime path llama.cpp` into a
//! directory, name that in LD_LIBRARY_PATH, and run from the installed directory. Absolute numbers move with
//! the machine's load; the ratio moves less.

mod anchor;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use edge_advisor::backend::{self, OpenRequest, Session, TextSession};
use edge_advisor::model::{Precision, Variant, Workload};

const PROMPT: u32 = 512;
const DECODE: u32 = 128;

fn main() {
    let (Some(dir), Some(model)) = (path("LLAMA_BENCH_DIR"), path("BENCH_MODEL")) else {
        println!("skipped: set LLAMA_BENCH_DIR and BENCH_MODEL (see the head of this file)");
        return;
    };
    let (threads, rounds) = (anchor::threads(), anchor::number("BENCH_ROUNDS").unwrap_or(20));
    let pairs = anchor::interleaved(
        rounds,
        || measure(open(&model, threads).as_mut()),
        || llama_bench(&dir, &model, threads),
    );
    for (a, b) in &pairs {
        println!("ours {:.1}/{:.1}, llama-bench {:.1}/{:.1}", a.0, a.1, b.0, b.1);
    }
    anchor::print_ratio("pp512, ours / llama-bench", pairs.iter().map(|(a, b)| (a.0, b.0)));
    anchor::print_ratio("tg128, ours / llama-bench", pairs.iter().map(|(a, b)| (a.1, b.1)));
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

fn open(model: &Path, threads: u32) -> Box<dyn TextSession> {
    let variant = Variant {
        model: "bench".into(),
        precision: Precision::F16,
        path: model.to_owned(),
        size_bytes: 0,
        bits_per_weight: 0.0,
        types: vec![],
        made_by: "source".into(),
        source_sha256: String::new(),
        source_type: String::new(),
        fallbacks: vec![],
    };
    let request = OpenRequest {
        variant,
        device: "cpu".into(),
        threads,
        workload: Workload::Generate { prompt: PROMPT, decode: DECODE, depth: 0 },
        context: PROMPT + DECODE,
        options: Default::default(),
    };
    match backend::find("llama.cpp").expect("registered").open(&request) {
        Ok(Session::Text(session)) => session,
        Ok(_) => panic!("a text session"),
        Err(e) => panic!("{e}"),
    }
}

/// Tokens a second of prefill and decode.
fn measure(session: &mut dyn TextSession) -> (f64, f64) {
    let tokens: Vec<u32> =
        (0..PROMPT).map(|i| i.wrapping_mul(2_654_435_761) % session.vocabulary()).collect();
    // As llama-bench does before it counts.
    session.prefill(&tokens).expect("warm-up");
    session.reset().expect("reset");
    let start = Instant::now();
    session.prefill(&tokens).expect("prefill");
    let prefill = start.elapsed().as_secs_f64();
    session.reset().expect("reset");
    let mut token = tokens[0];
    let start = Instant::now();
    for _ in 0..DECODE {
        token = session.decode(token).expect("decode");
    }
    (f64::from(PROMPT) / prefill, f64::from(DECODE) / start.elapsed().as_secs_f64())
}

fn llama_bench(dir: &Path, model: &Path, threads: u32) -> (f64, f64) {
    let output = Command::new(dir.join("llama-bench"))
        .arg("-m")
        .arg(model)
        .args(["-p", &PROMPT.to_string(), "-n", &DECODE.to_string(), "-ngl", "0"])
        .args(["-t", &threads.to_string(), "-r", "1", "-o", "json"])
        .output()
        .expect("llama-bench runs");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON rows");
    let rate = |key: &str| {
        let row = rows.iter().find(|r| r[key].as_u64() > Some(0)).expect("a row of each test");
        row["avg_ts"].as_f64().expect("a rate")
    };
    (rate("n_prompt"), rate("n_gen"))
}

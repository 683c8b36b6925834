//! Ours against a framework's own tool: interleaved rounds, and the ratio with its interval.
#![allow(dead_code, reason = "each bench uses a part")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use edge_advisor::backend::{
    self, GraphSession, OpenRequest, PrepareRequest, Session, TextSession,
};
use edge_advisor::model::{Precision, Tensor, TensorData, Variant, Workload};
use edge_advisor::{dirs, stats};
use serde_json::{Value, json};

pub const PROMPT: u32 = 128;
pub const DECODE: u32 = 64;

/// A number from the environment.
pub fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// `BENCH_THREADS`, or all.
pub fn threads() -> u32 {
    let all = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    number("BENCH_THREADS").unwrap_or(all)
}

/// Runs both sides `rounds` times after a warm-up, alternating which goes first.
pub fn interleaved<T>(
    rounds: u32,
    mut ours: impl FnMut() -> T,
    mut theirs: impl FnMut() -> T,
) -> Vec<(T, T)> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            let a = ours();
            (a, theirs())
        } else {
            let b = theirs();
            (ours(), b)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    pairs
}

/// Prints the ratio of both sides' medians, and the geometric mean of the rounds' ratios with its 95 % interval.
pub fn print_ratio(what: &str, pairs: impl Iterator<Item = (f64, f64)>) {
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let logs: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| (a / b).ln()).collect();
    let (Some(a), Some(b)) = (stats::median(&ours), stats::median(&theirs)) else { return };
    let n = logs.len() as f64;
    let (Some(mean), Some(deviation)) = (stats::mean(&logs), stats::standard_deviation(&logs))
    else {
        return;
    };
    let half = stats::student_quantile(0.975, n - 1.0) * deviation / n.sqrt();
    let [ratio, low, high] = [mean, mean - half, mean + half].map(f64::exp);
    println!("{what}: medians {:.3}, rounds {ratio:.3} ({low:.3} to {high:.3}, {n})", a / b);
}

/// A variant in the user's cache.
pub fn make(backend: &str, source: &Path, precision: Precision) -> Variant {
    let request = PrepareRequest {
        model: "bench",
        source,
        precision,
        cache: &dirs::cache().join("variants"),
        corpus: None,
        inputs: None,
        progress: &mut |_, _| (),
    };
    backend::find(backend).expect("registered").prepare(request).expect("a variant")
}

/// Opens it on the CPU.
fn open(backend: &str, variant: Variant, workload: Workload, options: &[(&str, &str)]) -> Session {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let (device, threads) = ("cpu".into(), threads());
    let request = OpenRequest { variant, device, threads, workload, context: 4096, options };
    backend::find(backend).expect("registered").open(&request).expect("it opens")
}

/// The session of a text variant.
pub fn open_text(
    backend: &str,
    variant: Variant,
    options: &[(&str, &str)],
) -> Box<dyn TextSession> {
    let workload = Workload::Generate { prompt: PROMPT, decode: DECODE, depth: 0 };
    match open(backend, variant, workload, options) {
        Session::Text(session) => session,
        _ => panic!("a text session"),
    }
}

/// Token ids of no meaning, spread over the vocabulary.
pub fn prompt(vocabulary: u32) -> Vec<u32> {
    (0..PROMPT).map(|i| i.wrapping_mul(2_654_435_761) % vocabulary).collect()
}

/// What a side did in a round: greedy tokens behind the prompt, tokens a second of prefill and decode.
#[derive(Debug, Clone)]
pub struct Spoken {
    pub tokens: Vec<u32>,
    pub prefill: f64,
    pub decode: f64,
}

pub fn speak(session: &mut dyn TextSession, prompt: &[u32]) -> Spoken {
    session.reset().expect("reset");
    let start = Instant::now();
    let mut tokens = vec![session.prefill(prompt).expect("prefill")];
    let prefill = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..DECODE {
        tokens.push(session.decode(tokens[tokens.len() - 1]).expect("decode"));
    }
    let decode = start.elapsed().as_secs_f64();
    Spoken { tokens, prefill: f64::from(PROMPT) / prefill, decode: f64::from(DECODE) / decode }
}

/// Prints what [`interleaved`] rounds of text came to.
pub fn compare_text(name: &str, pairs: &[(Spoken, Spoken)]) {
    for (a, b) in pairs {
        println!("ours {:.1}/{:.1}, theirs {:.1}/{:.1}", a.prefill, a.decode, b.prefill, b.decode);
    }
    print_ratio(&format!("{name}: prefill"), pairs.iter().map(|(a, b)| (a.prefill, b.prefill)));
    print_ratio(&format!("{name}: decode"), pairs.iter().map(|(a, b)| (a.decode, b.decode)));
    let Some((a, b)) = pairs.last() else { return };
    let same = a.tokens.iter().zip(&b.tokens).take_while(|(a, b)| a == b).count();
    println!("{name}: {same} of {} greedy tokens the same", a.tokens.len());
}

/// A script in a Python of the framework's own: one JSON line in, one out.
pub struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub fn start(python: &Path, script: &str, request: &Value) -> Self {
        let mut child = Command::new(python)
            .args(["-I", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let from = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut peer = Self { to: child.stdin.take(), child, from };
        peer.ask(request);
        peer
    }

    pub fn ask(&mut self, line: &Value) -> Value {
        let to = self.to.as_mut().expect("open until dropped");
        writeln!(to, "{line}").expect("the peer reads");
        // Frameworks print to stdout too.
        let answer = self.from.by_ref().map_while(Result::ok).find(|l| l.starts_with('{'));
        serde_json::from_str(&answer.expect("the peer answers")).expect("JSON")
    }

    /// A round of text.
    pub fn speak(&mut self) -> Spoken {
        let answer = self.ask(&json!({}));
        let ids = answer["tokens"].as_array().expect("token ids");
        let speed = |key: &str| answer[key].as_f64().expect("a speed");
        Spoken {
            tokens: ids.iter().filter_map(Value::as_u64).map(|t| t as u32).collect(),
            prefill: speed("prefill"),
            decode: speed("decode"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// An ONNX file in FP32, opened and given inputs of `shape` (as in `1,128`); the axes and the inputs with it.
pub fn open_graph(
    backend: &str,
    path: &Path,
    shape: &str,
    options: &[(&str, &str)],
) -> (Box<dyn GraphSession>, Vec<usize>, Vec<Tensor>) {
    let axes: Vec<usize> = shape.split(',').map(|d| d.trim().parse().expect("a size")).collect();
    let variant = make(backend, path, Precision::F32);
    let workload = Workload::Infer { batch: axes[0] as u32, length: 0 };
    let Session::Graph(mut session) = open(backend, variant, workload, options) else {
        panic!("a graph session")
    };
    let inputs = inputs(path, &axes);
    session.set_inputs(&inputs).expect("inputs");
    (session, axes, inputs)
}

/// Inputs of one shape for every port of an ONNX file.
fn inputs(path: &Path, axes: &[usize]) -> Vec<Tensor> {
    let count = axes.iter().product();
    let graph = edge_advisor::formats::onnx::read(path).expect("an ONNX file");
    let tensor = |name: &str, dtype: &str| Tensor {
        name: name.to_owned(),
        shape: axes.to_vec(),
        data: match dtype {
            "INT64" => TensorData::I64(vec![1; count]),
            "INT32" => TensorData::I32(vec![1; count]),
            _ => TensorData::F32(vec![0.5; count]),
        },
    };
    graph.inputs.iter().map(|port| tensor(&port.name, &port.dtype)).collect()
}

/// Median milliseconds of one inference, over three seconds.
pub fn median_latency(session: &mut dyn GraphSession) -> f64 {
    let begin = Instant::now();
    let mut all = Vec::new();
    while begin.elapsed().as_secs_f64() < 3.0 {
        let start = Instant::now();
        session.run().expect("it runs");
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    stats::median(&all).expect("it ran")
}

/// Prints what [`interleaved`] rounds of latencies came to.
pub fn compare_latency(name: &str, pairs: &[(f64, f64)]) {
    for (a, b) in pairs {
        println!("ours {a:.3} ms, theirs {b:.3} ms");
    }
    print_ratio(&format!("{name}: median latency"), pairs.iter().copied());
}

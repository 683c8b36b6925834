//! The readers of untrusted data as functions of bytes: whatever the bytes, they may only return.
//!
//! Shared by the cargo-fuzz targets beside this file and by the bounded run in `tests/it/fuzz.rs`.

use std::path::{Path, PathBuf};

use edge_advisor::compare::{Judging, Policy, Side, compare};
use edge_advisor::formats::{
    OpenVinoIr, gguf::Gguf, inspect, onnx, safetensors, tokenizer::Tokenizer,
};
use edge_advisor::model::Metric;
use edge_advisor::probe::{self, HostFile, ProbeOptions, RecordedHost};
use edge_advisor::profile::{Overrides, Profile};
use edge_advisor::record::RunRecord;
use edge_advisor::report::{self, Grouping, ReportFormat};
use edge_advisor::suite::Suite;
use edge_advisor::worker::{Event, Request};

/// Name (also of its corpus) and function.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("gguf", gguf),
    ("safetensors", safetensors),
    ("onnx", onnx),
    ("openvino", openvino),
    ("record", record),
    ("protocol", protocol),
    ("config", config),
    ("probe", probe),
];

/// Runs the target of that name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).expect("a target's name");
    target(data);
}

/// This process's directory for files, in memory where there is such a place.
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    base.join(format!("edge-advisor-fuzz-{}", std::process::id()))
}

fn file(name: &str, data: &[u8]) -> PathBuf {
    let dir = scratch();
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let path = dir.join(name);
    std::fs::write(&path, data).expect("a scratch file");
    path
}

fn gguf(data: &[u8]) {
    let path = file("model.gguf", data);
    let _ = inspect(&path);
    if let Ok(gguf) = Gguf::open(&path) {
        let _ = gguf.encoded_metadata();
        if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
            let _ = tokenizer.encode("Once upon a time, 42 é");
        }
    }
}

fn safetensors(data: &[u8]) {
    let path = file("model.safetensors", data);
    if let Ok(read) = safetensors::read(&path) {
        let _ = safetensors::to_spec(&path, &read);
    }
}

fn onnx(data: &[u8]) {
    if let Ok(summary) = onnx::read(&file("model.onnx", data)) {
        let _ = summary.spec("fuzz");
    }
}

fn openvino(data: &[u8]) {
    file("model.bin", &[0; 64]);
    if let Ok(ir) = OpenVinoIr::open(&file("model.xml", data)) {
        let _ = (ir.as_onnx().spec("fuzz"), ir.constant_bytes());
    }
}

fn record(data: &[u8]) {
    let Ok(record) = RunRecord::load(&file("record.ndjson", data)) else { return };
    let _ = record.to_ndjson();
    let policy = Policy::default();
    if let Ok(side) = Side::new("fuzz", std::slice::from_ref(&record)) {
        compare(&side, &side, &policy, Judging::once(&policy));
    }
    let view = report::build(&[record], Grouping::ByRun);
    for format in ReportFormat::ALL {
        format.render(&view);
    }
    report::table::render(&view);
}

fn protocol(data: &[u8]) {
    for line in data.split(|b| *b == b'\n') {
        let _ = serde_json::from_slice::<Event>(line);
        let _ = serde_json::from_slice::<Request>(line);
    }
}

fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Suite::parse("fuzz", &text);
    if let Ok(profile) = Profile::parse(&text) {
        profile.device(&Overrides::default());
    }
    if let Ok(policy) = Policy::parse(&text) {
        policy.rule_for(Metric::DecodeTokS, "m/Q4_0/candle/cpu/pp512+tg128/t4");
        policy.unmatched_cases(&["a", "geomean"]);
    }
}

fn probe(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let whole =
        toml::from_str::<HostFile>(&text).ok().and_then(|d| RecordedHost::from_data(d).ok());
    // What is no recording of a host stands in every file of one.
    let host = whole.unwrap_or_else(|| {
        let known = include_str!("corpus/probe/container-cgroup-v1.toml");
        let data = toml::from_str(known).expect("a recording");
        RecordedHost::from_data(data).expect("a host").with_every_file(&text)
    });
    let report = probe::run(&host, ProbeOptions { use_cache: false });
    probe::host_state(&host);
    report.device();
    probe::fingerprint_facts(&report);
}

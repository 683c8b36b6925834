//! Embedding, vision and speech on real models: inputs, variants by ONNX Runtime's quantizers, agreement with FP32.

use std::path::Path;

use edge_advisor::backend;
use edge_advisor::catalog::{models_dir, resolve_model};
use edge_advisor::model::{CaseOutcome, FindingKind, Isa, Metric, Precision};
use edge_advisor::record::{CaseRecord, RunRecord};
use edge_advisor::runtime::python_env;
use edge_advisor::stats;

use crate::support::{edge_advisor, only_record, only_run};

/// True where runtime, tools and model are here; on CI they must be.
pub fn ready(tools: &str, model: &str) -> bool {
    let engine = backend::find("onnxruntime").expect("registered").availability();
    let (tools_here, model_here) = (python_env(tools).is_some(), resolve_model(model).is_ok());
    if engine.is_ready() && tools_here && model_here {
        return true;
    }
    let why = format!(
        "{engine:?}, {tools}: {tools_here}, {model}: {model_here}; tests/run installs them"
    );
    assert!(std::env::var("CI").is_err(), "{why}");
    eprintln!("skipped: {why}");
    false
}

/// Benches one model and gives the record back.
pub fn bench(out: &Path, model: &str, backend: &str, precisions: &str, more: &[&str]) -> RunRecord {
    edge_advisor()
        .args(["bench", "--model", model, "--backend", backend, "--precision", precisions])
        .args(["--quick", "--threads", "1", "--max-foreign-cpus", "9", "--quiet", "--out"])
        .arg(out)
        .args(more)
        .assert()
        .success();
    only_record(out)
}

pub fn case(record: &RunRecord, precision: Precision) -> &CaseRecord {
    let found = record.cases.iter().find(|c| c.case.precision == precision);
    let case = found.unwrap_or_else(|| panic!("no {precision}"));
    assert!(
        matches!(case.outcome, CaseOutcome::Completed),
        "{precision}: {:?}\n{}",
        case.outcome,
        case.stderr_tail
    );
    case
}

pub fn median(case: &CaseRecord, metric: Metric) -> f64 {
    stats::median(case.samples(metric)).unwrap_or_else(|| panic!("{}: no {metric}", case.case.id()))
}

fn size(case: &CaseRecord) -> u64 {
    case.variant.as_ref().unwrap().size_bytes
}

#[test]
fn a_sentence_encoder_runs_from_safetensors_and_keeps_its_ranking_in_eight_bits() {
    if !ready("onnx-tools", "all-minilm-l6-v2") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = bench(
        dir.path(),
        "all-minilm-l6-v2",
        "onnxruntime",
        "F32,INT8_DYNAMIC,INT4_SYM_G32",
        &["--length", "128"],
    );
    let full = case(&record, Precision::F32);
    let dynamic = case(&record, Precision::Int8Dynamic);
    let four = case(&record, Precision::Int4SymG32);
    assert_eq!(full.case.workload.key(), "b1x128");
    for c in [full, dynamic, four] {
        assert!(median(c, Metric::LatencyNs) > 0.0 && median(c, Metric::PeakRssBytes) > 1e7);
        assert!(median(c, Metric::LoadNs) > 0.0 && median(c, Metric::ThroughputPerS) > 0.0);
    }
    // The reference agrees with itself, and each step down costs some of it.
    assert!(median(full, Metric::CosineToReference) > 0.999_999);
    assert_eq!(median(full, Metric::RankAgreement), 1.0);
    assert!(median(dynamic, Metric::CosineToReference) > 0.95);
    assert!(median(dynamic, Metric::RankAgreement) > 0.85);
    assert!(median(dynamic, Metric::CosineToReference) < 1.0);
    assert!(median(four, Metric::CosineToReference) > 0.8);
    assert!(size(dynamic) * 3 < size(full) && size(four) < size(full));
    // Why it is as fast as it is stands under the row.
    let why = |c: &CaseRecord| c.findings.iter().map(|f| f.detail.clone()).collect::<String>();
    assert!(why(dynamic).contains("products compute in integers"), "{}", why(dynamic));
    assert!(why(four).contains("packed weights"), "{}", why(four));

    // The report and the gate carry the agreement like any other quality.
    let run = only_run(dir.path());
    let csv = edge_advisor().arg("report").arg(&run).args(["--format", "csv", "--quiet"]).assert();
    let csv = String::from_utf8_lossy(&csv.success().get_output().stdout).into_owned();
    for metric in ["latency_ns", "cosine_to_reference", "rank_agreement"] {
        assert!(csv.contains(metric), "{metric} in {csv}");
    }
}

#[test]
fn a_calibrated_picture_classifier_keeps_its_classes_and_says_what_slows_it() {
    if !ready("onnx-tools", "pulc-text-orientation") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = bench(
        dir.path(),
        "pulc-text-orientation",
        "onnxruntime",
        "F32,F16,INT8_STATIC,INT4_SYM_G32",
        &[],
    );
    let fixed = case(&record, Precision::Int8Static);
    assert!(size(fixed) * 3 < size(case(&record, Precision::F32)));
    assert!(median(fixed, Metric::OutputSnrDb) > 3.0);
    assert!(
        stats::mean(case(&record, Precision::F16).samples(Metric::Top1Agreement)).unwrap() > 0.9
    );
    let held = fixed.findings.iter().any(|f| f.detail.contains("quantize and"));
    assert!(held, "{:?}", fixed.findings);
    let cpu = &record.header.device.cpu;
    if cpu.arch == "x86_64" && !cpu.isa.contains(&Isa::Avx512Vnni) {
        assert!(fixed.findings.iter().any(|f| f.kind == FindingKind::MissingIsa));
    }
}

#[test]
fn a_voice_detector_calibrated_on_speech_and_pauses_keeps_its_output() {
    if !ready("onnx-tools", "silero-vad-16k") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = bench(dir.path(), "silero-vad-16k", "onnxruntime", "F32,INT8_STATIC", &[]);
    assert!(median(case(&record, Precision::F32), Metric::OutputSnrDb) > 100.0);
    assert!(median(case(&record, Precision::Int8Static), Metric::OutputSnrDb) > 10.0);
}

#[test]
fn what_cannot_be_made_or_fed_is_a_row_with_its_reason() {
    if !ready("onnx-tools", "pulc-text-orientation") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Batches that the graph is not made for, and a file that is no graph.
    let run = |model: &str, more: &[&str]| {
        let out = tempfile::tempdir_in(dir.path()).unwrap();
        let done = edge_advisor()
            .args(["bench", "--model", model, "--backend", "onnxruntime", "--precision", "F32"])
            .args(["--quick", "--quiet", "--out"])
            .arg(out.path())
            .args(more)
            .assert();
        let record = only_record(out.path());
        drop(done);
        record.cases[0].outcome.reason()
    };
    let why = run("silero-vad-16k", &["--batch", "2"]);
    assert!(why.contains("batches of 1 only"), "{why}");
    let broken = dir.path().join("broken.onnx");
    let whole =
        std::fs::read(models_dir().join("silero-vad-16k/silero_vad_openvino_16k.onnx")).unwrap();
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let out = dir.path().join("cut");
    edge_advisor()
        .args([
            "bench",
            "--backend",
            "onnxruntime",
            "--precision",
            "F32",
            "--quick",
            "--quiet",
            "--model",
        ])
        .arg(&broken)
        .arg("--out")
        .arg(&out)
        .assert()
        .failure();
}

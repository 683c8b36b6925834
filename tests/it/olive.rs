//! Microsoft Olive: its passes make the variants, ONNX Runtime runs them, and the record says which is which.

use std::path::{Path, PathBuf};

use edge_advisor::model::{CaseOutcome, Metric, Precision};

use crate::onnx_workloads::{bench, case, median, ready};
use crate::support::{edge_advisor, only_record};

#[test]
fn olive_makes_dynamic_and_k_quant_variants_that_onnxruntime_runs() {
    if !ready("olive", "all-minilm-l6-v2") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = bench(
        dir.path(),
        "all-minilm-l6-v2",
        "olive",
        "INT8_DYNAMIC,INT4_KQUANT,INT4_HQQ",
        &["--length", "64"],
    );
    for (precision, pass) in [
        (Precision::Int8Dynamic, "OnnxDynamicQuantization"),
        (Precision::Int4KQuant, "OnnxKQuantQuantization"),
    ] {
        let c = case(&record, precision);
        let made_by = &c.variant.as_ref().unwrap().made_by;
        assert!(made_by.starts_with("olive-ai 0.13") && made_by.ends_with(pass), "{made_by}");
        assert!(c.session.version.contains("1.32"), "run by ONNX Runtime {}", c.session.version);
        assert!(median(c, Metric::CosineToReference) > 0.9, "{precision}");
    }
    let hqq = record.cases.iter().find(|c| c.case.precision == Precision::Int4Hqq).unwrap();
    let CaseOutcome::Unsupported { reason } = &hqq.outcome else { panic!("{:?}", hqq.outcome) };
    assert!(reason.contains("torch"), "{reason}");
}

#[test]
fn olive_calibrates_static_int8_with_the_suites_inputs() {
    if !ready("olive", "pulc-text-orientation") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let record = bench(dir.path(), "pulc-text-orientation", "olive", "INT8_STATIC", &[]);
    let c = case(&record, Precision::Int8Static);
    let variant = c.variant.as_ref().unwrap();
    assert!(variant.made_by.ends_with("OnnxStaticQuantization"), "{}", variant.made_by);
    assert!(variant.size_bytes < 3_000_000);
    assert!(median(c, Metric::OutputSnrDb) > 20.0);
}

/// The small environment has no torch. `EDGE_ADVISOR_TEST_TORCH_MODEL`, a Hugging Face directory, and
/// `EDGE_ADVISOR_OLIVE_DIR`, an environment with torch, run ModelBuilder for real.
#[test]
fn olive_builds_decoders_of_hugging_face_directories_or_says_what_it_lacks() {
    if !ready("olive", "all-minilm-l6-v2") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let given = std::env::var_os("EDGE_ADVISOR_TEST_TORCH_MODEL").map(PathBuf::from);
    let source = given.clone().unwrap_or_else(|| tiny_directory(dir.path()));
    // Not `bench`: a run in which nothing can run has an exit code of its own.
    edge_advisor()
        .args(["bench", "--backend", "olive", "--precision", "INT4_SYM_G32", "--quick", "--quiet"])
        .args(["--prompt", "16", "--decode", "8", "--max-foreign-cpus", "9", "--model"])
        .args([&source, Path::new("--out"), &out])
        .assert()
        .code(if given.is_some() { 0 } else { 4 });
    let record = only_record(&out);
    let outcome = &record.cases[0].outcome;
    if given.is_some() {
        let variant = case(&record, Precision::Int4SymG32).variant.as_ref().unwrap();
        assert!(variant.made_by.ends_with("ModelBuilder"), "{}", variant.made_by);
        assert_eq!(variant.source_type, "F16");
        let model = &variant.path;
        assert!(model.ends_with("INT4_SYM_G32/model.onnx"), "{}", model.display());
        return;
    }
    let CaseOutcome::Unsupported { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("torch") && reason.contains("EDGE_ADVISOR_OLIVE_DIR"), "{reason}");
}

fn tiny_directory(dir: &Path) -> PathBuf {
    let model = dir.join("tiny");
    std::fs::create_dir(&model).unwrap();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 8}"#;
    std::fs::write(model.join("config.json"), config).unwrap();
    let header = r#"{"model.embed_tokens.weight": {"dtype": "F16", "shape": [8, 8], "data_offsets": [0, 128]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend([0; 128]);
    std::fs::write(model.join("model.safetensors"), file).unwrap();
    model
}

//! Microsoft Olive: its passes make the variants, ONNX Runtime runs them, and the record says which is which.

use edge_advisor::model::{CaseOutcome, Metric, Precision};

use crate::onnx_workloads::{bench, case, median, ready};

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

//! MLX on a real model: variants by its own quantizer, answers against other engines, and a Python that fails.

use std::path::{Path, PathBuf};

use edge_advisor::backend::{
    self, Backend, BackendError, OpenRequest, PrepareRequest, Session, TextSession,
};
use edge_advisor::dirs;
use edge_advisor::model::{FindingKind, Precision, Variant, Workload};
#[cfg(unix)]
use edge_advisor::{model::CaseOutcome, runtime};

use crate::sessions::{all_logits, best};
#[cfg(unix)]
use crate::support::{edge_advisor, only_record};

const MODEL: &str = "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

/// The backend and the real model, or `None` with a note where they are not installed.
fn installed() -> Option<(&'static dyn Backend, PathBuf)> {
    let backend = backend::find("mlx").expect("registered");
    let model = dirs::data().join(MODEL);
    if model.is_file() && backend.availability().is_ready() {
        return Some((backend, model));
    }
    let why =
        format!("mlx: {:?}, model: {model:?}; tests/run installs both", backend.availability());
    assert!(std::env::var("CI").is_err(), "{why}");
    eprintln!("skipped: {why}");
    None
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

fn open(backend: &dyn Backend, variant: Variant) -> Box<dyn TextSession> {
    let request = OpenRequest {
        variant,
        device: "cpu".into(),
        threads: 2,
        workload: Workload::Generate { prompt: 32, decode: 8, depth: 0 },
        context: 96,
        options: Default::default(),
    };
    match backend.open(&request).unwrap() {
        Session::Text(session) => session,
        _ => panic!("a text session"),
    }
}

/// Positions with the same greedy token, as a share.
fn same_top(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let same = a.iter().zip(b).filter(|(a, b)| best(a) == best(b)).count();
    same as f64 / a.len() as f64
}

/// The start of a story, tokenized by the model's own tokenizer.
fn tokens(model: &Path) -> Vec<u32> {
    use edge_advisor::formats::{gguf::Gguf, tokenizer::Tokenizer};
    let text = "The little boat had been tied to the same post for as long as anyone in the village could \
        remember. Every morning the old man walked down to the water, looked at the sky, and said that \
        tomorrow would be a better day to sail. The children laughed at him, but they came back.";
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(model).unwrap()).unwrap();
    let tokens = tokenizer.encode(text).unwrap();
    tokens[..48].to_vec()
}

#[test]
fn eight_bit_answers_as_its_own_f32_and_f32_as_another_engine() {
    let Some((mlx, model)) = installed() else { return };
    let tokens = tokens(&model);
    let full = make(mlx, &model, Precision::F32).unwrap();
    let eight = make(mlx, &model, Precision::MlxQ8G64).unwrap();
    assert_eq!(eight.types[0].dtype, "8-bit g64");
    assert!((eight.bits_per_weight - 8.5).abs() < 0.02, "{}", eight.bits_per_weight);
    assert_eq!(eight.source_type, "Q4_1");
    let mut session = open(mlx, full);
    let wide = all_logits(session.as_mut(), &tokens);
    // Prefill and decode go the other way through the model and reach the same token.
    session.reset().unwrap();
    assert_eq!(session.prefill(&tokens[..8]).unwrap(), best(&wide[7]));
    assert_eq!(session.decode(tokens[8]).unwrap(), best(&wide[8]));
    let facts = session.facts();
    let child = facts.child_pids[0];
    assert!(Path::new(&format!("/proc/{child}")).exists());
    assert!(facts.weight_bytes.unwrap() > 500_000_000, "{:?}", facts.weight_bytes);
    assert!(facts.kv_cache_bytes.unwrap() > 0);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(facts.findings[0].kind, FindingKind::FunctionalReference);
    }
    drop(session);
    assert!(!Path::new(&format!("/proc/{child}")).exists(), "Python outlives its session");

    let narrow = all_logits(open(mlx, eight).as_mut(), &tokens);
    let top1 = same_top(&wide, &narrow);
    assert!(top1 >= 0.97, "8-bit against its own F32: {top1}");

    let candle = backend::find("candle").unwrap();
    let other =
        all_logits(open(candle, make(candle, &model, Precision::F32).unwrap()).as_mut(), &tokens);
    assert!(same_top(&wide, &other) >= 0.97);
    let gap =
        wide.iter().zip(&other).flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
    let worst = gap.fold(0f32, f32::max);
    assert!(worst < 0.1, "logits differ by {worst}");
}

#[test]
fn variants_hold_the_bits_they_are_named_after() {
    let Some((mlx, model)) = installed() else { return };
    for precision in [
        Precision::F16,
        Precision::MlxQ4G32,
        Precision::MlxQ3G64,
        Precision::Nvfp4,
        Precision::MlxMixed,
    ] {
        let variant = make(mlx, &model, precision).unwrap();
        let off = variant.bits_per_weight - precision.bits_per_weight();
        // A mixed recipe's share of high bits depends on the model's shape.
        let slack = if precision == Precision::MlxMixed { 0.6 } else { 0.03 };
        assert!(off.abs() < slack, "{precision}: {} bits", variant.bits_per_weight);
        assert!(variant.fallbacks.is_empty(), "{:?}", variant.fallbacks);
        assert!(make(mlx, &model, precision).unwrap() == variant, "found in the cache");
    }
}

#[test]
fn groups_that_do_not_divide_the_rows_are_refused_with_the_widths() {
    let Some((mlx, model)) = installed() else { return };
    match make(mlx, &model, Precision::MlxQ4G128) {
        Err(BackendError::Unsupported(why)) => {
            assert!(
                why.contains("128") && why.contains("576") && why.contains("181 of 211"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_python_that_is_killed_in_mid_session_is_an_error_of_that_session() {
    let Some((mlx, model)) = installed() else { return };
    let mut session = open(mlx, make(mlx, &model, Precision::MlxQ4G32).unwrap());
    let child = session.facts().child_pids[0].to_string();
    std::process::Command::new("kill").args(["-9", &child]).status().unwrap();
    let e = session.prefill(&[1, 2, 3]).unwrap_err();
    assert!(matches!(&e, BackendError::OutOfMemory(t) if t.contains("killed")), "{e}");
}

#[test]
#[cfg(unix)]
fn a_broken_environment_is_one_reason_and_the_run_goes_on() {
    use std::os::unix::fs::PermissionsExt;
    let model = dirs::data().join(MODEL);
    if !model.is_file() {
        assert!(std::env::var("CI").is_err(), "no {model:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let python = dir.path().join("env/bin/python");
    std::fs::create_dir_all(python.parent().unwrap()).unwrap();
    std::fs::write(&python, "#!/bin/sh\necho 'mlx: wrong ELF class' >&2\nexit 9\n").unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let out = dir.path().join("out");
    let run = edge_advisor()
        .args(["bench", "--quick", "--quiet", "--allow-invalid", "--no-quality", "--seed", "1"])
        .args([
            "--backend",
            "mlx,null",
            "--precision",
            "F32,4BIT_G64",
            "--prompt",
            "8",
            "--decode",
            "4",
        ])
        .args(["--max-foreign-cpus", "1000", "--model"])
        .arg(&model)
        .arg("--out")
        .arg(&out)
        .env(runtime::override_variable("mlx"), dir.path().join("env"))
        .output()
        .unwrap();
    let record = only_record(&out);
    assert_eq!(record.cases.len(), 3, "{}", String::from_utf8_lossy(&run.stderr));
    for case in &record.cases {
        match case.case.backend.as_str() {
            "null" => assert_eq!(case.outcome, CaseOutcome::Completed),
            _ => {
                let why = case.outcome.reason();
                assert!(matches!(case.outcome, CaseOutcome::Failed { .. }), "{:?}", case.outcome);
                assert!(why.contains("code 9") && why.contains("wrong ELF class"), "{why}");
            }
        }
    }
}

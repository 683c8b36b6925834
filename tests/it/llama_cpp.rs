//! llama.cpp on a real model: the pinned library, its variants, and what it must never be given.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use edge_advisor::backend::{
    self, Backend, BackendError, OpenRequest, PrepareRequest, Session, TextSession,
};
use edge_advisor::catalog::{Catalog, Entry, SynthesizeError, build, synthesize};
use edge_advisor::formats::gguf::{Encoded, Gguf, GgufWriter, TensorDecl, to_spec};
use edge_advisor::model::{CaseOutcome, Metric, Precision, Variant, Workload};
use edge_advisor::predict::{KvPrecision, PlanFor, memory_plan};
use edge_advisor::probe::{self, LiveHost, ProbeOptions};
use edge_advisor::{dirs, runtime};

use crate::sessions::{TOKENS, all_logits, as_it_is, best, probabilities};
use crate::support::{edge_advisor, only_record};

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The library's log is the process's: sessions of tests side by side would read each other's sizes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub type Installed = (&'static dyn Backend, PathBuf, MutexGuard<'static, ()>);

/// The backend, the real model and the right to use them, or `None` with a note where they are not installed.
pub fn installed() -> Option<Installed> {
    let backend = backend::find("llama.cpp").expect("registered");
    let model = find(&dirs::data(), 5);
    match model {
        Some(model) if backend.availability().is_ready() => {
            let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            Some((backend, model, turn))
        }
        model => {
            let why = format!(
                "llama.cpp: {:?}, model: {model:?}; tests/run installs both",
                backend.availability()
            );
            assert!(std::env::var("CI").is_err(), "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn find(dir: &Path, depth: u32) -> Option<PathBuf> {
    let entries: Vec<PathBuf> =
        std::fs::read_dir(dir).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    let here = entries.iter().find(|p| p.file_name().is_some_and(|n| n == MODEL)).cloned();
    here.or_else(|| {
        let deeper = entries.iter().filter(|p| depth > 0 && p.is_dir());
        deeper.into_iter().find_map(|p| find(p, depth - 1))
    })
}

fn make(
    backend: &dyn Backend,
    source: &Path,
    precision: Precision,
    corpus: Option<&Path>,
) -> Result<Variant, BackendError> {
    backend.prepare(PrepareRequest {
        model: "smollm2-135m",
        source,
        precision,
        cache: &dirs::cache().join("variants"),
        corpus,
        inputs: None,
        progress: &mut |_, _| (),
    })
}

fn request(variant: Variant, context: u32, options: &[(&str, &str)]) -> OpenRequest {
    OpenRequest {
        variant,
        device: "cpu".into(),
        threads: 2,
        workload: Workload::Generate { prompt: 32, decode: 8, depth: 0 },
        context,
        options: options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

fn open(backend: &dyn Backend, r: &OpenRequest) -> Result<Box<dyn TextSession>, BackendError> {
    match backend.open(r)? {
        Session::Text(session) => Ok(session),
        _ => panic!("a text session"),
    }
}

#[test]
fn prefill_decode_and_logits_agree_and_repeat_after_a_reset() {
    let Some((backend, model, _turn)) = installed() else { return };
    let mut s = open(backend, &request(as_it_is(&model, Precision::Q4_1), 64, &[])).unwrap();
    assert_eq!(s.vocabulary(), 49152);
    let rows = all_logits(s.as_mut(), TOKENS);
    assert_eq!(rows.len(), TOKENS.len());
    assert!(rows.iter().flatten().all(|x| x.is_finite()));
    let greedy = |s: &mut dyn TextSession| {
        s.reset().unwrap();
        let mut tokens = vec![s.prefill(TOKENS).unwrap()];
        for _ in 0..7 {
            tokens.push(s.decode(*tokens.last().unwrap()).unwrap());
        }
        tokens
    };
    let first = greedy(s.as_mut());
    assert_eq!(first[0], best(&rows[TOKENS.len() - 1]));
    assert_eq!(first, greedy(s.as_mut()));
    let facts = s.facts();
    assert_eq!(facts.path, "library");
    assert!(facts.version.contains("b11434"), "{}", facts.version);
    // 30 layers x 64 positions (padded to 256) x 2 x 192 values of 2 bytes.
    assert!(facts.kv_cache_bytes.is_some_and(|b| (1 << 20..64 << 20).contains(&b)), "{facts:?}");
    assert!(facts.weight_bytes.is_some_and(|b| b > 90 << 20), "{facts:?}");
    assert!(facts.compute_buffer_bytes.is_some(), "{facts:?}");
    assert_eq!(facts.placement["cpu"], 31);
}

#[test]
fn a_batch_smaller_than_the_prompt_gives_the_same_answer() {
    let Some((backend, model, _turn)) = installed() else { return };
    let whole = open(backend, &request(as_it_is(&model, Precision::Q4_1), 64, &[]))
        .unwrap()
        .prefill(TOKENS);
    let options = [("batch", "8"), ("ubatch", "4")];
    let parts = open(backend, &request(as_it_is(&model, Precision::Q4_1), 64, &options))
        .unwrap()
        .prefill(TOKENS);
    assert_eq!(whole.unwrap(), parts.unwrap());
}

#[test]
fn a_quantized_cache_takes_less_and_unknown_options_are_refused() {
    let Some((backend, model, _turn)) = installed() else { return };
    let kv = |options: &[(&str, &str)]| {
        let s = open(backend, &request(as_it_is(&model, Precision::Q4_1), 512, options)).unwrap();
        s.facts().kv_cache_bytes.unwrap()
    };
    let (f16, q8) = (kv(&[]), kv(&[("kv", "q8_0"), ("fa", "on")]));
    let ratio = q8 as f64 / f16 as f64;
    assert!((ratio - 8.5 / 16.0).abs() < 0.02, "{ratio}");
    let e = open(backend, &request(as_it_is(&model, Precision::Q4_1), 64, &[("speed", "11")]))
        .err()
        .unwrap();
    assert!(matches!(e, BackendError::Unsupported(_)), "{e}");
}

#[test]
fn tokens_beyond_the_context_or_the_vocabulary_are_errors() {
    let Some((backend, model, _turn)) = installed() else { return };
    let mut s = open(backend, &request(as_it_is(&model, Precision::Q4_1), 256, &[])).unwrap();
    assert!(s.prefill(&[1; 300]).is_err());
    assert!(s.decode(60_000).is_err());
    assert!(s.prefill(&[]).is_err());
    assert!(s.prefill(&[1, 2, 3]).is_ok(), "an error leaves the session usable");
}

#[test]
fn variants_are_made_once_and_report_types_and_fallbacks() {
    let Some((backend, model, _turn)) = installed() else { return };
    let source = make(backend, &model, Precision::Q4_1, None).unwrap();
    assert_eq!((source.made_by.as_str(), &source.path), ("source", &model));
    let q4 = make(backend, &model, Precision::Q4_K_M, None).unwrap();
    assert_eq!(q4.source_type, "Q4_1");
    // 576 columns are no multiple of 256.
    assert!(q4.fallbacks.iter().any(|f| f.starts_with("Q4_K -> Q5_0: ")), "{:?}", q4.fallbacks);
    assert!(q4.types.iter().any(|t| t.dtype == "Q5_0"), "{:?}", q4.types);
    assert!((5.0..7.0).contains(&q4.bits_per_weight), "{}", q4.bits_per_weight);
    let made = std::fs::metadata(&q4.path).unwrap().modified().unwrap();
    assert_eq!(make(backend, &model, Precision::Q4_K_M, None).unwrap(), q4);
    assert_eq!(std::fs::metadata(&q4.path).unwrap().modified().unwrap(), made);
    let mut s = open(backend, &request(q4, 64, &[])).unwrap();
    assert!(s.prefill(TOKENS).unwrap() < 49152);
}

#[test]
fn types_that_need_an_importance_matrix_get_one_from_a_text() {
    let Some((backend, model, _turn)) = installed() else { return };
    let e = make(backend, &model, Precision::IQ2_XS, None).unwrap_err();
    assert!(e.to_string().contains("importance matrix"), "{e}");
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("text.txt");
    let text = "The river runs down from the hills to the sea, and the towns along it trade. ";
    std::fs::write(&corpus, text.repeat(80)).unwrap();
    // Of 576 columns it falls back to IQ4_NL, but the matrix is computed and read all the same.
    let made = make(backend, &model, Precision::IQ2_XS, Some(&corpus)).unwrap();
    assert!(made.made_by.contains("importance matrix"), "{}", made.made_by);
    let mut s = open(backend, &request(made, 64, &[])).unwrap();
    assert!(s.prefill(TOKENS).is_ok());
    std::fs::write(&corpus, "too short").unwrap();
    let e = make(backend, &model, Precision::IQ2_XS, Some(&corpus)).unwrap_err();
    assert!(e.to_string().contains("needs 512"), "{e}");
}

#[test]
fn mxfp4_of_a_dense_model_is_refused_rather_than_mislabelled() {
    let Some((backend, model, _turn)) = installed() else { return };
    let e = make(backend, &model, Precision::Mxfp4, None).unwrap_err();
    assert!(matches!(e, BackendError::Unsupported(_)) && e.to_string().contains("experts"), "{e}");
}

#[test]
fn the_memory_plan_is_what_is_allocated() {
    let Some((backend, model, _turn)) = installed() else { return };
    let spec = to_spec(&Gguf::open(&model).unwrap()).unwrap();
    let device = probe::run(&LiveHost::new(), ProbeOptions::default()).device();
    for precision in [Precision::F16, Precision::Q8_0, Precision::Q4_K_M, Precision::Q4_0] {
        let variant = make(backend, &model, precision, None).unwrap();
        let stored: u64 = variant.types.iter().map(|t| t.bytes).sum();
        let session = open(backend, &request(variant, 768, &[])).unwrap();
        let kv = KvPrecision::F16;
        let (backend, cpu_isa) = ("llama.cpp", &device.cpu.isa[..]);
        let q = PlanFor { precision: Some(precision), context: 768, kv, backend, cpu_isa };
        let plan = memory_plan(&spec, &q);
        assert!(plan.repacked > 0 || precision != Precision::Q4_0, "{precision}");
        assert_eq!(plan.weights, stored, "{precision}: weights by tensor");
        let facts = session.facts();
        let parts = [facts.weight_bytes, facts.kv_cache_bytes, facts.compute_buffer_bytes];
        let allocated: u64 = parts.into_iter().map(Option::unwrap).sum();
        let planned = plan.weights + plan.repacked + plan.kv_cache + plan.compute;
        let off = planned as f64 / allocated as f64 - 1.0;
        assert!(off.abs() < 0.05, "{precision}: {:.1} % off {parts:?}", off * 100.0);
    }
}

/// The library checks every tensor's name and shape, so it tells whether the catalogue's shapes are a file's.
#[test]
fn each_architecture_of_the_catalogue_runs_in_small() {
    let Some((backend, _, _turn)) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.gguf");
    let mut seen = BTreeSet::new();
    for entry in Catalog::load_with(None).unwrap().entries() {
        let Some(small) = in_small(entry) else { continue };
        let architecture = build(&small).architecture;
        if seen.contains(&architecture) {
            continue;
        }
        let make = |n| synthesize(&small, Precision::Q8_0, Some(n), &path, &mut |_, _| {});
        let made = match make(build(&small).layers.len().min(15) as u32) {
            Err(SynthesizeError::Layers { least, .. }) => make(least),
            made => made,
        };
        if matches!(made, Err(SynthesizeError::Architecture { .. })) {
            continue;
        }
        made.unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        let variant = as_it_is(&path, Precision::Q8_0);
        let mut session = open(backend, &request(variant, 256, &[]))
            .unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        let rows = all_logits(session.as_mut(), &[17, 400, 3]);
        assert!(rows.iter().flatten().all(|x| x.is_finite()), "{}", entry.name);
        let spec = to_spec(&Gguf::open(&path).unwrap()).unwrap();
        assert_eq!(spec.layers, build(&small).layers[..spec.layers.len()], "{}", entry.name);
        let (kv, backend, cpu_isa) = (KvPrecision::F16, "llama.cpp", &[][..]);
        let plan =
            memory_plan(&spec, &PlanFor { precision: None, context: 256, kv, backend, cpu_isa });
        let kept = session.facts().kv_cache_bytes.unwrap() as f64;
        // A cache behind a shorter window is padded by a batch.
        let least =
            if plan.kv_groups.iter().all(|g| [0, 256].contains(&g.positions)) { 0.98 } else { 0.5 };
        let share = plan.kv_cache as f64 / kept;
        assert!((least..1.02).contains(&share), "{}: {share} of {kept} planned", entry.name);
        seen.insert(architecture);
    }
    assert!(seen.len() >= 25, "{seen:?}");
}

/// The entry with narrow layers and few of everything, but as many layers and kinds of them.
fn in_small(entry: &Entry) -> Option<Entry> {
    let mut entry = entry.clone();
    let shape = entry.shape.as_mut()?;
    // Mixers of four times fewer heads; Granite's are twice as wide as the layer.
    let (twice, width) = (shape.ssm_inner == 2 * shape.hidden, shape.head_width().clamp(64, 256));
    shape.kv_heads = if shape.kv_heads == shape.heads { 4 } else { 2 };
    (shape.heads, shape.hidden) = (4, 4 * width);
    let fewer = if twice { shape.ssm_inner / (2 * shape.hidden) } else { 4 };
    shape.ssm_groups = shape.ssm_groups.div_ceil(4);
    shape.ssm_heads /= fewer.max(1);
    shape.ssm_inner /= fewer.max(1);
    shape.full_kv_heads = shape.full_kv_heads.min(1);
    let alike = shape.expert_ffn == shape.ffn;
    shape.expert_ffn = shape.expert_ffn.min(if alike { 256 } else { 128 });
    shape.ffn = shape.ffn.min(256);
    shape.shared_ffn = shape.shared_ffn.min(128);
    (shape.experts, shape.experts_used) = (shape.experts.min(8), shape.experts_used.min(2));
    // The first 15 layers are kept, five of them then read an earlier cache.
    if shape.shared_kv_layers > 0 {
        shape.shared_kv_layers = shape.layers - 10;
    }
    shape.vocabulary = shape.vocabulary.min(2048);
    Some(entry)
}

#[test]
fn the_embedded_engine_and_llama_cpp_agree_on_one_file() {
    let Some((backend, model, _turn)) = installed() else { return };
    let Some(candle) = backend::find("candle") else { return };
    let f16 = make(backend, &model, Precision::F16, None).unwrap();
    let mut a = open(backend, &request(f16.clone(), 64, &[])).unwrap();
    let mut b = open(candle, &request(f16, 64, &[])).unwrap();
    let (a, b) = (all_logits(a.as_mut(), TOKENS), all_logits(b.as_mut(), TOKENS));
    let mut same = 0;
    for (x, y) in a.iter().zip(&b) {
        same += u32::from(best(x) == best(y));
        let (p, q) = (probabilities(x), probabilities(y));
        let distance: f64 = p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0;
        assert!(distance < 0.02, "total variation {distance}");
    }
    assert!(same as usize >= TOKENS.len() - 1, "{same} of {}", TOKENS.len());
}

/// A copy of the model whose `<key>` of type u32 says `value`.
fn patched(model: &Path, dir: &Path, key: &str, value: u32) -> PathBuf {
    let mut bytes = std::fs::read(model).unwrap();
    let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let path = dir.join("patched.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn hostile_files_are_refused_before_the_library_can_abort() {
    let Some((backend, model, _turn)) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let e = open(backend, &request(as_it_is(path, Precision::Q4_1), 64, &[])).err().unwrap();
        assert!(matches!(e, BackendError::Unsupported(_)), "{e}");
        e.to_string()
    };
    let many = patched(&model, dir.path(), "llama.block_count", 4_000_000_000);
    assert!(refused(&many).contains("layers"));
    let wide = patched(&model, dir.path(), "llama.embedding_length", u32::MAX);
    assert!(refused(&wide).contains("embedding_length"));
    let short = dir.path().join("short.gguf");
    std::fs::write(&short, &std::fs::read(&model).unwrap()[..1 << 20]).unwrap();
    assert!(refused(&short).contains("short.gguf"));
    std::fs::write(&short, b"GGUF").unwrap();
    refused(&short);
}

#[test]
fn a_context_beyond_the_memory_is_refused_with_a_hint() {
    let Some((backend, model, _turn)) = installed() else { return };
    let e = open(backend, &request(as_it_is(&model, Precision::Q4_1), 2_000_000_000, &[]))
        .err()
        .unwrap();
    assert!(matches!(e, BackendError::OutOfMemory(_)), "{e}");
    assert!(e.to_string().contains("hint:"), "{e}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    let Some((backend, model, _turn)) = installed() else { return };
    let devices = backend.devices().unwrap();
    let cpu = devices.iter().find(|d| d.id == "cpu").expect("a CPU");
    assert!(cpu.memory_total_bytes.is_some_and(|b| b > 1 << 28), "{cpu:?}");
    let mut r = request(as_it_is(&model, Precision::Q4_1), 64, &[]);
    r.device = "CUDA7".into();
    let e = open(backend, &r).err().unwrap();
    assert!(matches!(&e, BackendError::Unsupported(t) if t.contains("cpu")), "{e}");
}

#[test]
fn installed_files_are_what_was_pinned() {
    let Some(installed) = runtime::find("llama.cpp").filter(|i| i.pinned) else { return };
    assert_eq!(runtime::check(&installed.dir), Ok(vec![]));
}

#[test]
fn a_synthetic_model_has_the_real_ones_size_and_the_sweep_names_the_best_thread_count() {
    let Some((backend, model, _turn)) = installed() else { return };
    let real = make(backend, &model, Precision::Q4_0, None).unwrap();
    let real = open(backend, &request(real, 64, &[])).unwrap().facts();
    let dir = tempfile::tempdir().unwrap();
    let run = edge_advisor()
        .args(["bench", "--synthetic", "smollm2-135m", "--backend", "llama.cpp", "--quick"])
        .args(["--precision", "Q4_0", "--device", "all,gpu", "--sweep-threads", "--prompt", "16"])
        .args(["--decode", "4", "--allow-invalid", "--max-foreign-cpus", "1000", "--seed", "1"])
        .args(["--cold-load", "--format", "json", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    let record = only_record(dir.path());
    assert_eq!(record.header.labels["weights"], "synthetic");
    let (gpu, cpu): (Vec<_>, Vec<_>) = record.cases.iter().partition(|c| c.case.device == "gpu");
    // The managed build is the CPU's: a GPU that is not there is a row with its reason.
    assert!(gpu.iter().all(|c| c.outcome.reason().contains("no such device")), "{said}");
    assert!(!gpu.is_empty() && !cpu.is_empty(), "{said}");
    for case in &cpu {
        assert_eq!(case.outcome, CaseOutcome::Completed, "{said}");
        assert!(case.samples(Metric::KlDivergence).is_empty(), "random weights have no quality");
        for load in [Metric::LoadNs, Metric::LoadColdNs] {
            assert_eq!(case.samples(load).len(), 1, "{load}");
        }
        let bytes = case.session.weight_bytes.unwrap() as f64;
        assert!((bytes / real.weight_bytes.unwrap() as f64 - 1.0).abs() < 0.01, "{bytes}");
    }
    assert!(cpu.len() == 1 || said.contains("fastest with"), "{said}");
}

/// The model in two files, as llama.cpp's own splitter names and marks them; the first one's path.
fn in_two(model: &Path, dir: &Path) -> PathBuf {
    let whole = Gguf::open(model).unwrap();
    let mut file = File::open(model).unwrap();
    let half = whole.tensors.len() / 2;
    let part = |n: u16| dir.join(format!("m-{n:05}-of-00002.gguf"));
    for (n, tensors) in [(1, &whole.tensors[..half]), (2, &whole.tensors[half..])] {
        let mut keys = if n == 1 { whole.encoded_metadata().unwrap() } else { Vec::new() };
        let count = i32::try_from(whole.tensors.len()).unwrap();
        keys.extend([
            ("split.no".to_owned(), Encoded::u16(n - 1)),
            ("split.count".to_owned(), Encoded::u16(2)),
            ("split.tensors.count".to_owned(), Encoded::i32(count)),
        ]);
        let declared: Vec<TensorDecl> = tensors
            .iter()
            .map(|t| TensorDecl {
                name: t.name.clone(),
                shape: t.shape.clone(),
                type_id: t.type_id,
            })
            .collect();
        let mut writer = GgufWriter::create(&part(n), &keys, &declared).unwrap();
        for t in tensors {
            let mut data = vec![0; t.bytes as usize];
            file.seek(SeekFrom::Start(t.offset)).unwrap();
            file.read_exact(&mut data).unwrap();
            writer.write(&data).unwrap();
        }
        writer.finish().unwrap();
    }
    part(1)
}

#[test]
fn a_model_in_two_files_runs_as_the_whole_one() {
    let Some((backend, model, _turn)) = installed() else { return };
    let dir = tempfile::tempdir().unwrap();
    let first = in_two(&model, dir.path());
    let run = |path: &Path| {
        let mut s = open(backend, &request(as_it_is(path, Precision::Q4_1), 64, &[])).unwrap();
        // The library reports sizes rounded to a hundredth of a MiB.
        let mib = s.facts().weight_bytes.unwrap() as f64 / f64::from(1 << 20);
        (mib.round(), s.prefill(TOKENS).unwrap(), s.decode(7).unwrap())
    };
    assert_eq!(run(&first), run(&model));
    // Another precision is made from both parts.
    let made = make(backend, &first, Precision::Q8_0, None).unwrap();
    let wanted = make(backend, &model, Precision::Q8_0, None).unwrap();
    assert_eq!(made.size_bytes, wanted.size_bytes);
    std::fs::remove_file(dir.path().join("m-00002-of-00002.gguf")).unwrap();
    let e = open(backend, &request(as_it_is(&first, Precision::Q4_1), 64, &[])).err().unwrap();
    assert!(e.to_string().contains("m-00002-of-00002.gguf"), "{e}");
}

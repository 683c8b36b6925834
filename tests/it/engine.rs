//! The embedded engine on a small model of a real shape: its ways of computing agree, and damage is an error.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use edge_advisor::backend::{
    self, BackendError, OpenRequest, PrepareRequest, Session, TextSession,
};
use edge_advisor::catalog::{Catalog, synthesize};
use edge_advisor::model::{Precision, Variant, Workload};
use tempfile::TempDir;

use crate::sessions::all_logits;

const TOKENS: [u32; 24] = [
    17, 4093, 256, 31999, 5, 5, 812, 40000, 9, 1, 77, 2048, 33, 34, 35, 7000, 12, 13, 90, 611, 2,
    8, 49151, 300,
];

/// Two layers of SmolLM2-135M with random weights.
fn source(dir: &Path) -> std::path::PathBuf {
    let catalog = Catalog::load().unwrap();
    let path = dir.join("source.gguf");
    let entry = catalog.get("smollm2-135m").unwrap();
    synthesize(entry, Precision::F16, Some(2), &path, &mut |_, _| {}).unwrap();
    path
}

fn make(source: &Path, dir: &Path, precision: Precision) -> Result<Variant, BackendError> {
    backend::find("candle").unwrap().prepare(PrepareRequest {
        model: "tiny",
        source,
        precision,
        cache: &dir.join("cache"),
        corpus: None,
        inputs: None,
        progress: &mut |_, _| {},
    })
}

fn open(
    variant: Variant,
    threads: u32,
    context: u32,
) -> Result<Box<dyn TextSession>, BackendError> {
    let request = OpenRequest {
        variant,
        device: "cpu".into(),
        threads,
        workload: Workload::Generate { prompt: 1, decode: 1, depth: 0 },
        context,
        options: Default::default(),
    };
    match backend::find("candle").unwrap().open(&request)? {
        Session::Text(session) => Ok(session),
        _ => panic!("a text session"),
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn reading_a_prompt_at_once_or_token_by_token_predicts_the_same() {
    let dir = TempDir::new().unwrap();
    let source = source(dir.path());
    for precision in
        [Precision::F32, Precision::F16, Precision::Q8_0, Precision::Q5_1, Precision::Q4_K_M]
    {
        for threads in [1, 2] {
            let variant = make(&source, dir.path(), precision).unwrap();
            let mut session = open(variant, threads, 64).unwrap();
            let rows = all_logits(session.as_mut(), &TOKENS);
            assert_eq!(rows.len(), TOKENS.len(), "{precision}");
            assert!(rows.iter().flatten().all(|x| x.is_finite()), "{precision}");

            session.reset().unwrap();
            let at_once = session.prefill(&TOKENS).unwrap();
            let best = |row: &[f32]| row.iter().copied().fold(f32::MIN, f32::max);
            let last = rows.last().unwrap();
            assert!(last[at_once as usize] >= best(last) - 0.05, "{precision} {threads}");

            // One token a call takes the decode kernels, with 8-bit activations where weights are quantized.
            session.reset().unwrap();
            for (i, &token) in TOKENS.iter().enumerate() {
                let mut row = Vec::new();
                session.logits(&[token], &mut |_, l| row = l.to_vec()).unwrap();
                let similar = cosine(&row, &rows[i]);
                assert!(similar > 0.99, "{precision} {threads} threads, position {i}: {similar}");
            }
        }
    }
}

#[test]
fn wider_variants_are_closer_to_the_source() {
    let dir = TempDir::new().unwrap();
    let source = source(dir.path());
    let mut reference = open(make(&source, dir.path(), Precision::F32).unwrap(), 2, 64).unwrap();
    let wanted = all_logits(reference.as_mut(), &TOKENS);
    let mut previous = 1.01;
    for precision in [Precision::F16, Precision::Q8_0, Precision::Q4_0] {
        let mut session = open(make(&source, dir.path(), precision).unwrap(), 2, 64).unwrap();
        let rows = all_logits(session.as_mut(), &TOKENS);
        let mean =
            rows.iter().zip(&wanted).map(|(a, b)| cosine(a, b)).sum::<f64>() / rows.len() as f64;
        assert!(mean < previous && mean > 0.8, "{precision}: {mean} after {previous}");
        previous = mean;
    }
}

#[test]
fn true_bits_per_weight_and_fallbacks_are_reported() {
    let dir = TempDir::new().unwrap();
    let variant = make(&source(dir.path()), dir.path(), Precision::Q4_K_M).unwrap();
    // Rows of 576 are no multiple of 256, so K-quants cannot hold them.
    assert!(!variant.fallbacks.is_empty());
    assert!(variant.bits_per_weight > Precision::Q4_K_M.bits_per_weight());
    let bytes: u64 = variant.types.iter().map(|t| t.bytes).sum();
    assert!(bytes <= variant.size_bytes && bytes * 10 > variant.size_bytes * 9);
    assert_eq!(
        make(&source(dir.path()), dir.path(), Precision::Q4_K_M).unwrap(),
        variant,
        "from the cache"
    );
}

#[test]
fn a_context_that_is_full_and_a_file_that_is_damaged_are_errors() {
    let dir = TempDir::new().unwrap();
    let source = source(dir.path());
    let variant = make(&source, dir.path(), Precision::Q8_0).unwrap();
    let mut session = open(variant.clone(), 1, 8).unwrap();
    assert!(session.prefill(&TOKENS).is_err());
    assert!(session.reset().and_then(|()| session.decode(u32::MAX)).is_err());

    let bytes = std::fs::read(&variant.path).unwrap();
    let path = dir.path().join("cut.gguf");
    for length in [0, 3, 100, 4_000, bytes.len() / 2] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let cut = Variant { path: path.clone(), ..variant.clone() };
        assert!(open(cut, 1, 8).is_err(), "{length} bytes");
    }
    // Lengths, counts and what lies between them in the header made huge, one in turn.
    std::fs::write(&path, &bytes).unwrap();
    let mut file = std::fs::File::options().write(true).open(&path).unwrap();
    let mut put = |at: usize, what: &[u8]| {
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(what).unwrap();
    };
    for at in (8..2_000.min(bytes.len() - 8)).step_by(23) {
        put(at, &u64::MAX.to_le_bytes());
        let hostile = Variant { path: path.clone(), ..variant.clone() };
        let _ = open(hostile, 1, 8);
        put(at, &bytes[at..at + 8]);
    }
}

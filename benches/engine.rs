//! The embedded engine by type: prefill of 128 tokens and one decode step, on six layers of SmolLM2-135M's shape.

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use edge_advisor::backend::{self, OpenRequest, PrepareRequest, Session, TextSession};
use edge_advisor::catalog::{Catalog, synthesize};
use edge_advisor::model::{Precision, Workload};

const PROMPT: usize = 128;

fn open(dir: &Path, source: &Path, precision: Precision) -> Box<dyn TextSession> {
    let engine = backend::find("candle").expect("the embedded engine is always there");
    let variant = engine
        .prepare(PrepareRequest {
            model: "synthetic",
            source,
            precision,
            cache: dir,
            corpus: None,
            inputs: None,
            progress: &mut |_, _| {},
        })
        .expect("a variant");
    let request = OpenRequest {
        variant,
        device: "cpu".into(),
        threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        workload: Workload::Generate { prompt: PROMPT as u32, decode: 1, depth: 0 },
        context: 2 * PROMPT as u32,
        options: Default::default(),
    };
    match engine.open(&request).expect("a session") {
        Session::Text(session) => session,
        _ => unreachable!("candle runs text models"),
    }
}

fn engine(c: &mut Criterion) {
    let dir = tempfile::TempDir::new().expect("scratch directory");
    let source = dir.path().join("source.gguf");
    let catalog = Catalog::load().expect("embedded catalogue");
    let entry = catalog.get("smollm2-135m").expect("in the catalogue");
    synthesize(entry, Precision::F16, Some(6), &source, &mut |_, _| {}).expect("a source");
    let tokens: Vec<u32> = (0..PROMPT as u32).map(|i| i * 379 % 49_152).collect();
    let info = backend::find("candle").expect("registered").info();
    for &precision in info.precisions {
        let mut session = open(dir.path(), &source, precision);
        let mut group = c.benchmark_group(precision.name());
        group.sample_size(20).throughput(Throughput::Elements(PROMPT as u64));
        group.bench_function("prefill", |b| {
            b.iter(|| {
                session.reset().expect("reset");
                session.prefill(&tokens).expect("prefill")
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function("decode", |b| {
            b.iter(|| {
                session.reset().expect("reset");
                session.decode(17).expect("decode")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);

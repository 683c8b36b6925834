//! What the harness itself costs: a worker's life, and one sample around a backend that does nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use edge_advisor::backend::{self, OpenRequest, PrepareRequest};
use edge_advisor::model::{Precision, Protocol, Workload};
use edge_advisor::worker::{Ended, Event, MeasureRequest, Request, Supervisor};

const DECODE: u32 = 100_000;

fn supervisor() -> Supervisor {
    let stop = Arc::new(AtomicBool::new(false));
    let mut supervisor = Supervisor::new(Duration::from_secs(60), stop).expect("own path");
    supervisor.executable = env!("CARGO_BIN_EXE_edge-advisor").into();
    supervisor
}

fn null_case(samples: u32) -> Request {
    let backend = backend::find("null").expect("the null backend is registered");
    let variant = backend
        .prepare(PrepareRequest {
            model: "none",
            source: std::path::Path::new("none"),
            precision: Precision::F32,
            cache: std::path::Path::new("none"),
            corpus: None,
            inputs: None,
            progress: &mut |_, _| {},
        })
        .expect("nothing to prepare");
    Request::Measure(Box::new(MeasureRequest {
        backend: "null".to_owned(),
        open: OpenRequest {
            variant,
            device: "cpu".to_owned(),
            threads: 1,
            workload: Workload::Generate { prompt: 1, decode: DECODE, depth: 0 },
            context: DECODE + 8,
            options: Default::default(),
        },
        protocol: Protocol {
            warmup_min: 0,
            warmup_max: 0,
            samples_min: samples,
            samples_max: samples,
            seconds_min: 0.0,
            ..Protocol::quick()
        },
        seed: 1,
        quality: None,
        graph: None,
    }))
}

fn harness(c: &mut Criterion) {
    let supervisor = supervisor();
    let mut group = c.benchmark_group("harness");
    group.sample_size(20);
    group.bench_function("worker life (spawn to exit)", |b| {
        let request = Request::Devices { backend: "null".to_owned() };
        b.iter(|| assert_eq!(supervisor.run(&request, &mut |_| {}).ended, Ended::Done));
    });
    // The inverse of this speed is what timing one decode step adds to it.
    let mut fastest: f64 = 0.0;
    let request = null_case(3);
    supervisor.run(&request, &mut |event| {
        if let Event::Sample { metric, value: Some(v), .. } = event
            && metric == edge_advisor::model::Metric::DecodeTokS
        {
            fastest = fastest.max(v);
        }
    });
    eprintln!("harness overhead a decode step: {:.1} ns", 1e9 / fastest);
    group.finish();
}

criterion_group!(benches, harness);
criterion_main!(benches);

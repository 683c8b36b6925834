//! Statistics, the gate and the history at the sizes people have.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use edge_advisor::compare::{Judging, Policy, Side, compare};
use edge_advisor::model::Metric;
use edge_advisor::record::RunRecord;
use edge_advisor::record::history::{Filter, History};
use edge_advisor::stats::summarize;

#[path = "../tests/it/records.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod records;

use records::{Run, case, noisy};

fn run(id: &str, seconds: u32, cases: u32, runs: u32) -> RunRecord {
    let mut run = Run::new(id, seconds);
    for r in 0..runs {
        for c in 0..cases {
            let mut case = case(edge_advisor::model::Precision::Q4_0);
            case.threads = c;
            let speed = noisy(seconds + r * 1000 + c, 10, 0.03);
            run = run.measured(case, r, &[(Metric::DecodeTokS, &speed)]);
        }
    }
    run.done()
}

fn summaries(c: &mut Criterion) {
    let samples = noisy(1, 30, 0.05);
    c.bench_function("summarize 30 samples", |b| b.iter(|| summarize(black_box(&samples), 1)));
    let samples = noisy(1, 1000, 0.05);
    c.bench_function("summarize 1000 samples", |b| b.iter(|| summarize(black_box(&samples), 1)));
}

fn gate(c: &mut Criterion) {
    let (base, head) = (run("a", 0, 50, 10), run("b", 1, 50, 10));
    let policy = Policy::default();
    c.bench_function("gate 50 metrics x 10 runs", |b| {
        b.iter(|| {
            let side = |r: &RunRecord| Side::new("x", std::slice::from_ref(r)).expect("a side");
            compare(&side(&base), &side(&head), &policy, Judging::once(&policy))
        });
    });
}

/// 1,000 runs of 100 cases: 100,000 case results.
fn history(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = History::open(&dir.path().join("history.sqlite")).expect("a store");
    for chunk in 0..10 {
        let runs: Vec<RunRecord> = (0..100)
            .map(|i| run(&format!("run-{chunk}-{i}"), chunk * 6000 + i * 60, 100, 1))
            .collect();
        history.add_all(&runs).expect("added");
    }
    let id = run("x", 0, 1, 1).cases[0].case.id();
    c.bench_function("history of 100,000 results: list 50 and one trend", |b| {
        b.iter(|| {
            let list = history.runs(&Filter { limit: Some(50), ..Filter::default() });
            let trend = history.trends(&id, Metric::DecodeTokS).expect("a trend");
            assert_eq!(trend[0].points.len(), 1000);
            (list.expect("a list"), trend)
        });
    });
}

criterion_group!(benches, summaries, gate, history);
criterion_main!(benches);

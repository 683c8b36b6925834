//! Reports at scale: 2,000 cases shall take at most 2 s and 8 MiB.

#[path = "../tests/support/records.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod records;

use criterion::{Criterion, criterion_group, criterion_main};
use edge_advisor::report::{self, Grouping, ReportFormat};

fn two_thousand_cases(c: &mut Criterion) {
    let record = [records::many(2_000)];
    let mut group = c.benchmark_group("report of 2,000 cases");
    group.sample_size(10);
    group.bench_function("view", |b| b.iter(|| report::build(&record, Grouping::ByRun)));
    let view = report::build(&record, Grouping::ByRun);
    let size = report::html::render(&view).len();
    println!("html of 2,000 cases: {:.2} MiB", size as f64 / f64::from(1 << 20));
    for format in ReportFormat::ALL {
        group.bench_function(format.extension(), |b| b.iter(|| format.render(&view)));
    }
    group.bench_function("view and html", |b| {
        b.iter(|| report::html::render(&report::build(&record, Grouping::ByRun)));
    });
    group.finish();
}

criterion_group!(benches, two_thousand_cases);
criterion_main!(benches);

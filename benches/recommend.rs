//! What a person waits for: the whole program, from start to exit, with a cached fingerprint.

use std::process::{Command, Stdio};

use criterion::{Criterion, criterion_group, criterion_main};

fn recommend(c: &mut Criterion) {
    let home = tempfile::TempDir::new().expect("scratch directory");
    let run = |args: &[&str]| {
        let status = Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
            .args(args)
            .env("EDGE_ADVISOR_CACHE_DIR", home.path().join("cache"))
            .env("EDGE_ADVISOR_DATA_DIR", home.path().join("data"))
            .current_dir(home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the binary runs");
        assert!(status.success(), "{args:?}");
    };
    run(&["recommend"]);
    let mut group = c.benchmark_group("recommend");
    group.sample_size(20);
    group.bench_function("one model", |b| b.iter(|| run(&["recommend", "smollm2-135m"])));
    group.bench_function("whole catalogue", |b| b.iter(|| run(&["recommend"])));
    group.bench_function("one model, a device that is not here", |b| {
        b.iter(|| run(&["recommend", "llama-3.2-1b", "--device", "rpi-5"]));
    });
    group.bench_function("nothing but starting", |b| b.iter(|| run(&["--version"])));
    group.finish();
}

criterion_group!(benches, recommend);
criterion_main!(benches);

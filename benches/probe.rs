//! How long a probe takes, and how its RAM bandwidth compares with STREAM (benches/stream/stream.c) in the same minute.

use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use edge_advisor::probe::{self, LiveHost, ProbeOptions};

fn probe_live(c: &mut Criterion) {
    let host = LiveHost::new();
    let options = ProbeOptions { use_cache: false };
    c.bench_function("probe", |b| b.iter(|| probe::run(&host, options)));
    c.bench_function("host_state", |b| b.iter(|| probe::host_state(&host)));
}

/// Interleaved, because other programs disturb both; the best of each side counts.
fn against_stream(_c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = dir.path().join("stream");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream/stream.c");
    let built = Command::new("gcc")
        .args(["-O3", "-march=native", "-fopenmp", "-DN_MIB=256", "-o"])
        .args([program.as_os_str(), source.as_ref()])
        .status();
    if !built.is_ok_and(|s| s.success()) {
        println!("stream comparison skipped: gcc with OpenMP is not installed");
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let rounds: usize =
        std::env::var("STREAM_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(8);
    let mut best = [("copy", 0.0f64, 0.0f64), ("triad", 0.0, 0.0), ("read", 0.0, 0.0)];
    for _ in 0..rounds {
        let output = Command::new(&program).output().expect("stream runs");
        let text = String::from_utf8_lossy(&output.stdout);
        for (kernel, theirs, ours) in &mut best {
            let line =
                text.lines().find_map(|l| l.strip_prefix(*kernel)?.trim().parse::<f64>().ok());
            *theirs = theirs.max(line.unwrap_or(0.0));
            // The same bytes a round: under load a shorter round is more often undisturbed.
            let arrays = match *kernel {
                "read" => 1,
                "copy" => 2,
                _ => 3,
            };
            let point = probe::ram_bandwidth(kernel, threads, (256 << 20) / 3 * arrays);
            *ours = ours.max(point.map_or(0.0, |p| p.gbs.best));
        }
    }
    for (kernel, theirs, ours) in best {
        println!(
            "{kernel:6} stream {theirs:6.2} GB/s, probe {ours:6.2} GB/s, ratio {:.3}",
            ours / theirs
        );
    }
}

criterion_group!(benches, probe_live, against_stream);
criterion_main!(benches);

//! A bounded run of the fuzz targets on every test run: seeded mutations of the checked-in corpora, a few seconds a
//! target, in a process with limited memory. The unbounded run is `cargo fuzz run TARGET` (docs/reliability.md).
#![cfg(unix)]

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Address space of the process: what a reader allocates beyond reason fails in it.
const MEMORY_KIB: u64 = 3 << 20;
/// Resident memory above which a target is out of bounds, whatever the file says.
const RESIDENT_KIB: u64 = 1 << 20;
/// No file as small as the corpora's may take longer.
const SLOWEST: Duration = Duration::from_secs(10);
const LONGEST_INPUT: usize = 64 << 10;

/// Values that sizes, counts and offsets go wrong with.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];
const WORDS: [&str; 16] = [
    "99999999999999999999",
    "-1",
    "nan",
    "1e999",
    "0.0",
    "null",
    "[[",
    "{}",
    "\"\"",
    "\\ud800",
    "\u{202e}",
    "\u{0}",
    "=cmd()",
    "<script>",
    "0-4294967295",
    "../../etc/passwd",
];

fn seconds() -> u64 {
    std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2)
}

/// Runs the target in a process of its own.
fn smoke(target: &str) {
    let this = std::env::current_exe().unwrap();
    let script = format!("ulimit -v {MEMORY_KIB}; exec \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(this)
        .args(["--exact", "fuzz::one_target", "--ignored", "--nocapture", "--test-threads=1"])
        .env("FUZZ_TARGET", target)
        // Each arena would take its share of the address space.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{target}: {}\n{text}\n{error}", output.status);
    assert!(text.contains("inputs,"), "{target} ran nothing: {text}");
}

#[test]
fn gguf_files() {
    smoke("gguf");
}
#[test]
fn safetensors_files() {
    smoke("safetensors");
}
#[test]
fn onnx_files() {
    smoke("onnx");
}
#[test]
fn openvino_files() {
    smoke("openvino");
}
#[test]
fn records() {
    smoke("record");
}
#[test]
fn worker_lines() {
    smoke("protocol");
}
#[test]
fn suites_profiles_and_policies() {
    smoke("config");
}
#[test]
fn recorded_hosts() {
    smoke("probe");
}

#[test]
fn every_target_has_a_corpus_a_cargo_fuzz_file_and_a_bounded_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in targets::TARGETS {
        assert!(!corpus(name).is_empty(), "{name}");
        assert!(root.join("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(include_str!("fuzz.rs").contains(&format!("smoke(\"{name}\")")), "{name}");
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

#[test]
#[ignore = "run by the others, in a process with limited memory"]
fn one_target() {
    let target = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    let seeds = corpus(&target);
    seeds.iter().for_each(|s| targets::run(&target, s));
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (begin, most) = (Instant::now(), Duration::from_secs(seconds()));
    let mut count = 0u64;
    while begin.elapsed() < most {
        let input = mutate(&seeds, &mut random);
        let before = Instant::now();
        let ran = std::panic::catch_unwind(|| targets::run(&target, &input));
        let slow = before.elapsed() > SLOWEST;
        if ran.is_err() || slow {
            let kept = std::env::temp_dir().join(format!("fuzz-{target}-{seed}-{count}"));
            std::fs::write(&kept, &input).unwrap();
            panic!(
                "input {count} of seed {seed} {}: {}",
                if slow { "is slow" } else { "panics" },
                kept.display()
            );
        }
        count += 1;
    }
    let _ = std::fs::remove_dir_all(targets::scratch());
    let resident = resident_peak_kib();
    println!("{target}: {count} inputs, {} MiB at most", resident >> 10);
    assert!(resident < RESIDENT_KIB, "{target} took {} MiB", resident >> 10);
}

/// Peak resident memory of this process; 0 where there is no /proc.
fn resident_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One of the seeds with a few changes.
fn mutate(seeds: &[Vec<u8>], random: &mut Pcg64Mcg) -> Vec<u8> {
    let mut data = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=data.len());
        let rest = data.len() - at;
        match random.random_range(0..9) {
            0 if rest > 0 => data[at] ^= 1 << random.random_range(0..8),
            1 if rest > 0 => data[at] = random.random(),
            2 if rest >= 4 => {
                let value = number(random) as u32;
                data[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            3 if rest >= 8 => {
                let value = number(random);
                data[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            4 => data.truncate(at),
            5 => {
                data.drain(at..at + random.random_range(0..=rest.min(64)));
            }
            6 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                let over = random.random_range(0..=rest.min(word.len()));
                data.splice(at..at + over, word.bytes());
            }
            7 => {
                let copy = data[at..at + random.random_range(0..=rest.min(256))].to_vec();
                data.splice(at..at, copy);
            }
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                let part = &other[from..other.len().min(from + 256)];
                data.splice(at..at, part.iter().copied());
            }
        }
    }
    data.truncate(LONGEST_INPUT);
    data
}

/// An awkward number, or one beside it.
fn number(random: &mut Pcg64Mcg) -> u64 {
    let value = NUMBERS[random.random_range(0..NUMBERS.len())];
    value.wrapping_add(random.random_range(0..3)).wrapping_sub(1)
}

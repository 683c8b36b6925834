//! What makes a number count: validity seen live, energy from counters that move, speed that decays.

use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use assert_cmd::Command;
use edge_advisor::formats::gguf::Gguf;
use edge_advisor::model::{CaseOutcome, FindingKind, Metric};
use edge_advisor::record::{CaseRecord, RunRecord};
use tempfile::TempDir;

use crate::support::{any_file, edge_advisor, only_record, only_run};

/// `bench` on the scripted backend, 2 ms a token.
fn bench(dir: &Path, more: &[&str]) -> Command {
    bench_by(edge_advisor(), dir, more)
}

fn bench_by(mut command: Command, dir: &Path, more: &[&str]) -> Command {
    command.args([
        "bench",
        "--quick",
        "--quiet",
        "--no-quality",
        "--backend",
        "fault",
        "--seed",
        "1",
    ]);
    command.args(["--precision", "F32", "--prompt", "8", "--option", "step_us=2000"]);
    command.arg("--model").arg(any_file(dir)).arg("--out").arg(dir.join("out")).args(more);
    command
}

/// Runs it with other load allowed and returns exit code and record.
fn measured(dir: &Path, more: &[&str]) -> (i32, RunRecord) {
    let mut command = bench(dir, more);
    let output = command.args(["--max-foreign-cpus", "1000"]).output().unwrap();
    (output.status.code().unwrap(), only_record(&dir.join("out")))
}

fn has(case: &CaseRecord, kind: FindingKind) -> bool {
    case.findings.iter().any(|f| f.kind == kind)
}

#[test]
fn an_invalid_case_fails_the_run_unless_allowed_and_a_sound_one_does_not() {
    for (fault, allow, code) in [("nan", false, 5), ("nan", true, 0), ("ok", false, 0)] {
        let dir = TempDir::new().unwrap();
        let option = format!("fault={fault}");
        let mut more = vec!["--option", &option];
        more.extend(allow.then_some("--allow-invalid"));
        let (got, record) = measured(dir.path(), &more);
        assert_eq!(got, code, "{fault} {allow}");
        let invalid = matches!(record.cases[0].outcome, CaseOutcome::Invalid { .. });
        assert_eq!(invalid, fault == "nan");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn load_of_other_programs_invalidates_what_ran_beside_it() {
    let dir = TempDir::new().unwrap();
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        let output = bench(dir.path(), &["--option", "fault=ok"]).output();
        stop.store(true, Ordering::Relaxed);
        output.unwrap()
    });
    assert_eq!(output.status.code(), Some(5));
    let record = only_record(&dir.path().join("out"));
    let case = &record.cases[0];
    assert!(has(case, FindingKind::ForeignLoad), "{:?}", case.findings);
    assert!(matches!(&case.outcome, CaseOutcome::Invalid { why } if why.contains("CPUs")));
    // The fixed workload before and after felt it too.
    assert!(record.end.unwrap().noise_before.unwrap() > 0.02);
}

#[test]
fn host_noise_is_measured_before_and_after_and_kept() {
    let dir = TempDir::new().unwrap();
    let (_, record) = measured(dir.path(), &["--option", "fault=ok"]);
    let end = record.end.unwrap();
    for noise in [end.noise_before, end.noise_after] {
        assert!(noise.is_some_and(|n| n.is_finite() && n >= 0.0), "{noise:?}");
    }
}

/// A package's counter below `sys`, which wraps behind 30 J and stands just before it.
#[cfg(target_os = "linux")]
fn package(sys: &Path, n: u32) -> PathBuf {
    let zone = sys.join(format!("class/powercap/intel-rapl:{n}"));
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("name"), format!("package-{n}")).unwrap();
    std::fs::write(zone.join("max_energy_range_uj"), "30000000").unwrap();
    let counter = zone.join("energy_uj");
    std::fs::write(&counter, "29900000").unwrap();
    counter
}

/// Spends one watt until told to stop.
#[cfg(target_os = "linux")]
fn spend(counter: &Path, stop: &AtomicBool) {
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let spent = (29_900_000 + start.elapsed().as_micros()) % 30_000_000;
        let new = counter.with_extension("new");
        std::fs::write(&new, spent.to_string()).unwrap();
        std::fs::rename(&new, counter).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn energy_a_token_comes_from_counters_that_wrap_less_the_idle_machine() {
    let dir = TempDir::new().unwrap();
    let sys = dir.path().join("sys");
    let (idle, load) = (package(&sys, 0), package(&sys, 1));
    let stop = AtomicBool::new(false);
    let record = std::thread::scope(|scope| {
        scope.spawn(|| spend(&idle, &stop));
        // The engine spends 20 mJ a token, and as much for two tokens of a prompt.
        let option = format!("counter={}", load.display());
        let mut command = bench(dir.path(), &["--decode", "100", "--option", &option]);
        command.args(["--max-foreign-cpus", "1000"]).env("EDGE_ADVISOR_SYSFS", &sys);
        let output = command.output();
        stop.store(true, Ordering::Relaxed);
        assert!(output.unwrap().status.success());
        only_record(&dir.path().join("out"))
    });
    let case = &record.cases[0];
    let energy = case.energy.as_ref().unwrap();
    assert_eq!(energy.source, "RAPL package-0 + package-1");
    assert_eq!(energy.scope, "CPU package");
    assert!((0.5..1.5).contains(&energy.idle_w.unwrap()), "{energy:?}");
    let within = |metric: Metric, joules: f64| {
        let samples = case.samples(metric);
        assert!(!samples.is_empty(), "{metric} {energy:?} {:?}", case.findings);
        let near = |s: &f64| (0.7 * joules..1.3 * joules).contains(s);
        assert!(samples.iter().all(near), "{metric} {samples:?} {energy:?}");
    };
    within(Metric::EnergyPerTokenJ, 0.020);
    assert_eq!(case.samples(Metric::EnergyPerTokenJ).len(), case.samples(Metric::DecodeTokS).len());
    // A prompt takes 8 ms, less than the counter needs: it is repeated.
    within(Metric::PrefillEnergyPerTokenJ, 0.010);
    let run = only_run(&dir.path().join("out"));
    let report = |format: &str| {
        let mut command = edge_advisor();
        command.arg("report").arg(&run).args(["--format", format, "--write", "none"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(report("csv").contains("energy_per_token_j"));
    for format in ["human", "markdown"] {
        assert!(report(format).contains("J a token"), "{}", report(format));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_host_without_a_counter_says_so_and_spends_no_time_on_it() {
    let dir = TempDir::new().unwrap();
    let mut command = bench(dir.path(), &["--option", "fault=ok", "--max-foreign-cpus", "1000"]);
    command.env("EDGE_ADVISOR_SYSFS", dir.path()).assert().success();
    let record = only_record(&dir.path().join("out"));
    let energy = record.cases[0].energy.as_ref().unwrap();
    assert!(energy.missing.contains("no energy counter"), "{energy:?}");
    assert!(record.cases[0].samples(Metric::EnergyPerTokenJ).is_empty());
    assert_eq!(record.cases[0].cooldown, None);
}

#[test]
fn a_speed_that_decays_is_followed_and_its_plateau_is_in_every_report() {
    let dir = TempDir::new().unwrap();
    let faults = ["--option", "fault=decay", "--option", "fault=ok"];
    let mut more = faults.to_vec();
    more.extend(["--sustain", "5s", "--decode", "16"]);
    let (code, record) = measured(dir.path(), &more);
    assert_eq!(code, 0);
    let case = |fault| record.cases.iter().find(|c| c.case.options["fault"] == fault).unwrap();
    let (decay, steady) = (case("decay"), case("ok"));
    assert!(decay.sustained.len() >= 20, "{}", decay.sustained.len());
    assert!(decay.sustained.iter().all(|p| p.speed.is_some()));
    assert!(decay.sustained.last().unwrap().seconds > 4.0);
    let ratio = |c: &CaseRecord| c.samples(Metric::SustainedRatio)[0];
    // Scripted: down to a quarter, of which part is gone when the measurement begins.
    // The machine may be busy with other tests, so the bounds are wide.
    assert!((0.1..0.9).contains(&ratio(decay)), "{}", ratio(decay));
    assert!(ratio(steady).is_finite());
    assert!(case("ok").series(Metric::DecodeTokS).unwrap().samples.len() < 20, "kept apart");
    let run = only_run(&dir.path().join("out"));
    for (format, words) in [
        ("human", "sustains"),
        ("markdown", "sustains"),
        ("csv", "sustained_ratio"),
        ("json", "plateau"),
    ] {
        let mut command = edge_advisor();
        command.arg("report").arg(&run).args(["--format", format, "--write", "none"]);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(text.contains(words), "{format}: {text}");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    entries.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

#[test]
fn a_real_engine_on_a_damaged_file_gives_garbage_and_no_result() {
    let Some((_, model, _turn)) = crate::llama_cpp::installed() else { return };
    let dir = TempDir::new().unwrap();
    let cache = dir.path().join("cache");
    let bench = |out: &str| {
        let mut command = edge_advisor();
        command.args(["bench", "--quick", "--quiet", "--backend", "llama.cpp", "--seed", "1"]);
        command.args(["--precision", "Q4_0", "--prompt", "16", "--decode", "8"]);
        command.args(["--max-foreign-cpus", "1000", "--model"]).arg(&model);
        command.env("EDGE_ADVISOR_CACHE_DIR", &cache).arg("--out").arg(dir.path().join(out));
        let code = command.output().unwrap().status.code();
        (code, only_record(&dir.path().join(out)))
    };
    let (code, sound) = bench("sound");
    assert_eq!(code, Some(0), "{:?}", sound.cases[0].outcome);
    assert!(!has(&sound.cases[0], FindingKind::GarbageOutput));
    assert!(has(&sound.cases[0], FindingKind::QualityReferenceBiased), "the source is Q4_1");

    let variant = &sound.cases[0].variant.as_ref().unwrap().path;
    let file = files(&cache).into_iter().find(|f| f.ends_with(variant)).expect("the variant made");
    let gguf = Gguf::open(&file).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    // Blocks of 4-bit weights in another order: each is sound, together they are no model.
    for t in gguf.tensors.iter().filter(|t| t.type_name() == "Q4_0") {
        let start = t.offset as usize;
        let blocks = &mut bytes[start..start + t.bytes as usize];
        blocks.rotate_left(18 * (blocks.len() / 18 / 3));
    }
    std::fs::write(&file, bytes).unwrap();
    let (code, damaged) = bench("damaged");
    let case = &damaged.cases[0];
    assert_eq!(code, Some(5), "{:?}", case.findings);
    assert!(has(case, FindingKind::GarbageOutput), "{:?}", case.findings);
    assert!(matches!(case.outcome, CaseOutcome::Invalid { .. }));
}

/// Packages carry builds for newer CPUs: the widest that runs here measures, and one of another version is refused.
#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn a_build_for_this_cpu_runs_the_cases() {
    use std::os::unix::fs::PermissionsExt;
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("movbe")) {
        eprintln!("skipped: this CPU is of no level above the baseline");
        return;
    }
    let dir = TempDir::new().unwrap();
    let program = dir.path().join("bin/edge-advisor");
    let libexec = dir.path().join("libexec/edge-advisor");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::create_dir_all(&libexec).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_edge-advisor"), &program).unwrap();
    let worker = libexec.join("edge-advisor-worker-x86-64-v3");
    let install = |script: String| {
        std::fs::write(&worker, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = |out: &str| {
        let out = dir.path().join(out);
        std::fs::create_dir(&out).unwrap();
        let more = ["--option", "fault=ok", "--max-foreign-cpus", "1000"];
        bench_by(Command::new(&program), &out, &more).output().unwrap();
        only_record(&out.join("out"))
    };
    let mark = dir.path().join("used");
    install(format!("touch '{}'; exec '{}' \"$@\"", mark.display(), program.display()));
    let record = run("wide");
    assert!(mark.is_file() && record.cases[0].outcome.is_completed());
    assert!(record.header.build.compiled_isa.contains(&"avx2".to_owned()));

    install(
        "echo '{\"event\":\"hello\",\"protocol_version\":1,\"version\":\"0.0.1\"}'; sleep 5"
            .to_owned(),
    );
    let stale = run("stale").cases[0].outcome.clone();
    let why = stale.reason();
    assert!(
        !stale.is_completed() && why.contains("0.0.1") && why.contains("x86-64-v3"),
        "{stale:?}"
    );
}

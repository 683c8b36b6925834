//! What a machine does to a run: kills, signals, full and read-only disks, two at once, a runtime that vanishes.
#![cfg(unix)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edge_advisor::record::RunRecord;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{any_file, only_run};

/// Cases of the short suite: thread counts x runs.
const CASES: usize = 12;

/// A scratch directory with a model, a suite of short cases and a data directory.
struct Scratch {
    dir: TempDir,
    suite: PathBuf,
}

impl Scratch {
    fn new(backend: &str, options: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let model = any_file(dir.path());
        let suite = dir.path().join("short.toml");
        let text = format!(
            "name = 'short'\nruns = 6\n\
             [protocol]\nwarmup_min = 0\nwarmup_max = 0\nsamples_min = 1\nsamples_max = 1\n\
             seconds_min = 0.0\nseconds_max = 1.0\ndeadline_s = 60.0\nforeign_cpus_max = 1000.0\n\
             [[group]]\nmodels = ['{}']\nbackends = ['{backend}']\nprecisions = ['F32']\n\
             workloads = [{{ kind = 'generate', prompt = 4, decode = 2 }}]\nthreads = [1, 2]\n{options}",
            model.display()
        );
        std::fs::write(&suite, text).unwrap();
        Self { dir, suite }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-advisor"));
        command.env("EDGE_ADVISOR_DATA_DIR", self.path("data"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn bench(&self, out: &Path) -> Command {
        let mut command = self.command();
        command.args(["bench", "--quiet", "--no-quality", "--suite"]).arg(&self.suite);
        command.arg("--out").arg(out);
        command
    }

    fn resume(&self, run: &Path) -> Output {
        let mut command = self.command();
        command.args(["bench", "--quiet", "--no-quality", "--resume"]).arg(run).output().unwrap()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The record under `out`, once there is one with `lines` whole lines.
fn wait_for_lines(out: &Path, lines: usize) -> PathBuf {
    let begin = Instant::now();
    loop {
        let run = std::fs::read_dir(out).ok().and_then(|mut d| d.next()?.ok()).map(|e| e.path());
        if let Some(run) = run
            && lines_of(&run) >= lines
        {
            return run;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no record with {lines} lines");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lines_of(run: &Path) -> usize {
    let text = std::fs::read(run.join("record.ndjson")).unwrap_or_default();
    text.iter().filter(|b| **b == b'\n').count()
}

fn assert_complete(run: &Path) {
    let record = RunRecord::load(run).unwrap();
    let mut ids: Vec<_> = record.cases.iter().map(|c| (c.case.id(), c.run)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), record.cases.len()), (CASES, CASES), "every case once");
    assert!(record.end.is_some_and(|e| !e.interrupted) && !record.truncated);
}

/// Kills runs at random moments; how many had a record by then.
fn kill_runs(count: usize, seed: u64) -> usize {
    let scratch = Scratch::new("null", "");
    let begin = Instant::now();
    assert!(scratch.bench(&scratch.path("whole")).output().unwrap().status.success());
    let whole = begin.elapsed().as_secs_f64();
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut with_record = 0;
    for i in 0..count {
        let out = scratch.path(&format!("out{i}"));
        let mut child = scratch.bench(&out).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(whole * random.random::<f64>()));
        let run = std::fs::read_dir(&out).ok().and_then(|mut d| d.next()?.ok()).map(|e| e.path());
        let before = run.as_deref().map_or(0, lines_of);
        child.kill().unwrap();
        child.wait().unwrap();
        let Some(run) = run.filter(|r| r.join("record.ndjson").exists()) else { continue };
        with_record += 1;
        let record = RunRecord::load(&run).unwrap_or_else(|e| panic!("run {i}: {e}"));
        let lines = 1 + record.cases.len() + usize::from(record.end.is_some());
        assert!(lines >= before.max(1), "run {i}: {lines} lines, {before} were there");
        let order: Vec<u32> = record.cases.iter().map(|c| c.order).collect();
        assert!(order.iter().copied().eq(0..order.len() as u32), "run {i}: a gap in {order:?}");
        if record.end.is_none() {
            let resumed = scratch.resume(&run);
            assert!(resumed.status.success(), "run {i}: {}", text(&resumed));
        }
        assert_complete(&run);
    }
    with_record
}

#[test]
fn runs_killed_at_random_moments_keep_every_finished_case_and_resume() {
    assert!(kill_runs(16, 1) > 4, "too few kills struck a run");
}

#[test]
#[ignore = "minutes; its count stands in docs/reliability.md"]
fn two_hundred_runs_killed_at_random_moments() {
    println!("{} of 200 killed runs had a record", kill_runs(200, 2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_does_not_outlive_a_killed_run() {
    let scratch = Scratch::new("fault", "options = { fault = ['hang'] }\n");
    let out = scratch.path("out");
    let mut child = scratch.bench(&out).spawn().unwrap();
    wait_for_lines(&out, 1);
    let begin = Instant::now();
    let worker = loop {
        if let Some(worker) = worker_of(&child) {
            break worker;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no worker came");
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = || {
        let line = std::fs::read(format!("/proc/{worker}/cmdline")).unwrap_or_default();
        line.windows(8).any(|w| w == b"__worker")
    };
    let begin = Instant::now();
    while alive() {
        assert!(begin.elapsed() < Duration::from_secs(10), "worker {worker} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
fn worker_of(parent: &Child) -> Option<u32> {
    let is_worker = |pid: &u32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = String::from_utf8(read("status")).unwrap_or_default();
        let mine = status
            .lines()
            .any(|l| l.strip_prefix("PPid:").is_some_and(|p| p.trim() == parent.id().to_string()));
        mine && read("cmdline").windows(8).any(|w| w == b"__worker")
    };
    std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .find(is_worker)
}

#[test]
fn interrupt_and_termination_both_end_in_a_record_that_resumes() {
    for signal in [Signal::INT, Signal::TERM] {
        let scratch = Scratch::new("fault", "options = { step_us = ['20000'] }\n");
        let out = scratch.path("out");
        let mut child = scratch.bench(&out).spawn().unwrap();
        let run = wait_for_lines(&out, 2);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}: {stderr}");
        let record = RunRecord::load(&run).unwrap();
        assert!(record.end.as_ref().is_some_and(|e| e.interrupted), "{signal:?}");
        assert!((1..CASES).contains(&record.cases.len()), "{signal:?}: {}", record.cases.len());
        let resumed = scratch.resume(&run);
        assert!(resumed.status.success(), "{}", text(&resumed));
        assert_complete(&run);
    }
}

#[test]
fn two_runs_in_one_directory_do_not_meet() {
    let scratch = Scratch::new("null", "");
    let out = scratch.path("out");
    let both: Vec<Child> = (0..2).map(|_| scratch.bench(&out).spawn().unwrap()).collect();
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    let runs: Vec<PathBuf> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(runs.len(), 2);
    runs.iter().for_each(|run| assert_complete(run));
}

#[test]
fn a_run_that_is_under_way_is_not_resumed_a_second_time() {
    let scratch = Scratch::new("fault", "options = { fault = ['hang'] }\n");
    let out = scratch.path("out");
    let mut child = scratch.bench(&out).spawn().unwrap();
    let run = wait_for_lines(&out, 1);
    let second = scratch.resume(&run);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(second.status.code(), Some(3), "{}", text(&second));
    assert!(text(&second).contains("another process") && text(&second).contains("hint:"));
}

/// Runs `command` with a file system in memory over `at`, of `size` bytes or read-only, in a mount namespace of its
/// own, and copies what it left there to `keep`. `None` where the kernel gives users no namespaces.
#[cfg(target_os = "linux")]
fn mounted(at: &Path, options: &str, keep: &Path, command: &Command) -> Option<Output> {
    let allowed = Command::new("unshare").args(["-rm", "true"]).output();
    if !allowed.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no user namespaces here");
        return None;
    }
    std::fs::create_dir_all(at).unwrap();
    std::fs::create_dir_all(keep).unwrap();
    let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 99\n\
                  at=$2 keep=$3; shift 3; \"$@\"; code=$?; cp -r \"$at/.\" \"$keep\"; exit $code";
    let mut wrapped = Command::new("unshare");
    wrapped.args(["-rm", "sh", "-c", script, "sh", options]).arg(at).arg(keep);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        wrapped.env(key, value.unwrap_or_default());
    }
    Some(wrapped.output().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_keeps_the_cases_before_and_the_run_resumes_elsewhere() {
    let scratch = Scratch::new("null", "");
    assert!(scratch.bench(&scratch.path("whole")).output().unwrap().status.success());
    let whole = std::fs::read(only_run(&scratch.path("whole")).join("record.ndjson")).unwrap();
    let header = whole.iter().position(|b| *b == b'\n').unwrap();
    let half = (header + (whole.len() - header) / 2).next_multiple_of(4096);
    let (at, keep) = (scratch.path("small"), scratch.path("kept"));
    let bench = scratch.bench(&at);
    let Some(output) = mounted(&at, &format!("size={half}"), &keep, &bench) else { return };
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("No space left") && said.contains("--resume"), "{said}");
    let run = only_run(&keep);
    let record = RunRecord::load(&run).unwrap();
    assert!((1..CASES).contains(&record.cases.len()) && record.end.is_none());
    let resumed = scratch.resume(&run);
    assert!(resumed.status.success(), "{}", text(&resumed));
    assert_complete(&run);
}

#[cfg(target_os = "linux")]
#[test]
fn directories_that_cannot_be_written_are_named_or_done_without() {
    let scratch = Scratch::new("null", "");
    let keep = scratch.path("kept");
    let at = scratch.path("closed");
    let bench = scratch.bench(&at.join("out"));
    let Some(output) = mounted(&at, "ro", &keep, &bench) else { return };
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot write record") && said.contains("hint:"), "{said}");
    // Without a place for the history the run itself goes on.
    let at = scratch.path("data");
    let bench = scratch.bench(&scratch.path("out"));
    let output = mounted(&at, "ro", &keep, &bench).unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_complete(&only_run(&scratch.path("out")));
    // Nor can variants be made without a cache: one error with its path.
    let at = scratch.path("cache");
    let mut bench = scratch.bench(&scratch.path("out2"));
    bench.env("EDGE_ADVISOR_CACHE_DIR", at.join("below"));
    let output = mounted(&at, "ro", &keep, &bench).unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("below") && said.contains("hint:"), "{said}");
}

#[test]
fn a_history_that_another_process_holds_is_waited_for() {
    let scratch = Scratch::new("null", "");
    let out = scratch.path("out");
    assert!(scratch.bench(&out).output().unwrap().status.success());
    let store = rusqlite::Connection::open(scratch.path("data").join("history.sqlite")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let history = |args: &[&str]| {
        let mut command = scratch.command();
        command.arg("history").args(args);
        command
    };
    // Readers do not wait; a writer does.
    assert!(history(&["list"]).output().unwrap().status.success());
    let run = only_run(&out).display().to_string();
    let mut add = history(&["add", &run]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(add.try_wait().unwrap().is_none(), "it should wait");
    store.execute_batch("COMMIT").unwrap();
    let added = add.wait_with_output().unwrap();
    assert!(added.status.success(), "{}", text(&added));
}

#[test]
fn a_runtime_that_is_removed_during_a_run_is_an_outcome_of_the_cases_after_it() {
    use edge_advisor::runtime;
    let (Some(installed), Ok(cache)) =
        (runtime::find("llama.cpp").filter(|i| i.pinned), std::env::var("EDGE_ADVISOR_TEST_CACHE"))
    else {
        eprintln!("skipped: tests/run installs llama.cpp and a model");
        return;
    };
    let scratch = Scratch::new("null", "");
    let runtimes = scratch.path("data/runtimes/llama.cpp");
    std::fs::create_dir_all(&runtimes).unwrap();
    let copied = Command::new("cp").arg("-r").arg(&installed.dir).arg(&runtimes).status().unwrap();
    assert!(copied.success());
    let models = Path::new(&cache).join("data/models");
    std::os::unix::fs::symlink(models, scratch.path("data/models")).unwrap();
    let out = scratch.path("out");
    let mut command = scratch.command();
    command.args(["bench", "--quiet", "--no-quality", "--quick", "--model", "smollm2-135m"]);
    command.args([
        "--backend",
        "llama.cpp",
        "--precision",
        "F16",
        "--prompt",
        "8",
        "--decode",
        "4",
    ]);
    command.args(["--max-foreign-cpus", "1000", "--runs", "3", "--out"]).arg(&out);
    let child = command.spawn().unwrap();
    let run = wait_for_lines(&out, 2);
    std::fs::remove_dir_all(&runtimes).unwrap();
    let output = child.wait_with_output().unwrap();
    let record = RunRecord::load(&run).unwrap();
    assert_eq!(record.cases.len(), 3, "{}", text(&output));
    assert!(record.cases[0].outcome.is_completed(), "{:?}", record.cases[0].outcome);
    let last = &record.cases[2].outcome;
    assert!(!last.is_completed() && !last.reason().is_empty(), "{last:?}");
}

#[test]
fn a_pager_that_is_left_early_is_no_error_of_any_listing() {
    let scratch = Scratch::new("null", "");
    let out = scratch.path("out");
    assert!(scratch.bench(&out).output().unwrap().status.success());
    let run = only_run(&out);
    let binary = env!("CARGO_BIN_EXE_edge-advisor");
    let run = run.display();
    for command in [
        format!("report '{run}' --write none --format csv"),
        format!("report '{run}' --write none --format json"),
        format!("compare '{run}' '{run}'"),
        "history list".to_owned(),
        "models list".to_owned(),
        "profiles list".to_owned(),
    ] {
        let line = format!("set -o pipefail; '{binary}' {command} | head -c 1 > /dev/null");
        let output = Command::new("bash")
            .args(["-c", &line])
            .env("EDGE_ADVISOR_DATA_DIR", scratch.path("data"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output));
        let said = text(&output).to_lowercase();
        assert!(!said.contains("error") && !said.contains("panic"), "{command}: {said}");
    }
}

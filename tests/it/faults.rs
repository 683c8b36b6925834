//! Every way a worker can end becomes an outcome, and the run goes on.

use std::collections::BTreeMap;

use edge_advisor::model::{CaseOutcome, Finding, FindingKind, Metric, Phase};
use edge_advisor::record::{CaseRecord, RunRecord};
use tempfile::TempDir;

use crate::support::{any_file, edge_advisor, only_record, only_run};

/// Runs the fault backend with the given faults, a case each, and returns the cases by fault.
fn bench(faults: &[&str], extra: &[&str]) -> (TempDir, i32, BTreeMap<String, CaseRecord>) {
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    let mut command = edge_advisor();
    command.args(["bench", "--quick", "--quiet", "--allow-invalid", "--backend", "fault"]);
    command.args(["--precision", "F32", "--seed", "1", "--prompt", "8", "--decode", "4"]);
    // Other tests run beside this one.
    command.args(["--max-foreign-cpus", "1000"]);
    command.arg("--model").arg(model).arg("--out").arg(dir.path().join("out")).args(extra);
    for fault in faults {
        command.args(["--option", &format!("fault={fault}")]);
    }
    let code = command.output().unwrap().status.code().unwrap();
    let record = only_record(&dir.path().join("out"));
    let cases = record.cases.into_iter().map(|c| (c.case.options["fault"].clone(), c)).collect();
    (dir, code, cases)
}

#[test]
fn each_fault_gives_its_outcome_and_the_others_still_run() {
    let faults = [
        "ok",
        "panic",
        "abort",
        "exit",
        "exit_quietly",
        "garbage",
        "binary",
        "half_line",
        "alloc_fails",
        "unsupported",
        "not_installed",
        "out_of_memory",
        "error",
        "error_in_decode",
        "wrong_token",
        "nan",
        "constant",
        "empty",
        "stdout_noise",
    ];
    let (_dir, code, cases) = bench(&faults, &[]);
    assert_eq!(code, 5, "some cases failed");
    assert_eq!(cases.len(), faults.len());
    let outcome = |fault: &str| &cases[fault].outcome;
    assert_eq!(outcome("ok"), &CaseOutcome::Completed);
    assert_eq!(outcome("stdout_noise"), &CaseOutcome::Completed);
    assert_eq!(outcome("panic"), &CaseOutcome::Crashed { signal: None, code: Some(101) });
    assert!(cases["panic"].stderr_tail.contains("scripted panic"));
    assert_eq!(outcome("abort"), &CaseOutcome::Crashed { signal: Some(6), code: None });
    assert_eq!(outcome("exit"), &CaseOutcome::Crashed { signal: None, code: Some(7) });
    for fault in ["exit_quietly", "garbage", "binary", "half_line"] {
        assert!(matches!(outcome(fault), CaseOutcome::ProtocolError { .. }), "{fault}");
    }
    for fault in ["alloc_fails", "out_of_memory"] {
        assert!(matches!(outcome(fault), CaseOutcome::OutOfMemory { .. }), "{fault}");
    }
    assert!(matches!(outcome("unsupported"), CaseOutcome::Unsupported { .. }));
    assert!(matches!(outcome("not_installed"), CaseOutcome::Skipped { .. }));
    for fault in ["error", "error_in_decode", "wrong_token"] {
        assert!(matches!(outcome(fault), CaseOutcome::Failed { .. }), "{fault}");
    }
    for (fault, kind) in [
        ("nan", FindingKind::NonFiniteOutput),
        ("constant", FindingKind::GarbageOutput),
        ("empty", FindingKind::EmptyOutput),
    ] {
        assert!(matches!(outcome(fault), CaseOutcome::Invalid { .. }), "{fault}");
        assert!(cases[fault].findings.iter().any(|f| f.kind == kind), "{fault}");
    }
}

#[test]
fn a_hang_ends_at_its_deadline_and_the_phase_is_named() {
    let (_dir, _, cases) = bench(&["hang", "hang_in_decode", "ok"], &["--deadline", "1"]);
    assert_eq!(cases["hang"].outcome, CaseOutcome::TimedOut { phase: Phase::Load });
    assert_eq!(cases["hang_in_decode"].outcome, CaseOutcome::TimedOut { phase: Phase::Warmup });
    assert!(cases["ok"].outcome.is_completed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_runaway_allocation_is_stopped_at_the_limit() {
    let (_dir, _, cases) = bench(&["huge_allocation", "ok"], &["--max-worker-memory", "1GiB"]);
    assert!(matches!(cases["huge_allocation"].outcome, CaseOutcome::OutOfMemory { .. }));
    assert!(cases["ok"].outcome.is_completed());
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_a_worker_leaves_behind_is_gone_after_its_case() {
    let sleepers = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| std::fs::read(e.ok()?.path().join("cmdline")).ok())
            .filter(|c| c.as_slice() == b"sleep\x003600\x00")
            .count()
    };
    let before = sleepers();
    let (_dir, _, cases) = bench(&["child_leak"], &[]);
    assert!(cases["child_leak"].outcome.is_completed());
    assert_eq!(sleepers(), before);
}

#[test]
fn samples_are_counted_apart_from_warm_up_and_everything_asked_for_is_measured() {
    let (_dir, code, cases) = bench(&["ok"], &[]);
    assert_eq!(code, 0);
    let case = &cases["ok"];
    for metric in [Metric::PrefillTokS, Metric::DecodeTokS, Metric::TtftNs] {
        let series = case.series(metric).unwrap();
        assert!(!series.warmup.is_empty() && series.samples.len() >= 3, "{metric}");
    }
    for metric in [Metric::LoadNs, Metric::PeakRssBytes] {
        assert_eq!(case.samples(metric).len(), 1, "{metric}");
    }
}

#[test]
fn a_run_cut_off_in_a_line_is_read_and_resumed_to_the_same_set_of_cases() {
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    let out = dir.path().join("out");
    let bench = |more: &[&str]| {
        let mut command = edge_advisor();
        command.args(["bench", "--quiet"]).args(more).output().unwrap()
    };
    let (model, out_text) = (model.display().to_string(), out.display().to_string());
    let fresh = [
        "--quick",
        "--backend",
        "fault",
        "--model",
        &model,
        "--out",
        &out_text,
        "--runs",
        "2",
        "--prompt",
        "4",
        "--decode",
        "2",
        "--max-foreign-cpus",
        "1000",
    ];
    assert_eq!(bench(&fresh).status.code(), Some(0));
    let run = only_run(&out);
    let file = run.join("record.ndjson");
    let whole = RunRecord::load(&run).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let third = text.match_indices('\n').nth(3).unwrap().0;
    std::fs::write(&file, &text[..third + 40]).unwrap();

    let cut = RunRecord::load(&run).unwrap();
    assert!(cut.truncated && cut.end.is_none());
    assert_eq!(cut.cases.len(), 3);

    let run_text = run.display().to_string();
    assert_eq!(bench(&["--resume", &run_text]).status.code(), Some(0));
    let resumed = RunRecord::load(&run).unwrap();
    let ids = |r: &RunRecord| {
        let mut ids: Vec<_> = r.cases.iter().map(|c| (c.case.id(), c.run)).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&resumed), ids(&whole));
    assert!(resumed.end.is_some() && !resumed.truncated);
    assert_eq!(resumed.cases[..3], cut.cases[..]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_valid_record_and_says_how_to_go_on() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    let out = dir.path().join("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
        .args(["bench", "--backend", "fault", "--precision", "F32", "--quick", "--deadline", "60"])
        .args(["--option", "fault=ok", "--option", "fault=hang", "--runs", "3", "--seed", "3"])
        .arg("--model")
        .arg(model)
        .arg("--out")
        .arg(&out)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // Once the record exists the run is under way; the hanging case holds it there.
    while !std::fs::read_dir(&out).is_ok_and(|mut d| d.next().is_some()) {
        std::thread::yield_now();
    }
    let mut first = String::new();
    let _ = stderr.read_line(&mut first);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{first}{rest}");
    assert!(rest.contains("--resume"), "{rest}");
    let record = only_record(&out);
    assert!(record.end.unwrap().interrupted);
}

#[test]
fn a_simulator_s_times_reach_no_record_report_or_comparison() {
    let (dir, code, cases) = bench(&["ok", "simulated"], &[]);
    assert_eq!(code, 0);
    let case = &cases["simulated"];
    assert_eq!(case.outcome, CaseOutcome::Completed);
    assert!(case.series.iter().all(|s| s.metric.is_quality()), "{:?}", case.series);
    assert!(!cases["ok"].samples(Metric::DecodeTokS).is_empty());

    // A record that somebody else wrote loses them when it is read.
    let run = only_run(&dir.path().join("out"));
    let mut forged = RunRecord::load(&run).unwrap();
    for case in &mut forged.cases {
        case.findings.push(Finding::note(FindingKind::Simulated, "x"));
    }
    let text = forged.to_ndjson().unwrap();
    assert!(text.contains("decode_tok_s"));
    let other = dir.path().join("forged");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("record.ndjson"), text).unwrap();
    let record = RunRecord::load(&other).unwrap();
    assert!(
        record.cases.iter().all(|c| c.is_simulated() && c.samples(Metric::DecodeTokS).is_empty())
    );
    let csv = |run: &std::path::Path| {
        let args = ["--format", "csv", "--write", "none"];
        let out = edge_advisor().arg("report").arg(run).args(args).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(csv(&run).contains("decode_tok_s"));
    let shown = csv(&other);
    assert!(shown.contains("simulated") && !shown.contains("decode_tok_s"), "{shown}");
    let compare = edge_advisor().arg("compare").arg(&run).arg(&other).output().unwrap();
    let text = String::from_utf8(compare.stdout).unwrap();
    assert!(!text.contains("faster") && !text.contains("slower"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_at_the_start_is_an_error_and_leaves_no_run_behind() {
    let dir = TempDir::new().unwrap();
    let (model, out) = (any_file(dir.path()), dir.path().join("out"));
    let bench = |limit: &str| {
        std::process::Command::new("sh")
            .args(["-c", &format!("{limit} exec \"$@\""), "sh"])
            .args([env!("CARGO_BIN_EXE_edge-advisor"), "bench", "--quick", "--no-quality"])
            .args(["--backend", "fault", "--precision", "F32", "--option", "fault=ok"])
            .args(["--max-foreign-cpus", "1000", "--model"])
            .arg(&model)
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap()
    };
    // The first run fills the caches.
    assert!(bench("").status.success());
    std::fs::remove_dir_all(&out).unwrap();
    // A file size limit of zero refuses every write, as a full disk does.
    let output = bench("trap '' XFSZ; ulimit -f 0;");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("cannot write record"), "{text}");
    assert!(!out.exists() || std::fs::read_dir(&out).unwrap().next().is_none());
}

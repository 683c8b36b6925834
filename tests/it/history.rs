//! The history store: what goes in comes out, under two writers, a kill, and damage.

use std::path::Path;

use edge_advisor::model::{Metric, Precision};
use edge_advisor::record::RunRecord;
use edge_advisor::record::history::{Filter, History, HistoryError};

use crate::records::{Run, case, write};

fn record(i: u32, speed: f64) -> RunRecord {
    Run::new(&format!("run-{i:04}"), i * 60)
        .measured(case(Precision::Q4_0), 0, &[(Metric::DecodeTokS, &[speed, speed + 1.0])])
        .measured(case(Precision::Q8_0), 0, &[(Metric::DecodeTokS, &[speed / 2.0])])
        .done()
}

fn open(dir: &Path) -> History {
    History::open(&dir.join("history.sqlite")).expect("a store")
}

#[test]
fn a_run_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(dir.path());
    let mut first = record(1, 50.0);
    first.cases[0].series[0].samples.push(f64::NAN);
    history.add(&first).expect("added");
    history.add(&record(2, 51.0)).expect("added");
    let back = history.record("run-0001").expect("a record");
    assert_eq!(back.header, first.header);
    assert_eq!(back.cases.len(), 2);
    assert!(back.cases[0].series[0].samples[2].is_nan());
    assert_eq!(history.record("run-0002").expect("a record"), record(2, 51.0));
    assert!(matches!(history.record("run-9"), Err(HistoryError::NoRun(_))));
    assert!(matches!(history.record("run-"), Err(HistoryError::Ambiguous { count: 2, .. })));
}

#[test]
fn adding_a_run_again_replaces_it_and_keeps_its_baseline() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(dir.path());
    let mut run = record(1, 50.0);
    let all = run.cases.clone();
    run.cases.truncate(1);
    history.add(&run).expect("added");
    history.save_baseline("v1", &["run-0001".into()]).expect("saved");
    run.cases = all;
    history.add(&run).expect("added again");
    let runs = history.runs(&Filter::default()).expect("runs");
    assert_eq!((runs.len(), runs[0].cases), (1, 2));
    assert_eq!(runs[0].baselines, ["v1"]);
}

#[test]
fn a_trend_marks_the_step_and_prune_keeps_baselines() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut history = open(dir.path());
    let runs: Vec<RunRecord> = (0..30)
        .map(|i| record(i, if i < 20 { 50.0 } else { 40.0 } + f64::from(i % 3) * 0.2))
        .collect();
    history.add_all(&runs).expect("added");
    let id = case(Precision::Q4_0).id();
    let trends = history.trends(&id, Metric::DecodeTokS).expect("trends");
    assert_eq!((trends.len(), trends[0].points.len()), (1, 30));
    let steps: Vec<usize> = (0..30).filter(|i| trends[0].points[*i].step).collect();
    assert_eq!(steps, [20]);
    history.save_baseline("old", &["run-0000".into()]).expect("saved");
    assert_eq!(history.prune(5).expect("pruned"), 24);
    let left = history.runs(&Filter::default()).expect("runs");
    assert_eq!(left.len(), 6);
    assert_eq!(left[5].run_id, "run-0000");
    let trends = history.trends(&id, Metric::DecodeTokS).expect("trends");
    assert_eq!(trends[0].points.len(), 6);
}

#[test]
fn two_writers_do_not_lose_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    // Both open, and so migrate, at the same time.
    let writers: Vec<_> = (0..2u32)
        .map(|w| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || {
                let mut history = open(&path);
                for i in 0..20 {
                    history.add(&record(w * 100 + i, 50.0)).expect("added");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("a writer that ends well");
    }
    assert_eq!(open(dir.path()).runs(&Filter::default()).expect("runs").len(), 40);
}

#[cfg(unix)]
#[test]
fn a_writer_that_is_killed_leaves_whole_runs_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let records: Vec<_> =
        (0..40).map(|i| write(&dir.path().join("records"), &record(i, 50.0))).collect();
    assert_eq!(records.len(), 40);
    let data = dir.path().join("data");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
        .args(["history", "add"])
        .arg(dir.path().join("records"))
        .env("EDGE_ADVISOR_DATA_DIR", &data)
        .spawn()
        .expect("the binary runs");
    // Killed as soon as the store is there: before, within or after its transaction.
    while !data.join("history.sqlite").exists() {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        std::thread::yield_now();
    }
    let _ = child.kill();
    let _ = child.wait();
    let mut history = open(&data);
    let found = history.runs(&Filter::default()).expect("runs").len();
    assert!(found == 0 || found == 40, "{found} runs of one transaction");
    history.add(&record(100, 50.0)).expect("the store still takes runs");
}

#[test]
fn a_newer_or_damaged_store_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let path = dir.path().join("history.sqlite");
    let connection = rusqlite::Connection::open(&path).expect("the file");
    connection.pragma_update(None, "user_version", 99).expect("a version");
    drop(connection);
    assert!(matches!(History::open(&path), Err(HistoryError::Newer { found: 99, .. })));
    let junk = dir.path().join("junk.sqlite");
    std::fs::write(&junk, "this is not a database, whatever its name says".repeat(40))
        .expect("a file");
    assert!(History::open(&junk).is_err());
}

#[test]
fn the_commands_list_show_trend_export_and_prune() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
            .current_dir(dir.path())
            .args(args)
            .env("EDGE_ADVISOR_DATA_DIR", dir.path().join("data"))
            .output()
            .expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for i in 0..12 {
        write(&dir.path().join("in"), &record(i, if i < 6 { 50.0 } else { 30.0 }));
    }
    assert_eq!(run(&["history", "add", "in"]).0, Some(0));
    let (code, list, _) = run(&["history", "list", "--limit", "3"]);
    assert_eq!((code, list.lines().count()), (Some(0), 4));
    assert!(list.lines().all(|l| l.chars().count() <= 80), "{list}");
    assert!(run(&["history", "show", "run-0003"]).1.contains("m/Q4_0/candle"));
    let (code, trend, _) = run(&["history", "trend", "--case", "*/Q4_0/*", "--svg", "t.svg"]);
    assert_eq!(code, Some(0));
    assert!(trend.contains("step at run-0006") && trend.contains("-39.6 %"), "{trend}");
    let svg = std::fs::read_to_string(dir.path().join("t.svg")).expect("a drawing");
    assert!(svg.starts_with("<svg") && svg.contains("decode_tok_s"));
    assert_eq!(run(&["history", "export", "run-0003", "--out", "x.ndjson"]).0, Some(0));
    let back = RunRecord::load(&dir.path().join("x.ndjson")).expect("a record");
    assert_eq!(back, record(3, 50.0));
    assert_eq!(run(&["history", "prune", "--keep", "2"]).0, Some(0));
    assert_eq!(run(&["history", "list"]).1.lines().count(), 3);
    let (code, _, error) = run(&["history", "show", "nope"]);
    assert!(code == Some(3) && error.contains("hint: "), "{error}");
}

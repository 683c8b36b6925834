//! Wrong input ends in one error with a cause, a hint and its exit code.

use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::support::{any_file, edge_advisor};

#[test]
fn an_unknown_subcommand_or_flag_is_a_usage_error() {
    edge_advisor().arg("benhc").assert().code(2).stderr(contains("bench"));
    edge_advisor().args(["bench", "--modle", "x"]).assert().code(2).stderr(contains("--model"));
}

#[test]
fn a_model_that_is_not_here_comes_with_the_command_that_gets_it() {
    edge_advisor()
        .args(["bench", "--model", "no-such-model", "--backend", "null", "--dry-run"])
        .assert()
        .code(3)
        .stderr(contains("no-such-model").and(contains("hint:")));
}

#[test]
fn an_unknown_backend_or_precision_is_answered_with_those_that_exist() {
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    let bench = |more: &[&str]| {
        let mut c = edge_advisor();
        c.args(["bench", "--dry-run", "--model"]).arg(&model).args(more);
        c.assert().code(3)
    };
    bench(&["--backend", "lama.cpp"]).stderr(contains("backends: "));
    bench(&["--backend", "null", "--precision", "Q4_K"]).stderr(contains("Q4_K_M"));
    bench(&["--backend", "null", "--precision", "Q4_K_M"]).stderr(contains("it offers: F32"));
}

#[test]
fn a_suite_with_an_unknown_key_names_it() {
    let dir = TempDir::new().unwrap();
    let suite = dir.path().join("s.toml");
    std::fs::write(&suite, "name='s'\n[[group]]\nmodles=['m']\nworkloads=[]\n").unwrap();
    edge_advisor()
        .args(["bench", "--suite"])
        .arg(suite)
        .assert()
        .code(3)
        .stderr(contains("unknown field `modles`").and(contains("models")));
}

#[cfg(unix)]
#[test]
fn an_output_directory_that_cannot_be_written_is_said_before_anything_runs() {
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    // A file where a directory must be: holds for root as well.
    edge_advisor()
        .args(["bench", "--quick", "--backend", "null", "--model"])
        .arg(&model)
        .arg("--out")
        .arg(model.join("below"))
        .assert()
        .code(3)
        .stderr(contains("cannot write record").and(contains("--out")));
}

#[test]
fn a_record_of_a_newer_schema_is_refused() {
    let dir = TempDir::new().unwrap();
    let line = "{\"header\":{\"schema_version\":99,\"run_id\":\"x\"}}\n";
    std::fs::write(dir.path().join("record.ndjson"), line).unwrap();
    edge_advisor()
        .args(["bench", "--resume"])
        .arg(dir.path())
        .assert()
        .code(3)
        .stderr(contains("schema 99"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = TempDir::new().unwrap();
    let model = any_file(dir.path());
    let binary = env!("CARGO_BIN_EXE_edge-advisor");
    let line = format!(
        "set -o pipefail; '{binary}' bench --dry-run --backend null --quiet --threads 1,2,3,4 --model '{}' | true",
        model.display()
    );
    let out = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty());
}

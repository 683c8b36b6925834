//! The shipped CI definitions, run: the steps of `action.yml` and of the GitLab snippet in docs/ci.md.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_advisor::model::{Metric, Precision};

use crate::records::{Run, case, slower, write};

fn root(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).expect(file)
}

/// The lines of the block below `head`, without their common indent.
fn block(text: &str, head: &str) -> String {
    let mut lines = text.lines().skip_while(|l| l.trim() != head).skip(1).peekable();
    let indent = lines.peek().map_or(0, |l| l.len() - l.trim_start().len());
    let inside =
        lines.take_while(|l| l.trim().is_empty() || l.len() - l.trim_start().len() >= indent);
    inside.map(|l| format!("{}\n", l.get(indent..).unwrap_or(""))).collect()
}

/// `reports` (as measured) and `slow`, a baseline `main`, and the binary on PATH.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let series: [(Metric, &[f64]); 1] = [(Metric::DecodeTokS, &[50.0, 50.4, 49.8])];
    let main = Run::new("reports", 0).measured(case(Precision::Q4_0), 0, &series).done();
    write(dir.path(), &main);
    let mut slow = slower(&main, 1.25);
    slow.header.run_id = "slow".into();
    write(dir.path(), &slow);
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_edge-advisor"), bin.join("edge-advisor"))
        .expect("a link");
    let saved = shell(dir.path(), "edge-advisor baseline save main reports --in-repository", &[]);
    assert!(saved.status.success());
    dir
}

fn shell(dir: &Path, script: &str, env: &[(&str, &str)]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("bash")
        // As the runners call it.
        .args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", dir.join("bin").display()))
        .env("EDGE_ADVISOR_DATA_DIR", dir.join("data"))
        .env_remove("GITHUB_ACTIONS")
        .envs(env.iter().copied())
        .output()
        .expect("bash runs")
}

#[test]
fn the_github_action_fails_on_a_regression_and_tells_why() {
    let script = block(&root("action.yml"), "run: |");
    assert!(script.contains("\"$BINARY\" gate"), "{script}");
    let dir = workspace();
    let step = |head: &str| -> (Output, String, String) {
        let file = |name: &str| -> PathBuf { dir.path().join(name) };
        let (outputs, summary) = (file("outputs"), file("summary.md"));
        let _ = (std::fs::remove_file(&outputs), std::fs::remove_file(&summary));
        let output = shell(
            dir.path(),
            &script,
            &[
                ("BASE", "baseline:main"),
                ("HEAD_RUN", head),
                ("POLICY", ""),
                ("BINARY", "edge-advisor"),
                ("OUTPUT", "out"),
                ("ALLOW_INCONCLUSIVE", "false"),
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_OUTPUT", &outputs.to_string_lossy()),
                ("GITHUB_STEP_SUMMARY", &summary.to_string_lossy()),
            ],
        );
        let read = |p: &Path| std::fs::read_to_string(p).unwrap_or_default();
        (output, read(&outputs), read(&summary))
    };
    let (same, outputs, summary) = step("reports");
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stderr));
    assert_eq!(outputs, "verdict=pass\n");
    assert!(summary.contains("PASS"));
    let (slow, outputs, summary) = step("slow");
    assert_eq!(slow.status.code(), Some(10));
    assert_eq!(outputs, "verdict=regressed\n");
    assert!(summary.contains("| regressed |"));
    assert!(String::from_utf8_lossy(&slow.stderr).contains("::error title=regressed"));
    for file in ["junit.xml", "gate.sarif", "gate.md", "gate.json"] {
        assert!(dir.path().join("out").join(file).is_file(), "{file}");
    }
}

#[test]
fn the_gitlab_job_writes_the_reports_it_names() {
    let page = root("docs/ci.md");
    let script = block(&page, "- >").replace('\n', " ");
    assert!(script.contains("gate baseline:main reports"), "{script}");
    let dir = workspace();
    let policy = shell(dir.path(), "edge-advisor gate init reports --out gate.toml", &[]);
    assert!(policy.status.success(), "{}", String::from_utf8_lossy(&policy.stderr));
    let same = shell(dir.path(), &script, &[]);
    assert_eq!(same.status.code(), Some(0), "{}", String::from_utf8_lossy(&same.stderr));
    let artifacts = block(&page, "reports:");
    let files: Vec<&str> = artifacts
        .lines()
        .filter_map(|l| l.split_once(": ").map(|(_, file)| file.trim()))
        .take(3)
        .collect();
    assert_eq!(files.len(), 3, "{artifacts}");
    for file in files {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    let slow = shell(dir.path(), &script.replace("main reports", "main slow"), &[]);
    assert_eq!(slow.status.code(), Some(10));
}

//! What a person at a terminal sees: commands run behind a pseudo-terminal of 80 columns.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{any_file, only_record};

/// Runs the binary in a terminal of `columns`, which becomes `later` wide at its first word.
fn terminal(columns: u32, later: u32, dir: &Path, words: &[&str]) -> (Output, String) {
    let output = Command::new("python3")
        .args(["-c", include_str!("../support/terminal.py")])
        .args([columns.to_string(), later.to_string()])
        .arg(env!("CARGO_BIN_EXE_edge-advisor"))
        .args(words)
        .env("TERM", "xterm-256color")
        .current_dir(dir)
        .output()
        .expect("Python");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

/// Without the sequences that move the cursor or colour.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => drop(chars.by_ref().find(|c| c.is_ascii_alphabetic())),
            c => out.push(c),
        }
    }
    out
}

#[test]
fn tables_and_answers_fit_80_columns() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/example");
    let example = example.to_str().unwrap();
    for words in [
        "--help",
        "bench --help",
        "recommend smollm2-135m --explain",
        "recommend qwen2.5-7b --device rpi-5 --explain",
        "advise tree qwen3-4b --device rpi-5",
        "probe",
        "models list",
        "models inspect qwen2.5-7b --plan --context 8192",
        "profiles list jetson",
        "profiles show rpi-5",
        "runtime list",
        "history list",
        &format!("report {example} -o {}", dir.path().display()),
        &format!("compare {example} {example}"),
    ] {
        let words: Vec<&str> = words.split_whitespace().collect();
        let (output, text) = terminal(80, 80, dir.path(), &words);
        assert!(output.status.success(), "{words:?}: {text}");
        let text = plain(&text);
        assert!(text.len() > 40, "{words:?} printed {text:?}");
        // A path is as long as it is.
        let too_long =
            |l: &&str| l.chars().count() > 80 && !l.contains(example) && !l.contains("/tmp");
        let long: Vec<&str> = text.split(['\n', '\r']).filter(too_long).collect();
        assert!(long.is_empty(), "{words:?}: {long:#?}");
    }
}

#[test]
fn progress_survives_a_terminal_that_becomes_narrow_and_leaves_one_line_a_case() {
    let dir = tempfile::tempdir().unwrap();
    let model = any_file(dir.path());
    let model = model.to_str().unwrap();
    let words = ["bench", "--model", model, "--backend", "null", "--quick", "--prompt", "4"];
    let more = ["--decode", "2", "--max-foreign-cpus", "1000", "--runs", "3", "--no-history"];
    let (output, text) = terminal(120, 30, dir.path(), &[&words[..], &more].concat());
    assert!(output.status.success(), "{text}");
    // The last line counts them all: `3 completed, 0 failed`.
    let count = |word: &str| plain(&text).matches(word).count();
    assert_eq!(count(" completed") - count(" completed,"), 3, "{text:?}");
    // The bar was there: it moves the cursor to draw over itself.
    assert!(text.contains("\u{1b}["), "{text:?}");
    assert_eq!(only_record(&dir.path().join("reports")).cases.len(), 3);
    let (quiet, said) = terminal(80, 80, dir.path(), &[&words[..], &more, &["--quiet"]].concat());
    assert!(quiet.status.success());
    assert_eq!(
        plain(&said).lines().count(),
        1,
        "--quiet leaves the run's directory alone: {said:?}"
    );
}

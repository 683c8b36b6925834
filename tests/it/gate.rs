//! The commands `gate`, `compare` and `baseline` as a user or a CI job runs them.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use edge_advisor::model::{Metric, Precision};
use edge_advisor::record::RunRecord;
use serde_json::Value;

use crate::records::{Run, case, noisy, slower, write};

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-advisor"));
    command.current_dir(dir).env("EDGE_ADVISOR_DATA_DIR", dir.join("data"));
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir).args(args).output().expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn record(run_id: &str) -> RunRecord {
    let mut run = Run::new(run_id, 0);
    for (i, precision) in [Precision::F16, Precision::Q4_0].into_iter().enumerate() {
        let speed: Vec<f64> =
            noisy(i as u32 + 1, 5, 0.01).into_iter().map(|v| v * 40.0 * (i + 1) as f64).collect();
        let series: [(Metric, &[f64]); 2] =
            [(Metric::DecodeTokS, &speed), (Metric::PeakRssBytes, &[3e8])];
        run = run.measured(case(precision), 0, &series);
    }
    run.done()
}

/// A directory with `main`, `slow` (20 % slower) and `gone` (a case missing).
fn workspace() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let main = record("main");
    write(dir.path(), &main);
    let mut slow = slower(&main, 1.2);
    slow.header.run_id = "slow".into();
    write(dir.path(), &slow);
    let mut gone = main.clone();
    gone.header.run_id = "gone".into();
    gone.cases.remove(0);
    write(dir.path(), &gone);
    let path = dir.path().to_owned();
    (dir, path)
}

#[test]
fn exit_codes_tell_pass_regressed_lost_and_not_comparable() {
    let (_keep, dir) = workspace();
    let same = run(&dir, &["gate", "main", "main"]);
    assert_eq!(code(&same), 0, "{}", stdout(&same));
    let slow = run(&dir, &["gate", "main", "slow"]);
    assert_eq!(code(&slow), 10, "{}", stdout(&slow));
    assert!(stdout(&slow).starts_with("REGRESSED"));
    assert_eq!(code(&run(&dir, &["gate", "main", "gone"])), 10);
    let mut other = record("other");
    other.header.device.id = "fp-other".into();
    write(&dir, &other);
    assert_eq!(code(&run(&dir, &["gate", "main", "other"])), 12);
    // Telling is not judging.
    assert_eq!(code(&run(&dir, &["compare", "main", "slow"])), 0);
    assert_eq!(code(&run(&dir, &["compare", "main", "other"])), 12);
    assert_eq!(code(&run(&dir, &["compare", "main", "other", "--allow-different-devices"])), 0);
}

#[test]
fn a_small_change_of_single_runs_is_inconclusive_unless_the_policy_only_warns() {
    let (_keep, dir) = workspace();
    let mut near = slower(&record("near"), 1.06);
    near.header.run_id = "near".into();
    write(&dir, &near);
    assert_eq!(code(&run(&dir, &["gate", "main", "near"])), 11);
    std::fs::write(dir.join("p.toml"), "version = 1\non_inconclusive = \"warn\"\n")
        .expect("a file");
    assert_eq!(code(&run(&dir, &["gate", "main", "near", "--policy", "p.toml"])), 0);
}

#[test]
fn the_terminal_output_fits_80_columns_and_has_no_control_characters() {
    let (_keep, dir) = workspace();
    let mut hostile = record("hostile");
    for c in &mut hostile.cases {
        c.case.model = format!("{}\u{1b}[31m", "very-long-model-name-".repeat(8));
    }
    write(&dir, &hostile);
    for head in ["slow", "gone", "hostile"] {
        let output = run(&dir, &["gate", "main", head, "--all"]);
        let text = stdout(&output);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn what_the_data_can_show_is_printed() {
    let (_keep, dir) = workspace();
    let text = stdout(&run(&dir, &["gate", "main", "slow"]));
    assert!(text.contains("noise between runs") && text.contains("(assumed)"), "{text}");
    assert!(text.contains("smallest regression caught"), "{text}");
}

#[test]
fn json_is_the_whole_comparison() {
    let (_keep, dir) = workspace();
    let output = run(&dir, &["gate", "main", "slow", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["overall"], "regressed");
    assert_eq!(json["schema_version"], 1);
    crate::schema::follows("comparison", &json);
    let rows = json["rows"].as_array().expect("rows");
    let decode = rows.iter().find(|r| r["metric"] == "decode_tok_s").expect("a row");
    assert_eq!(decode["verdict"], "regressed");
    assert_eq!(decode["design"], "single_run");
    let change = decode["change"].as_f64().expect("a change");
    assert!((change + 16.67).abs() < 0.01, "{change}");
}

#[test]
fn every_ci_file_is_written_and_well_formed() {
    let (_keep, dir) = workspace();
    let summary = dir.join("summary.md");
    let output = command(&dir)
        .args(["gate", "main", "slow", "--junit", "j.xml", "--sarif", "s.json"])
        .args(["--code-quality", "q.json", "--metrics", "m.txt", "--markdown", "c.md"])
        .args(["--json", "r.json"])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("the binary runs");
    assert_eq!(code(&output), 10);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect(name);
    let json = |name: &str| -> Value { serde_json::from_str(&read(name)).expect(name) };

    let junit = read("j.xml");
    assert!(junit.contains("<failure") && junit.contains("type=\"regressed\""), "{junit}");
    well_formed(&junit);

    let sarif = json("s.json");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .filter_map(|r| r["id"].as_str())
        .collect();
    let results = run["results"].as_array().expect("results");
    assert!(!results.is_empty());
    for result in results {
        assert!(rules.contains(&result["ruleId"].as_str().unwrap_or("")), "{result}");
        assert!(result["message"]["text"].is_string());
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 1);
    }

    let quality = json("q.json");
    for finding in quality.as_array().expect("an array") {
        for key in ["description", "check_name", "fingerprint", "severity"] {
            assert!(finding[key].is_string(), "{finding}");
        }
        assert_eq!(finding["location"]["lines"]["begin"], 1);
    }
    let metrics = read("m.txt");
    assert!(
        metrics.contains("edge_advisor_decode_tok_s{case=\"m/Q4_0/")
            && metrics.ends_with("# EOF\n")
    );
    assert!(read("c.md").contains("| regressed |"));
    assert_eq!(std::fs::read_to_string(&summary).expect("a summary"), read("c.md"));
    assert!(stderr(&output).contains("::error title=regressed"), "{}", stderr(&output));
    assert_eq!(json("r.json")["overall"], "regressed");
}

fn well_formed(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut depth = 0i32;
    loop {
        match reader.read_event().expect("well-formed XML") {
            quick_xml::events::Event::Start(_) => depth += 1,
            quick_xml::events::Event::End(_) => depth -= 1,
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
}

#[test]
fn sides_that_cannot_be_compared_are_an_error_in_every_ci_file_not_an_empty_pass() {
    let (_keep, dir) = workspace();
    let mut other = record("other");
    other.header.device.id = "fp-other".into();
    write(&dir, &other);
    let args = ["gate", "main", "other", "--junit", "j.xml", "--sarif", "s.json"];
    let output = run(&dir, &[&args[..], &["--code-quality", "q.json"]].concat());
    assert_eq!(code(&output), 12);
    for file in ["j.xml", "s.json", "q.json"] {
        let text = std::fs::read_to_string(dir.join(file)).expect(file);
        assert!(text.contains("different devices"), "{file}: {text}");
    }
}

#[test]
fn damaged_missing_and_newer_records_are_one_error_with_a_hint() {
    let (_keep, dir) = workspace();
    let good = std::fs::read_to_string(dir.join("main/record.ndjson")).expect("a record");
    let damage = |name: &str, text: &str| {
        std::fs::create_dir_all(dir.join(name)).expect("a directory");
        std::fs::write(dir.join(name).join("record.ndjson"), text).expect("a file");
    };
    damage("tampered", &good.replacen("\"case\"", "\"cose\"", 1));
    // A number made better by hand.
    damage("improved", &good.replacen("300000000.0", "200000000.0", 1));
    damage("newer", &good.replacen("\"schema_version\":1", "\"schema_version\":99", 1));
    damage("empty", "");
    std::fs::create_dir_all(dir.join("nothing")).expect("a directory");
    for (head, word) in [
        ("tampered", "damaged at line 2"),
        ("improved", "not those that were measured"),
        ("newer", "schema 99"),
        ("empty", "empty"),
        ("nothing", "holds no record"),
        ("missing", "cannot read"),
    ] {
        let output = run(&dir, &["gate", "main", head, "--junit", "j.xml"]);
        let text = stderr(&output);
        assert_eq!(code(&output), 3, "{head}: {text}");
        assert!(text.contains(word) && text.contains("hint: "), "{head}: {text}");
        assert!(output.stdout.is_empty() && !dir.join("j.xml").exists());
    }
}

#[test]
fn a_side_of_two_devices_or_of_one_run_twice_is_refused() {
    let (_keep, dir) = workspace();
    let both = dir.join("both");
    write(&both, &record("first"));
    let mut other = record("second");
    other.header.device.id = "fp-other".into();
    write(&both, &other);
    let output = run(&dir, &["gate", "main", "both"]);
    assert_eq!(code(&output), 12, "{}", stderr(&output));
    assert!(stderr(&output).contains("different devices"), "{}", stderr(&output));
    write(&both, &record("second"));
    std::fs::copy(both.join("first/record.ndjson"), both.join("second/record.ndjson"))
        .expect("a copy");
    let output = run(&dir, &["gate", "main", "both"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("twice"), "{}", stderr(&output));
}

#[test]
fn a_record_cut_off_while_writing_loses_its_last_case_and_the_gate_sees_it() {
    let (_keep, dir) = workspace();
    let good = std::fs::read_to_string(dir.join("main/record.ndjson")).expect("a record");
    let lines: Vec<&str> = good.lines().collect();
    let half = format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2]);
    std::fs::create_dir_all(dir.join("half")).expect("a directory");
    std::fs::write(dir.join("half/record.ndjson"), half).expect("a file");
    let output = run(&dir, &["gate", "main", "half"]);
    assert_eq!(code(&output), 10);
    assert!(stdout(&output).contains("missing in head"), "{}", stdout(&output));
    assert!(stdout(&output).contains("cut off"));
}

#[test]
fn gate_init_writes_a_policy_that_gate_check_accepts() {
    let (_keep, dir) = workspace();
    assert_eq!(code(&run(&dir, &["gate", "init", "main", "--out", "g.toml"])), 0);
    let check = run(&dir, &["gate", "check", "g.toml", "main"]);
    assert_eq!(code(&check), 0, "{}", stderr(&check));
    assert!(stdout(&check).contains("decode_tok_s"));
    assert_eq!(code(&run(&dir, &["gate", "main", "slow", "--policy", "g.toml"])), 10);
    let again = run(&dir, &["gate", "init", "main", "--out", "g.toml"]);
    assert_eq!(code(&again), 3);
}

#[test]
fn a_policy_with_a_typo_or_a_glob_for_no_case_is_refused() {
    let (_keep, dir) = workspace();
    let policy = |text: &str| std::fs::write(dir.join("p.toml"), text).expect("a file");
    policy("version = 1\n[[rule]]\nmetrics = [\"decode_tok_s\"]\nmax_regresion_percent = 2\n");
    let output = run(&dir, &["gate", "main", "slow", "--policy", "p.toml"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("did you mean `max_regression_percent`?"));
    policy("version = 1\n[[rule]]\ncases = [\"*/Q9_9/*\"]\nmax_regression_percent = 2\n");
    let output = run(&dir, &["gate", "check", "p.toml", "main"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("matches no case"), "{}", stderr(&output));
}

#[test]
fn baselines_are_found_by_name_and_device_in_both_places() {
    let (_keep, dir) = workspace();
    assert_eq!(code(&run(&dir, &["baseline", "save", "v1", "main"])), 0);
    assert_eq!(code(&run(&dir, &["baseline", "save", "v2", "main", "--in-repository"])), 0);
    for name in ["baseline:v1", "baseline:v2"] {
        assert_eq!(code(&run(&dir, &["gate", name, "main"])), 0);
        assert_eq!(code(&run(&dir, &["gate", name, "slow"])), 10);
    }
    let list = stdout(&run(&dir, &["baseline", "list"]));
    assert!(list.contains("v1") && list.contains("history"), "{list}");
    assert!(list.contains("v2") && list.contains("repository"), "{list}");
    let mut other = record("other");
    other.header.device.id = "fp-other".into();
    write(&dir, &other);
    let output = run(&dir, &["gate", "baseline:v1", "other"]);
    assert_eq!(code(&output), 12, "{}", stderr(&output));
    assert_eq!(code(&run(&dir, &["gate", "baseline:nope", "main"])), 3);
    assert_eq!(code(&run(&dir, &["baseline", "save", "../evil", "main"])), 2);
}

#[cfg(unix)]
#[test]
fn a_live_gate_alternates_the_sides_and_stops_when_the_verdict_is_clear() {
    let (_keep, dir) = workspace();
    // Stands in for `bench`: each call leaves one record, the next of a prepared series.
    let mut records = Vec::new();
    for i in 0..12u32 {
        let head = matches!(i % 4, 1 | 2);
        let noise = noisy(i + 40, 1, 0.01)[0];
        let speed = if head { 40.0 } else { 50.0 } * noise;
        let id = format!("r{i:02}");
        let record = Run::new(&id, 100 * i)
            .measured(case(Precision::Q4_0), 0, &[(Metric::DecodeTokS, &[speed])])
            .done();
        records.push(write(&dir.join("series"), &record));
    }
    std::fs::write(
        dir.join("fake.sh"),
        "n=$(cat count 2>/dev/null || echo 0)\ncp -r \"series/$(printf r%02d $n)\" \"$1\"\n\
         echo \"$2\" >> order\necho $((n + 1)) > count\n",
    )
    .expect("a script");
    let output = run(
        &dir,
        &[
            "gate",
            "--live",
            "--base",
            "sh fake.sh {out} A",
            "--head",
            "sh fake.sh {out} B",
            "--all",
        ],
    );
    assert_eq!(code(&output), 10, "{}{}", stdout(&output), stderr(&output));
    let order = std::fs::read_to_string(dir.join("order")).expect("an order");
    assert_eq!(order.split_whitespace().collect::<String>(), "ABBAABBAABBA");
    // The kept records repeat the verdict.
    assert_eq!(code(&run(&dir, &["gate", "gate-runs/base", "gate-runs/head"])), 10);
    let again = run(&dir, &["gate", "--live", "--base", "x {out}", "--head", "y {out}"]);
    assert_eq!(code(&again), 3, "old runs must not mix with new ones");
    assert_eq!(code(&run(&dir, &["gate", "--live", "--base", "x", "--head", "y {out}"])), 2);
    assert_eq!(code(&run(&dir, &["gate", "--live", "--base", "x {out}"])), 2);
}

#[cfg(unix)]
#[test]
fn a_live_gate_runs_a_directory_against_a_git_revision_and_leaves_no_checkout_behind() {
    let (_keep, dir) = workspace();
    // "Measuring" copies the record that the working tree holds, under a run id of its own.
    let measure = "id=$(basename {out}); mkdir -p {out}; sed s/RUN/$(date +%s%N)/ record.ndjson > {out}/record.ndjson";
    let repository = dir.join("repository");
    std::fs::create_dir(&repository).unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let output = std::process::Command::new("git")
            .current_dir(&repository)
            .args(identity)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let release = |speed: f64| {
        let mut record = Run::new("RUN", 0)
            .measured(case(Precision::Q4_0), 0, &[(Metric::DecodeTokS, &[speed])])
            .done();
        // The script edits it, so it has no end and thus no checksum.
        record.end = None;
        std::fs::write(repository.join("record.ndjson"), record.to_ndjson().unwrap()).unwrap();
    };
    git(&["init", "--quiet"]);
    release(50.0);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "fast"]);
    release(40.0);
    let live = |base: &str, out: &str| {
        let args = ["gate", "--live", "--base", base, "--head", ".", "--run", measure];
        command(&repository).args(args).args(["--out", out]).output().unwrap()
    };
    let output = live("HEAD", "runs");
    assert_eq!(code(&output), 10, "{}{}", stdout(&output), stderr(&output));
    assert_eq!(git(&["worktree", "list"]).lines().count(), 1);
    let unknown = live("no-such-revision", "other");
    assert_eq!(code(&unknown), 3);
    assert!(stderr(&unknown).contains("hint:"), "{}", stderr(&unknown));
}

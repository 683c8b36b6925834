//! The README's tour, typed line by line. A binary of its own, so that it runs alone: it benches real engines with a
//! user's deadlines, and those spin at barriers (slower by 100 times where two want the same cores).

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// The commands of the README's console blocks, in order, without their comments.
fn commands() -> Vec<String> {
    let text = include_str!("../README.md");
    let inside = text.split("```console\n").skip(1).map(|b| b.split("```").next().unwrap());
    let lines = inside.flat_map(str::lines).filter_map(|l| l.strip_prefix("$ "));
    lines.map(|l| l.split(" #").next().unwrap().trim().to_owned()).collect()
}

/// The newest run under `reports`, which stands for the one that the README names.
fn newest_run(dir: &Path) -> String {
    let runs = std::fs::read_dir(dir.join("reports")).expect("a bench before a report");
    let newest = runs.map(|e| e.unwrap().file_name().into_string().unwrap()).max();
    format!("reports/{}", newest.expect("a run"))
}

#[test]
fn every_command_of_the_tour_works_as_it_stands() {
    let commands = commands();
    // These two are the test suite itself and, as a built binary, the first command below.
    assert!(commands.contains(&"tests/run".to_owned()));
    assert!(commands.contains(&"cargo run --release -- recommend".to_owned()));
    let tour = commands.iter().filter_map(|c| {
        c.strip_prefix("edge-advisor ").or_else(|| c.strip_prefix("cargo run --release -- "))
    });
    let dir = TempDir::new().unwrap();
    for line in tour {
        let words = line.split_whitespace().map(|word| {
            if word.starts_with("reports/") { newest_run(dir.path()) } else { word.to_owned() }
        });
        // A noisy machine is no fault of the tour's.
        let busy = line.starts_with("bench").then_some(["--max-foreign-cpus", "1000"]);
        let output = Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
            .args(words)
            .args(busy.into_iter().flatten())
            .current_dir(dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {:?}\n{error}", output.status);
        assert!(!output.stdout.is_empty(), "{line} printed nothing");
    }
}

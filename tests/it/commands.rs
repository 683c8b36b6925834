//! Commands about the program itself: does it work here, what a shell and `man` need.

use edge_advisor::cli;

use crate::support::edge_advisor;

#[test]
fn self_check_tries_everything_and_names_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let check = |data: &std::path::Path| {
        let mut command = edge_advisor();
        command.args(["self-check", "--format", "json"]).env("EDGE_ADVISOR_DATA_DIR", data);
        let output = command.output().unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let failed = rows.as_array().unwrap().iter().filter(|r| r["ok"] == false);
        let names: Vec<String> = failed.map(|r| r["check"].as_str().unwrap().to_owned()).collect();
        (output.status.code(), names, rows.as_array().unwrap().len())
    };
    let (code, failed, all) = check(&dir.path().join("data"));
    assert_eq!((code, failed), (Some(0), vec![]));
    assert!(all >= 8, "{all}");
    // A file where the directory should be.
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let (code, failed, _) = check(&file);
    assert_eq!(code, Some(3));
    assert!(failed.contains(&"data directory".to_owned()), "{failed:?}");
    assert!(!failed.contains(&"probe".to_owned()), "{failed:?}");
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let names: Vec<String> =
        cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    assert!(names.len() > 15, "{names:?}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = edge_advisor().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        for name in &names {
            assert!(script.contains(name.as_str()), "{shell} does not know {name}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    edge_advisor().arg("man").arg(&pages).assert().success();
    for name in &names {
        let page = std::fs::read_to_string(pages.join(format!("edge-advisor-{name}.1"))).unwrap();
        assert!(page.contains("SYNOPSIS"), "{name}");
    }
}

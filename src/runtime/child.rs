//! Python that stays: a script of ours in an installed environment answers request after request with JSON and raw
//! bytes. Nothing it does is unbounded, and it ends with its parent.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::python::PythonEnv;
use crate::worker::signal_of;

/// What every script begins with; it documents what scripts may call.
const PRELUDE: &str = include_str!("child.py");
/// Longest line and payload that a script may send, bytes.
const MAX_LINE: u64 = 16 << 20;
const MAX_PAYLOAD: u64 = 256 << 20;
const STDERR_LINES: usize = 12;
const STDERR_LINE_BYTES: usize = 400;
/// What a script that has closed its pipe gets to exit in.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("cannot start `{python}`: {why}")]
    Start { python: String, why: String },
    /// The script says that the framework cannot do it.
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    OutOfMemory(String),
    /// An exception: its type and message.
    #[error("{0}")]
    Raised(String),
    #[error("Python said nothing for {} s{tail}", .after.as_secs())]
    Silent { after: Duration, tail: String },
    #[error("Python {how}{tail}")]
    Died { how: String, tail: String },
    #[error("Python answered `{0}` instead of JSON")]
    Garbled(String),
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub value: Value,
    pub bytes: Vec<u8>,
}

/// A running script: it answers each of `requests()` with `answer(value, bytes)`, may call `progress(fraction, step)`,
/// and `raise Unsupported(why)` becomes [`ChildError::Unsupported`]. Killed when dropped.
pub struct PythonChild {
    child: Child,
    stdin: ChildStdin,
    words: Receiver<Word>,
    stderr: Arc<Mutex<VecDeque<String>>>,
}

/// What the script's pipe carries.
enum Word {
    Progress(f64, String),
    Answer(Reply),
    Error(String, String),
    Garbage(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Answer { answer: Value, bytes: u64 },
    Progress { progress: f64, step: String },
    Error { error: String, kind: String },
}

impl PythonChild {
    /// Starts Python in isolated mode; `variables` are added to the environment.
    pub fn start(
        env: &PythonEnv,
        script: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, ChildError> {
        let failed = |e: io::Error| ChildError::Start {
            python: env.python.display().to_string(),
            why: e.to_string(),
        };
        let mut command = Command::new(&env.python);
        // Isolated: no PYTHON* variables, no user packages, no modules from the current directory.
        command.args(["-I", "-X", "utf8", "-c"]).arg(format!("{PRELUDE}\n{script}"));
        // What models need is on disk; nothing is to be looked up or reported.
        for name in ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"] {
            command.env(name, "1");
        }
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let (sender, words) = sync_channel(4);
        std::thread::spawn(move || {
            let mut input = BufReader::new(stdout);
            while let Some(word) = read_word(&mut input) {
                let stop = matches!(word, Word::Garbage(_));
                if sender.send(word).is_err() || stop {
                    break;
                }
            }
        });
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&tail);
        std::thread::spawn(move || keep_tail(stderr, &kept));
        Ok(Self { child, stdin, words, stderr: tail })
    }

    /// Process id, to count its memory and CPU time.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and waits for its answer; `patience` is the longest time without a word, and progress counts as
    /// one. After an error the script is of no more use.
    pub fn call(
        &mut self,
        request: &Value,
        patience: Duration,
        progress: &mut dyn FnMut(f64, &str),
    ) -> Result<Reply, ChildError> {
        let mut line = request.to_string();
        line.push('\n');
        // A script that is gone shows as the end of its words.
        let _ = self.stdin.write_all(line.as_bytes()).and_then(|()| self.stdin.flush());
        loop {
            match self.words.recv_timeout(patience) {
                Ok(Word::Answer(reply)) => return Ok(reply),
                Ok(Word::Progress(fraction, step)) => progress(fraction, &step),
                Ok(Word::Error(text, kind)) => {
                    return Err(match kind.as_str() {
                        "unsupported" => ChildError::Unsupported(text),
                        "out_of_memory" => ChildError::OutOfMemory(text),
                        _ => ChildError::Raised(text),
                    });
                }
                Ok(Word::Garbage(text)) => return Err(ChildError::Garbled(text)),
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    return Err(ChildError::Silent { after: patience, tail: self.tail() });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.end()),
            }
        }
    }

    /// The pipe is closed: how the process ended.
    fn end(&mut self) -> ChildError {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if start.elapsed() < GRACE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => break None,
            }
        };
        let how = match status.map(|s| (signal_of(s), s.code())) {
            // Nobody here sent it, so the kernel did: its out-of-memory killer uses SIGKILL.
            Some((Some(9), _)) => {
                return ChildError::OutOfMemory("Python was killed by the system".to_owned());
            }
            Some((Some(signal), _)) => format!("was killed by signal {signal}"),
            Some((_, Some(code))) => format!("exited with code {code} without an answer"),
            _ => "closed its output".to_owned(),
        };
        ChildError::Died { how, tail: self.tail() }
    }

    /// `: last lines of stderr`, or nothing.
    fn tail(&self) -> String {
        // Its reader may be a moment behind the process.
        std::thread::sleep(Duration::from_millis(20));
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = lines.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

impl Drop for PythonChild {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Reaped, so that its CPU time is known to be ours.
        let _ = self.child.wait();
    }
}

fn read_word(input: &mut impl BufRead) -> Option<Word> {
    let mut line = Vec::new();
    let read = input.take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    let whole = line.last() == Some(&b'\n');
    Some(match serde_json::from_slice(&line) {
        Ok(Line::Answer { answer, bytes }) if whole && bytes <= MAX_PAYLOAD => {
            let mut payload = Vec::new();
            let read = input.take(bytes).read_to_end(&mut payload).ok()?;
            if read as u64 != bytes {
                return None;
            }
            Word::Answer(Reply { value: answer, bytes: payload })
        }
        Ok(Line::Progress { progress, step }) if whole => Word::Progress(progress, step),
        Ok(Line::Error { error, kind }) if whole => Word::Error(error, kind),
        _ => {
            let start = String::from_utf8_lossy(&line[..line.len().min(60)]).trim().to_owned();
            Word::Garbage(start.chars().map(|c| if c.is_control() { '.' } else { c }).collect())
        }
    })
}

fn keep_tail(stderr: impl Read, tail: &Mutex<VecDeque<String>>) {
    let mut input = BufReader::new(stderr);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        bytes.truncate(STDERR_LINE_BYTES);
        let line = String::from_utf8_lossy(&bytes).trim().to_owned();
        if line.is_empty() {
            continue;
        }
        let mut lines = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde_json::json;

    /// Scripts need no packages here: the system's Python will do.
    fn env() -> PythonEnv {
        let python = std::env::var_os("EDGE_ADVISOR_PYTHON").unwrap_or("python3".into()).into();
        PythonEnv { version: String::new(), dir: std::env::temp_dir(), python }
    }

    fn run(script: &str, request: Value, patience_ms: u64) -> Result<Value, ChildError> {
        let mut child = PythonChild::start(&env(), script, &[])?;
        let reply = child.call(&request, Duration::from_millis(patience_ms), &mut |_, _| ());
        reply.map(|r| r.value)
    }

    #[test]
    fn a_script_gets_its_request_tells_progress_and_answers_past_noise_on_stdout() {
        let script = "r = next(requests()); print('banner'); os.system('echo child'); progress(0.5, 'half')\n\
            answer({'sum': sum(r['n'])})";
        let mut steps = Vec::new();
        let mut child = PythonChild::start(&env(), script, &[]).unwrap();
        let reply = child.call(&json!({"n": [1, 2, 3]}), Duration::from_secs(20), &mut |f, s| {
            steps.push((f, s.to_owned()));
        });
        assert_eq!(reply.unwrap().value, json!({"sum": 6}));
        assert_eq!(steps, [(0.5, "half".to_owned())]);
    }

    #[test]
    fn a_script_that_stays_answers_each_request_with_its_bytes() {
        let script = "for r in requests(): answer(r['i'], bytes(range(r['i'])))";
        let mut script = PythonChild::start(&env(), script, &[]).unwrap();
        for i in [3u8, 0, 200] {
            let request = json!({ "i": i });
            let reply = script.call(&request, Duration::from_secs(20), &mut |_, _| ()).unwrap();
            assert_eq!(reply, Reply { value: json!(i), bytes: (0..i).collect() });
        }
    }

    #[test]
    fn every_way_to_fail_is_an_error_that_names_the_cause() {
        let fail = |script: &str| run(script, json!({}), 20_000).unwrap_err();
        let e = fail("next(requests()); raise Unsupported('no such layer')");
        assert!(matches!(&e, ChildError::Unsupported(t) if t == "no such layer"), "{e}");
        let e = fail("next(requests()); import missing_module");
        assert!(matches!(&e, ChildError::Raised(t) if t.contains("missing_module")), "{e}");
        assert!(matches!(fail("raise MemoryError()"), ChildError::OutOfMemory(_)));
        let e = fail("print('last words', file=sys.stderr); sys.stderr.flush(); os._exit(7)");
        let text = e.to_string();
        assert!(text.contains("code 7") && text.contains("last words"), "{text}");
        let e = fail("os.kill(os.getpid(), 11)");
        assert!(e.to_string().contains("signal 11"), "{e}");
        assert!(matches!(fail("_pipe.write(b'oops\\n'); _pipe.flush()"), ChildError::Garbled(_)));
        assert!(matches!(fail("not ( python"), ChildError::Died { .. }));
        let missing = PythonEnv { python: "/nonexistent/python".into(), ..env() };
        assert!(matches!(PythonChild::start(&missing, "", &[]), Err(ChildError::Start { .. })));
    }

    #[test]
    fn a_silent_script_is_killed_and_an_endless_payload_is_refused() {
        let e = run("next(requests()); import time; time.sleep(60)", json!({}), 300).unwrap_err();
        assert!(matches!(e, ChildError::Silent { .. }), "{e}");
        let e = run("_send({'answer': 1, 'bytes': 1 << 40})", json!({}), 20_000).unwrap_err();
        assert!(matches!(e, ChildError::Garbled(_)), "{e}");
    }

    #[test]
    fn a_dropped_script_is_gone() {
        let script = PythonChild::start(&env(), "import time; time.sleep(60)", &[]).unwrap();
        let id = script.id();
        drop(script);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }
}

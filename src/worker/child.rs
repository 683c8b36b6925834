//! The parent's side: spawn a worker, watch its deadline, memory and words, and turn its end into data.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::build::WorkerBuild;
use super::process;
use super::protocol::{Event, PROTOCOL_VERSION, Request, VERSION, WireError};
use super::serve::SUBCOMMAND;
use crate::model::{CaseOutcome, Phase};

/// A longer line is not the protocol.
const MAX_LINE: u64 = 16 << 20;
const STDERR_LINES: usize = 40;
const STDERR_LINE_BYTES: usize = 400;
/// How often memory, deadline and the stop flag are looked at.
const TICK: Duration = Duration::from_millis(50);
/// What a worker gets to exit in after its last word.
const GRACE: Duration = Duration::from_secs(10);

/// How workers are run.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// The binary to execute; normally the running one.
    pub executable: PathBuf,
    /// Longest time in one phase without a sign of life.
    pub deadline: Duration,
    /// Resident memory at which a worker is killed.
    pub memory_limit: Option<u64>,
    /// Variables that workers get beside the inherited ones.
    pub environment: Vec<(String, PathBuf)>,
    /// Set from outside to stop (Ctrl-C): the worker is killed.
    pub stop: Arc<AtomicBool>,
}

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It said `done` and exited with 0.
    Done,
    Outcome(CaseOutcome),
    /// The user stopped the run.
    Stopped,
}

#[derive(Debug)]
pub struct WorkerResult {
    pub ended: Ended,
    pub stderr_tail: String,
}

/// What the reader thread makes of the worker's stdout.
enum Line {
    Event(Box<Event>),
    Garbage(String),
}

impl Supervisor {
    /// A supervisor that runs this program, in its build for this CPU.
    pub fn new(deadline: Duration, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let executable = WorkerBuild::find()?.executable;
        Ok(Self { executable, deadline, memory_limit: None, environment: Vec::new(), stop })
    }

    /// Runs one worker to its end; every event but the framing ones goes to `on_event` as it arrives.
    pub fn run(&self, request: &Request, on_event: &mut dyn FnMut(Event)) -> WorkerResult {
        let failed = |error: String| WorkerResult {
            ended: Ended::Outcome(CaseOutcome::Failed { error }),
            stderr_tail: String::new(),
        };
        let text = match serde_json::to_vec(request) {
            Ok(text) => text,
            Err(e) => return failed(format!("cannot write the request: {e}")),
        };
        let mut worker = match Worker::spawn(self, text) {
            Ok(worker) => worker,
            Err(e) => return failed(format!("cannot start the worker: {e}")),
        };
        let ended = self.watch(&mut worker, on_event);
        worker.kill_group();
        WorkerResult { ended, stderr_tail: worker.stderr_tail() }
    }

    fn watch(&self, worker: &mut Worker, on_event: &mut dyn FnMut(Event)) -> Ended {
        let mut phase = Phase::Spawn;
        let mut last_sign = Instant::now();
        let mut greeted = false;
        let protocol_error = |detail: String| Ended::Outcome(CaseOutcome::ProtocolError { detail });
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ended::Stopped;
            }
            match worker.lines.recv_timeout(TICK) {
                Ok(Line::Garbage(text)) => {
                    return protocol_error(format!(
                        "the worker wrote `{text}` instead of an event"
                    ));
                }
                Ok(Line::Event(event)) => {
                    last_sign = Instant::now();
                    match *event {
                        Event::Hello { protocol_version, version }
                            if protocol_version == PROTOCOL_VERSION && version == VERSION =>
                        {
                            greeted = true;
                        }
                        Event::Hello { protocol_version, version } => {
                            return protocol_error(format!(
                                "`{}` is of version {version:?}, protocol {protocol_version}; \
                                 this program is of version {VERSION} (hint: reinstall both)",
                                self.executable.display()
                            ));
                        }
                        _ if !greeted => return protocol_error("no greeting".to_owned()),
                        Event::Done => return self.after_done(worker),
                        Event::Error { error } => return Ended::Outcome(outcome_of(error)),
                        Event::Phase { phase: p } => {
                            phase = p;
                            on_event(Event::Phase { phase: p });
                        }
                        other => on_event(other),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if last_sign.elapsed() > self.deadline {
                        return Ended::Outcome(CaseOutcome::TimedOut { phase });
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return match worker.wait(GRACE) {
                        Some(status) => Ended::Outcome(self.outcome_of_exit(worker, status)),
                        None => Ended::Outcome(CaseOutcome::TimedOut { phase: Phase::Teardown }),
                    };
                }
            }
            if let Some(detail) = self.over_memory(worker) {
                return Ended::Outcome(CaseOutcome::OutOfMemory { detail });
            }
        }
    }

    fn after_done(&self, worker: &mut Worker) -> Ended {
        match worker.wait(GRACE) {
            Some(status) if status.success() => Ended::Done,
            Some(status) => Ended::Outcome(self.outcome_of_exit(worker, status)),
            None => Ended::Outcome(CaseOutcome::TimedOut { phase: Phase::Teardown }),
        }
    }

    fn over_memory(&self, worker: &mut Worker) -> Option<String> {
        let rss = process::tree_rss_bytes(worker.child.id())?;
        worker.highest_rss = worker.highest_rss.max(rss);
        let limit = self.memory_limit.filter(|&limit| rss > limit)?;
        Some(format!("resident memory reached {} MiB of {} MiB allowed", rss >> 20, limit >> 20))
    }

    fn outcome_of_exit(&self, worker: &mut Worker, status: ExitStatus) -> CaseOutcome {
        let signal = process::signal_of(status);
        let tail = worker.stderr_tail();
        if tail.contains("memory allocation of") && tail.contains("failed") {
            let detail = "an allocation failed in the worker".to_owned();
            return CaseOutcome::OutOfMemory { detail };
        }
        match (signal, status.code()) {
            // Nobody here sent it, so the kernel did: its out-of-memory killer uses SIGKILL.
            (Some(9), _) => CaseOutcome::OutOfMemory {
                detail: format!(
                    "killed by the system at {} MiB resident or more",
                    worker.highest_rss >> 20
                ),
            },
            (None, Some(0)) => CaseOutcome::ProtocolError {
                detail: "the worker ended without saying how it went".to_owned(),
            },
            (signal, code) => CaseOutcome::Crashed { signal, code },
        }
    }
}

fn outcome_of(error: WireError) -> CaseOutcome {
    match error {
        WireError::Unsupported(reason) => CaseOutcome::Unsupported { reason },
        WireError::NotInstalled(hint) => {
            CaseOutcome::Skipped { reason: format!("not installed: {hint}") }
        }
        WireError::OutOfMemory(detail) => CaseOutcome::OutOfMemory { detail },
        WireError::Failed(error) => CaseOutcome::Failed { error },
    }
}

/// A running worker. Killed with all its children when dropped.
struct Worker {
    child: Child,
    lines: Receiver<Line>,
    stderr: Option<JoinHandle<String>>,
    stderr_text: String,
    highest_rss: u64,
}

impl Worker {
    fn spawn(supervisor: &Supervisor, request: Vec<u8>) -> io::Result<Self> {
        let mut command = Command::new(&supervisor.executable);
        command.envs(supervisor.environment.iter().map(|(k, v)| (k, v)));
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: children it leaves behind are killed with it, and Ctrl-C reaches only us.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("the worker has no pipes"));
        };
        let (sender, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            // A worker that does not read is found by its deadline.
            let _ = stdin.write_all(&request);
        });
        std::thread::spawn(move || {
            let mut input = BufReader::new(stdout);
            while let Some(line) = read_line(&mut input) {
                let stop = matches!(line, Line::Garbage(_));
                if sender.send(line).is_err() || stop {
                    break;
                }
            }
        });
        let stderr = std::thread::spawn(move || tail_of(stderr));
        Ok(Self { child, lines, stderr: Some(stderr), stderr_text: String::new(), highest_rss: 0 })
    }

    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(2))
                }
                _ => return None,
            }
        }
    }

    /// Kills the worker and whatever it started, and reaps it.
    fn kill_group(&mut self) {
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The last lines of stderr. Waits for the pipe's end, so the worker must be gone.
    fn stderr_tail(&mut self) -> String {
        self.kill_group();
        if let Some(Ok(text)) = self.stderr.take().map(JoinHandle::join) {
            self.stderr_text = text;
        }
        self.stderr_text.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill_group();
    }
}

fn read_line(input: &mut impl BufRead) -> Option<Line> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_LINE).read_until(b'\n', &mut bytes).ok()?;
    if read == 0 {
        return None;
    }
    let event =
        bytes.last().filter(|&&b| b == b'\n').and_then(|_| serde_json::from_slice(&bytes).ok());
    Some(event.map_or_else(|| Line::Garbage(excerpt(&bytes)), |e| Line::Event(Box::new(e))))
}

/// The start of a line, safe to print.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}

fn tail_of(stderr: impl Read) -> String {
    let mut input = BufReader::new(stderr);
    let mut tail = VecDeque::with_capacity(STDERR_LINES);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut input).take(MAX_LINE).read_until(b'\n', &mut bytes) {
            Ok(n) if n > 0 => {}
            _ => break,
        }
        if tail.len() == STDERR_LINES {
            tail.pop_front();
        }
        bytes.truncate(STDERR_LINE_BYTES);
        tail.push_back(String::from_utf8_lossy(&bytes).trim_end().to_owned());
    }
    Vec::from(tail).join("\n")
}

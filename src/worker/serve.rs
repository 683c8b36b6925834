//! The worker's side: read one request, do it, say what happens.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use super::protocol::{Event, PROTOCOL_VERSION, Request, VERSION, WireError};
use super::{graph, measure, quality};
use crate::backend::{self, Backend, BackendError, PrepareRequest, Session};
use crate::model::Phase;

/// Hidden subcommand the binary re-executes itself with.
pub const SUBCOMMAND: &str = "__worker";
/// A request is a few kilobytes.
const MAX_REQUEST: u64 = 4 << 20;

/// The pipe to the parent, taken from stdout once.
static PIPE: OnceLock<File> = OnceLock::new();

/// Where events go. Writing fails only when the parent is gone, and then there is nobody to tell.
pub(crate) struct Events(&'static File);

impl Events {
    pub(crate) fn send(&mut self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        if self.0.write_all(&line).is_err() {
            std::process::exit(1);
        }
    }
}

/// Writes bytes that are no event to the parent: what the fault backend does on purpose.
pub(crate) fn write_raw(bytes: &[u8]) {
    if let Some(mut pipe) = PIPE.get() {
        let _ = pipe.write_all(bytes);
    }
}

/// Runs the worker to its end.
pub fn serve() -> ExitCode {
    let Ok(mut events) = claim_stdout() else { return ExitCode::FAILURE };
    let version = VERSION.to_owned();
    events.send(&Event::Hello { protocol_version: PROTOCOL_VERSION, version });
    match read_request().and_then(|request| handle(request, &mut events)) {
        Ok(()) => {
            events.send(&Event::Done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            events.send(&Event::Error { error });
            ExitCode::SUCCESS
        }
    }
}

/// Takes stdout for events and points fd 1 at stderr, so that prints of native code cannot mix with them.
fn claim_stdout() -> io::Result<Events> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        // Die with the parent, whatever kills it.
        #[cfg(target_os = "linux")]
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        Ok(Events(PIPE.get_or_init(|| File::from(stdout))))
    }
    #[cfg(not(unix))]
    {
        use std::os::windows::io::AsHandle;
        let stdout = io::stdout().as_handle().try_clone_to_owned()?;
        Ok(Events(PIPE.get_or_init(|| File::from(stdout))))
    }
}

fn read_request() -> Result<Request, WireError> {
    let mut text = String::new();
    io::stdin()
        .take(MAX_REQUEST)
        .read_to_string(&mut text)
        .map_err(|e| WireError::Failed(format!("cannot read the request: {e}")))?;
    serde_json::from_str(&text).map_err(|e| WireError::Failed(format!("malformed request: {e}")))
}

fn handle(request: Request, events: &mut Events) -> Result<(), WireError> {
    match request {
        Request::Devices { backend } => {
            let devices = find(&backend)?.devices()?;
            events.send(&Event::Devices { devices });
        }
        Request::Prepare(task) => {
            events.send(&Event::Phase { phase: Phase::Prepare });
            let variant = find(&task.backend)?.prepare(PrepareRequest {
                model: &task.model,
                source: &task.source,
                precision: task.precision,
                cache: &task.cache,
                corpus: task.corpus.as_deref(),
                inputs: task.inputs.as_deref(),
                progress: &mut |fraction, step| {
                    events.send(&Event::Progress { fraction, step: step.to_owned() });
                },
            })?;
            events.send(&Event::Variant { variant: Box::new(variant) });
        }
        Request::Measure(request) => measure::measure(find(&request.backend)?, &request, events)?,
        Request::Reference { backend, open, quality: task } => {
            events.send(&Event::Phase { phase: Phase::Load });
            let Session::Text(mut session) = find(&backend)?.open(&open)? else {
                return Err(WireError::Unsupported("only text models have logits".to_owned()));
            };
            quality::write_reference(session.as_mut(), &task, events)?;
        }
        Request::GraphReference { backend, open, graph: task } => {
            events.send(&Event::Phase { phase: Phase::Load });
            let Session::Graph(mut session) = find(&backend)?.open(&open)? else {
                return Err(WireError::Unsupported("the session is no graph".to_owned()));
            };
            graph::write_reference(session.as_mut(), &task, events)?;
        }
    }
    Ok(())
}

fn find(id: &str) -> Result<&'static dyn Backend, BackendError> {
    backend::find(id)
        .ok_or_else(|| BackendError::Failed(format!("no backend `{id}` in this build")))
}

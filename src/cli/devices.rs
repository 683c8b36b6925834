//! The devices that installed frameworks list, each asked in a worker of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::backend::{self, Backend, BackendDevice};
use crate::worker::{Ended, Event, Request, Supervisor};

/// A driver that hangs must not hang the listing.
const DEADLINE: Duration = Duration::from_secs(20);

/// What one framework answered.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pub devices: Vec<BackendDevice>,
    /// Why there is no list, empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Asks every installed framework that is loaded as a library, by backend id, all at once: the slowest sets the pace.
pub(super) fn of_installed() -> BTreeMap<&'static str, Answer> {
    let ready =
        |b: &&&dyn Backend| b.info().listed && b.library().is_some() && b.availability().is_ready();
    let ids: Vec<_> = backend::all().iter().filter(ready).map(|b| b.info().id).collect();
    std::thread::scope(|s| {
        let asked: Vec<_> = ids.into_iter().map(|id| (id, s.spawn(move || of(id)))).collect();
        asked.into_iter().map(|(id, answer)| (id, answer.join().unwrap_or_default())).collect()
    })
}

/// Asks one framework.
pub(super) fn of(id: &str) -> Answer {
    let mut answer = Answer::default();
    let mut supervisor = match Supervisor::new(DEADLINE, Arc::new(AtomicBool::new(false))) {
        Ok(supervisor) => supervisor,
        Err(e) => return Answer { problem: e.to_string(), ..answer },
    };
    supervisor.memory_limit = None;
    let request = Request::Devices { backend: id.to_owned() };
    let ended = supervisor.run(&request, &mut |event| {
        if let Event::Devices { devices } = event {
            answer.devices = devices;
        }
    });
    match ended.ended {
        Ended::Done => {}
        Ended::Outcome(outcome) => answer.problem = outcome.reason(),
        Ended::Stopped => answer.problem = "stopped".to_owned(),
    }
    answer
}

impl Answer {
    /// One line a device: id, then its name or why it cannot be used.
    pub(crate) fn lines(&self) -> Vec<(String, String)> {
        let line = |d: &BackendDevice| match d.problem.as_str() {
            "" => (d.id.clone(), d.name.clone()),
            why => (d.id.clone(), format!("not usable: {why}")),
        };
        let mut lines: Vec<_> = self.devices.iter().map(line).collect();
        if !self.problem.is_empty() {
            lines.push((String::new(), format!("cannot list devices: {}", self.problem)));
        }
        lines
    }
}

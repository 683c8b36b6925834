//! A scripted backend for tests: each fault a real framework has shown, on demand (`--option fault=NAME`).

use std::process::Command;
use std::time::Duration;

use super::null::{cpu_device, unchanged};
use super::traits::{
    Availability, Backend, BackendDevice, BackendError, BackendInfo, OpenRequest, PrepareRequest,
    Session, TextSession,
};
use crate::model::{Finding, FindingKind, ModelKind, Precision, Variant};
use crate::record::SessionFacts;

const VOCABULARY: u32 = 64;

/// The scripted backend.
pub(crate) struct Fault;

impl Backend for Fault {
    fn info(&self) -> &'static BackendInfo {
        &BackendInfo {
            id: "fault",
            framework: "fault",
            homepage: "",
            use_case: "tests the harness",
            precisions: &[Precision::F32, Precision::F16, Precision::Q8_0],
            kinds: &[ModelKind::Llm],
            claim: None,
            install: "",
            listed: false,
        }
    }

    fn availability(&self) -> Availability {
        Availability::Ready { version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    fn devices(&self) -> Result<Vec<BackendDevice>, BackendError> {
        Ok(vec![cpu_device()])
    }

    fn prepare(&self, request: PrepareRequest<'_>) -> Result<Variant, BackendError> {
        Ok(unchanged(request.model, request.source, request.precision))
    }

    fn open(&self, request: &OpenRequest) -> Result<Session, BackendError> {
        let fault = request.options.get("fault").map_or("ok", String::as_str);
        let step = request.options.get("step_us").and_then(|s| s.parse().ok()).unwrap_or(200);
        at_open(fault)?;
        Ok(Session::Text(Box::new(Scripted {
            fault: fault.to_owned(),
            step: Duration::from_micros(step),
            child: None,
            worked: Duration::ZERO,
            counter: request.options.get("counter").cloned(),
        })))
    }
}

/// Faults that strike while the model loads.
fn at_open(fault: &str) -> Result<(), BackendError> {
    match fault {
        "panic" => panic!("scripted panic"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "exit_quietly" => std::process::exit(0),
        "stdout_noise" => println!("a native library prints a banner"),
        "garbage" => crate::worker::write_raw(b"{\"event\": oops}\n"),
        "binary" => crate::worker::write_raw(&[0xff; 4096]),
        "half_line" => {
            crate::worker::write_raw(b"{\"event\":\"sam");
            std::process::exit(0);
        }
        "alloc_fails" => drop(std::hint::black_box(Vec::<u8>::with_capacity(isize::MAX as usize))),
        "huge_allocation" => grow_until_killed(),
        "unsupported" => return Err(BackendError::Unsupported("scripted limit".to_owned())),
        "not_installed" => {
            return Err(BackendError::NotInstalled { hint: "scripted absence".to_owned() });
        }
        "out_of_memory" => return Err(BackendError::OutOfMemory("scripted".to_owned())),
        "error" => return Err(BackendError::Failed("scripted error".to_owned())),
        "hang" => hang(),
        _ => {}
    }
    Ok(())
}

fn hang() {
    loop {
        std::thread::park();
    }
}

fn grow_until_killed() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 64 << 20]);
    }
}

struct Scripted {
    fault: String,
    step: Duration,
    child: Option<std::process::Child>,
    /// Time its steps have been asked to take.
    worked: Duration,
    /// An energy counter that its steps advance, 20 mJ each.
    counter: Option<String>,
}

impl Scripted {
    fn value(&self, i: usize) -> f32 {
        match self.fault.as_str() {
            "nan" => f32::NAN,
            "constant" => 1.0,
            _ => i as f32,
        }
    }

    /// Takes about as long as asked: spinning, since sleeping is not measured alike everywhere.
    fn work(&mut self, steps: u32) {
        let factor = match self.fault.as_str() {
            "slow" => 5.0,
            // From full speed to a quarter of it, with a time constant of three seconds of work.
            "decay" => 4.0 - 3.0 * (-self.worked.as_secs_f64() / 3.0).exp(),
            _ => 1.0,
        };
        let time = (self.step * steps).mul_f64(factor);
        self.worked += time;
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
        if let Some(path) = &self.counter {
            let before =
                std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
            // Wraps behind 30 J, in one step as a register does.
            let after = (before.unwrap_or(0) + 20_000 * u64::from(steps)) % 30_000_000;
            let new = format!("{path}.new");
            let _ =
                std::fs::write(&new, after.to_string()).and_then(|()| std::fs::rename(&new, path));
        }
    }
}

impl TextSession for Scripted {
    fn facts(&self) -> SessionFacts {
        SessionFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: "scripted".to_owned(),
            path: "library".to_owned(),
            findings: (self.fault == "simulated")
                .then(|| Finding::note(FindingKind::Simulated, "scripted simulator"))
                .into_iter()
                .collect(),
            ..SessionFacts::default()
        }
    }

    fn vocabulary(&self) -> u32 {
        VOCABULARY
    }

    fn reset(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn prefill(&mut self, _: &[u32]) -> Result<u32, BackendError> {
        self.work(4);
        Ok(1)
    }

    fn decode(&mut self, token: u32) -> Result<u32, BackendError> {
        match self.fault.as_str() {
            "hang_in_decode" => hang(),
            "error_in_decode" => return Err(BackendError::Failed("scripted error".to_owned())),
            "wrong_token" => return Ok(VOCABULARY),
            "child_leak" if self.child.is_none() => {
                self.child = Command::new("sleep").arg("3600").spawn().ok();
            }
            _ => {}
        }
        self.work(1);
        Ok((token + 1) % VOCABULARY)
    }

    fn logits(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        let width = if self.fault == "empty" { 0 } else { VOCABULARY as usize };
        let logits: Vec<f32> = (0..width).map(|i| self.value(i)).collect();
        for i in 0..tokens.len() {
            sink(i, &logits);
        }
        Ok(())
    }
}

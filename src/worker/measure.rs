//! The measuring loop: load, warm up until stable, sample, account memory. The only place that times a session.

use std::time::{Duration, Instant};

use super::energy::Energy;
use super::protocol::{Event, GraphTask, MeasureRequest};
use super::serve::Events;
use super::{cold, graph, process, quality};
use crate::backend::{Backend, BackendError, GraphSession, Session, TextSession};
use crate::model::{Finding, FindingKind, Metric, Phase, Protocol, Workload};
use crate::probe::{LiveHost, Thermometer};
use crate::stats;

/// Warm-up is over when the last values of this window show no slope.
const WARMUP_WINDOW: usize = 3;
/// Tokens of the sanity check's forward pass.
const SANITY_TOKENS: usize = 16;
/// Per-token latencies kept a run: enough for p99, bounded on disk.
const MAX_LATENCIES: usize = 4096;
/// Points of a sustained measurement at most, and the shortest time one stands for.
const SUSTAINED_POINTS: f64 = 600.0;
const SUSTAINED_WINDOW_S: f64 = 0.25;

/// Reads temperature and clock of the measured processor between timed regions.
struct Heat {
    host: LiveHost,
    thermometer: Thermometer,
    start: Instant,
}

impl Heat {
    fn new(device: &str) -> Self {
        let host = LiveHost::new();
        Self { thermometer: Thermometer::of(&host, device), host, start: Instant::now() }
    }

    /// A point now; with a speed it belongs to the sustained measurement.
    fn point(&self, events: &mut Events, speed: Option<f64>) {
        let mut point = self.thermometer.read(&self.host);
        (point.seconds, point.speed) = (self.start.elapsed().as_secs_f64(), speed);
        events.send(&Event::Heat { point });
    }
}

/// Measures one opened variant and sends every sample as it is taken.
pub(crate) fn measure(
    backend: &dyn Backend,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    let mut energy = Energy::start(&request.open.device, &request.protocol);
    events.send(&Event::Phase { phase: Phase::Load });
    if request.protocol.cold_load {
        match cold::evict(&request.open.variant.path) {
            Ok(()) => {
                let start = Instant::now();
                drop(backend.open(&request.open)?);
                sample(events, Metric::LoadColdNs, nanoseconds(start.elapsed()), false);
            }
            Err(why) => events.send(&Event::Finding {
                finding: Finding::note(FindingKind::Note, format!("no cold load: {why}")),
            }),
        }
    }
    let start = Instant::now();
    let session = backend.open(&request.open)?;
    sample(events, Metric::LoadNs, nanoseconds(start.elapsed()), false);
    match session {
        Session::Tool(mut s) => {
            events.send(&Event::Phase { phase: Phase::Measure });
            let repetitions = request.protocol.samples_min.clamp(1, 20);
            s.run(repetitions, &mut |metric, value| sample(events, metric, value, false))?;
            events.send(&Event::Facts { facts: Box::new(s.facts()) });
            Ok(())
        }
        Session::Text(mut s) => {
            text(s.as_mut(), request, &mut energy, events)?;
            finish(events, &s.facts());
            energy.finish(events);
            sustain_text(s.as_mut(), request, events)?;
            sanity(s.as_mut(), request, events)?;
            match &request.quality {
                Some(task) => quality::score(s.as_mut(), task, events),
                None => Ok(()),
            }
        }
        Session::Graph(mut s) => {
            let Some(task) = &request.graph else {
                return Err(BackendError::Failed("no inputs were made for the graph".to_owned()));
            };
            graph(s.as_mut(), request, task, &mut energy, events)?;
            finish(events, &s.facts());
            energy.finish(events);
            sustain_graph(s.as_mut(), request, events)?;
            check_finite(&s.output()?, events);
            graph::score(s.as_mut(), task, events)
        }
    }
}

fn text(
    session: &mut dyn TextSession,
    request: &MeasureRequest,
    energy: &mut Energy,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Generate { prompt, decode, .. } = request.open.workload else {
        return Err(BackendError::Unsupported(
            "a text session runs generate workloads only".to_owned(),
        ));
    };
    let prompt = random_tokens(prompt, session.vocabulary(), request.seed ^ 1);
    let past = past(session, request);
    let heat = Heat::new(&request.open.device);
    let boxed = session.time_box().is_some();
    let mut latencies = 0;
    let mut protocol = request.protocol.clone();
    if let Some(limit) = session.time_box() {
        (protocol.warmup_min, protocol.warmup_max, protocol.samples_min) = (0, 0, 1);
        protocol.seconds_min = 0.0;
        protocol.seconds_max = protocol.seconds_max.min(limit.as_secs_f64());
    }
    sample_loop(&protocol, &heat, events, |events, warmup| {
        rewind(session, &past)?;
        let spent = (Metric::PrefillEnergyPerTokenJ, prompt.len() as f64, warmup);
        let (prefill, token) = energy.around(events, spent, || timed_prefill(session, &prompt))?;
        let first = timed_step(session, token)?.0;
        sample(events, Metric::PrefillTokS, prompt.len() as f64 / prefill.as_secs_f64(), warmup);
        sample(events, Metric::TtftNs, nanoseconds(prefill + first), warmup);
        rewind(session, &past)?;
        let spent = (Metric::EnergyPerTokenJ, f64::from(decode), warmup);
        let steps = energy.around(events, spent, || timed_decode(session, decode, request.seed))?;
        let total: Duration = steps.iter().sum();
        let rate = steps.len() as f64 / total.as_secs_f64();
        sample(events, Metric::DecodeTokS, rate, warmup);
        if !warmup {
            for step in steps.iter().take(MAX_LATENCIES - latencies) {
                sample(events, Metric::LatencyNs, nanoseconds(*step), false);
            }
            latencies = (latencies + steps.len()).min(MAX_LATENCIES);
        }
        Ok(rate)
    })?;
    if boxed {
        return Ok(());
    }
    let mut session = session;
    let ready = |s: &mut &mut dyn TextSession| rewind(*s, &past);
    let spent = (Metric::EnergyPerTokenJ, f64::from(decode));
    energy.repeat(events, spent, &mut session, ready, |s| {
        timed_decode(*s, decode, request.seed).map(drop)
    })?;
    let spent = (Metric::PrefillEnergyPerTokenJ, prompt.len() as f64);
    energy.repeat(events, spent, &mut session, ready, |s| s.prefill(&prompt).map(drop))
}

/// The tokens that lie before whatever is measured.
fn past(session: &dyn TextSession, request: &MeasureRequest) -> Vec<u32> {
    let Workload::Generate { depth, .. } = request.open.workload else { return Vec::new() };
    random_tokens(depth, session.vocabulary(), request.seed ^ 2)
}

/// Time to take in the prompt, and the token that follows it.
fn timed_prefill(
    session: &mut dyn TextSession,
    prompt: &[u32],
) -> Result<(Duration, u32), BackendError> {
    let start = Instant::now();
    let token = session.prefill(prompt)?;
    Ok((start.elapsed(), token))
}

/// Times of `count` decode steps one by one.
fn timed_decode(
    session: &mut dyn TextSession,
    count: u32,
    seed: u64,
) -> Result<Vec<Duration>, BackendError> {
    let mut token = random_tokens(1, session.vocabulary(), seed)[0];
    let mut steps = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (time, next) = timed_step(session, token)?;
        steps.push(time);
        token = next;
    }
    Ok(steps)
}

fn timed_step(session: &mut dyn TextSession, token: u32) -> Result<(Duration, u32), BackendError> {
    let start = Instant::now();
    let next = session.decode(token)?;
    let time = start.elapsed();
    let vocabulary = session.vocabulary();
    if next >= vocabulary {
        return Err(BackendError::Failed(format!(
            "the engine returned token {next} of a vocabulary of {vocabulary}"
        )));
    }
    Ok((time, next))
}

fn rewind(session: &mut dyn TextSession, past: &[u32]) -> Result<(), BackendError> {
    session.reset()?;
    if !past.is_empty() {
        session.prefill(past)?;
    }
    Ok(())
}

fn graph(
    session: &mut dyn GraphSession,
    request: &MeasureRequest,
    task: &GraphTask,
    energy: &mut Energy,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Infer { batch, .. } = request.open.workload else {
        return Err(BackendError::Unsupported("a graph session runs infer workloads only".into()));
    };
    session.set_inputs(&graph::first(task)?)?;
    let heat = Heat::new(&request.open.device);
    let mut last = Duration::ZERO;
    sample_loop(&request.protocol, &heat, events, |events, warmup| {
        last = timed_run(session)?;
        let rate = f64::from(batch) / last.as_secs_f64();
        sample(events, Metric::LatencyNs, nanoseconds(last), warmup);
        sample(events, Metric::ThroughputPerS, rate, warmup);
        Ok(rate)
    })?;
    // One inference is mostly shorter than a counter's step, so many go into a reading.
    let mut session = session;
    let at_once = (SUSTAINED_WINDOW_S / last.as_secs_f64().max(1e-6)).clamp(1.0, 1e5) as u32;
    let spent = (Metric::EnergyPerInferenceJ, f64::from(at_once) * f64::from(batch));
    energy.repeat(
        events,
        spent,
        &mut session,
        |_: &mut &mut dyn GraphSession| Ok(()),
        |s| (0..at_once).try_for_each(|_| s.run()),
    )
}

fn timed_run(session: &mut dyn GraphSession) -> Result<Duration, BackendError> {
    let start = Instant::now();
    session.run()?;
    Ok(start.elapsed())
}

/// Decodes on and on: `decode` tokens, then again from the same context.
fn sustain_text(
    session: &mut dyn TextSession,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Generate { decode, .. } = request.open.workload else { return Ok(()) };
    if session.time_box().is_some() {
        return Ok(());
    }
    let past = past(session, request);
    let (mut left, mut token) = (0, 0);
    sustain(request, events, || {
        if left == 0 {
            rewind(session, &past)?;
            (left, token) = (decode, random_tokens(1, session.vocabulary(), request.seed)[0]);
        }
        let (time, next) = timed_step(session, token)?;
        (left, token) = (left - 1, next);
        Ok((1.0, time))
    })
}

fn sustain_graph(
    session: &mut dyn GraphSession,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Infer { batch, .. } = request.open.workload else { return Ok(()) };
    sustain(request, events, || Ok((f64::from(batch), timed_run(session)?)))
}

/// Repeats a step (items and their time) for as long as the protocol asks, a point of speed and heat a window.
fn sustain(
    request: &MeasureRequest,
    events: &mut Events,
    mut step: impl FnMut() -> Result<(f64, Duration), BackendError>,
) -> Result<(), BackendError> {
    let seconds = request.protocol.sustain_s;
    if seconds <= 0.0 {
        return Ok(());
    }
    let window = (seconds / SUSTAINED_POINTS).max(SUSTAINED_WINDOW_S);
    let heat = Heat::new(&request.open.device);
    events.send(&Event::Phase { phase: Phase::Sustain });
    while heat.start.elapsed().as_secs_f64() < seconds {
        let (mut items, mut busy) = (0.0, Duration::ZERO);
        while busy.as_secs_f64() < window {
            let (n, time) = step()?;
            (items, busy) = (items + n, busy + time);
        }
        heat.point(events, Some(items / busy.as_secs_f64()));
        events.send(&Event::Phase { phase: Phase::Sustain });
    }
    Ok(())
}

/// Warm-up until the values are flat or the cap is reached, then samples until both minima or one cap.
fn sample_loop(
    protocol: &Protocol,
    heat: &Heat,
    events: &mut Events,
    mut iteration: impl FnMut(&mut Events, bool) -> Result<f64, BackendError>,
) -> Result<(), BackendError> {
    events.send(&Event::Phase { phase: Phase::Warmup });
    let mut warmup = Vec::new();
    while warmup.len() < protocol.warmup_max as usize {
        let tail = &warmup[warmup.len().saturating_sub(WARMUP_WINDOW)..];
        let enough = warmup.len() >= protocol.warmup_min as usize;
        if enough && (warmup.len() < WARMUP_WINDOW || stats::warmed_up(tail)) {
            break;
        }
        warmup.push(iteration(events, true)?);
        events.send(&Event::Phase { phase: Phase::Warmup });
    }
    events.send(&Event::Phase { phase: Phase::Measure });
    heat.point(events, None);
    let start = Instant::now();
    for done in 1..=protocol.samples_max.max(1) {
        iteration(events, false)?;
        // Restarts the deadline, which holds for a single iteration.
        events.send(&Event::Phase { phase: Phase::Measure });
        let seconds = start.elapsed().as_secs_f64();
        let enough = done >= protocol.samples_min && seconds >= protocol.seconds_min;
        if enough || seconds >= protocol.seconds_max {
            break;
        }
    }
    heat.point(events, None);
    Ok(())
}

/// Memory and CPU time of the measured part: taken before anything else inflates them.
fn finish(events: &mut Events, facts: &crate::record::SessionFacts) {
    let pids = || std::iter::once(std::process::id()).chain(facts.child_pids.iter().copied());
    let total = |read: fn(u32) -> Option<u64>| pids().filter_map(read).sum::<u64>();
    let mut once = |metric, bytes: Option<u64>| {
        if let Some(b) = bytes.filter(|&b| b > 0) {
            sample(events, metric, b as f64, false);
        }
    };
    once(Metric::PeakRssBytes, Some(total(process::peak_rss_bytes)));
    once(Metric::CpuTimeNs, Some(total(process::cpu_time_ns)));
    once(Metric::WeightBytes, facts.weight_bytes);
    once(Metric::KvCacheBytes, facts.kv_cache_bytes);
    once(Metric::ComputeBufferBytes, facts.compute_buffer_bytes);
    once(Metric::DeviceMemoryBytes, facts.device_memory_bytes);
    events.send(&Event::Facts { facts: Box::new(facts.clone()) });
}

/// One short forward pass with all logits: numbers that are not finite, or all alike, are no model.
fn sanity(
    session: &mut dyn TextSession,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    events.send(&Event::Phase { phase: Phase::Quality });
    let count = (request.open.context as usize).min(SANITY_TOKENS) as u32;
    let tokens = random_tokens(count, session.vocabulary(), request.seed);
    session.reset()?;
    let mut last = Vec::new();
    session.logits(&tokens, &mut |_, logits| {
        last.clear();
        last.extend_from_slice(logits);
    })?;
    check_finite(&last, events);
    Ok(())
}

fn check_finite(output: &[f32], events: &mut Events) {
    let finding = if output.is_empty() {
        Finding::invalid(FindingKind::EmptyOutput, "the model returned no output")
    } else if output.iter().any(|x| !x.is_finite()) {
        Finding::invalid(FindingKind::NonFiniteOutput, "the output holds NaN or infinity")
    } else if output.len() > 1 && output.iter().all(|x| *x == output[0]) {
        Finding::invalid(FindingKind::GarbageOutput, "every output value is the same")
    } else {
        return;
    };
    let hint = "try another precision or backend; the file may be damaged";
    events.send(&Event::Finding { finding: finding.with_hint(hint) });
}

fn sample(events: &mut Events, metric: Metric, value: f64, warmup: bool) {
    let value = value.is_finite().then_some(value);
    events.send(&Event::Sample { metric, value, warmup });
}

fn nanoseconds(d: Duration) -> f64 {
    d.as_secs_f64() * 1e9
}

/// Token ids spread over the vocabulary, the same for the same seed (SplitMix64).
fn random_tokens(count: u32, vocabulary: u32, seed: u64) -> Vec<u32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) % u64::from(vocabulary.max(1))) as u32
        })
        .collect()
}

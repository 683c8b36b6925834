//! The measuring loop: load, warm up until stable, sample, account memory. The only place that times a session.

use std::time::{Duration, Instant};

use super::protocol::{Event, GraphTask, MeasureRequest};
use super::serve::Events;
use super::{graph, process, quality};
use crate::backend::{Backend, BackendError, GraphSession, Session, TextSession};
use crate::model::{Finding, FindingKind, Metric, Phase, Protocol, Workload};
use crate::stats;

/// Warm-up is over when the last values of this window show no slope.
const WARMUP_WINDOW: usize = 3;
/// Tokens of the sanity check's forward pass.
const SANITY_TOKENS: usize = 16;
/// Per-token latencies kept a run: enough for p99, bounded on disk.
const MAX_LATENCIES: usize = 4096;

/// Measures one opened variant and sends every sample as it is taken.
pub(crate) fn measure(
    backend: &dyn Backend,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    events.send(&Event::Phase { phase: Phase::Load });
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
            text(s.as_mut(), request, events)?;
            finish(events, &s.facts());
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
            graph(s.as_mut(), request, task, events)?;
            finish(events, &s.facts());
            check_finite(&s.output()?, events);
            graph::score(s.as_mut(), task, events)
        }
    }
}

fn text(
    session: &mut dyn TextSession,
    request: &MeasureRequest,
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Generate { prompt, decode, depth } = request.open.workload else {
        return Err(BackendError::Unsupported(
            "a text session runs generate workloads only".to_owned(),
        ));
    };
    let vocabulary = session.vocabulary();
    let tokens = |n: u32, salt: u64| random_tokens(n, vocabulary, request.seed ^ salt);
    let (prompt, past) = (tokens(prompt, 1), tokens(depth, 2));
    let mut latencies = 0;
    let mut protocol = request.protocol.clone();
    if let Some(limit) = session.time_box() {
        (protocol.warmup_min, protocol.warmup_max, protocol.samples_min) = (0, 0, 1);
        protocol.seconds_min = 0.0;
        protocol.seconds_max = protocol.seconds_max.min(limit.as_secs_f64());
    }
    sample_loop(&protocol, events, |events, warmup| {
        let (prefill, first) = timed_prefill(session, &past, &prompt)?;
        sample(events, Metric::PrefillTokS, prompt.len() as f64 / prefill.as_secs_f64(), warmup);
        sample(events, Metric::TtftNs, nanoseconds(prefill + first), warmup);
        let steps = timed_decode(session, &past, decode, request.seed)?;
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
    })
}

/// Time to take in the prompt, and of the first decode step behind it.
fn timed_prefill(
    session: &mut dyn TextSession,
    past: &[u32],
    prompt: &[u32],
) -> Result<(Duration, Duration), BackendError> {
    rewind(session, past)?;
    let start = Instant::now();
    let token = session.prefill(prompt)?;
    let prefill = start.elapsed();
    let start = Instant::now();
    session.decode(token)?;
    Ok((prefill, start.elapsed()))
}

/// Times of `count` decode steps one by one, from the given context on.
fn timed_decode(
    session: &mut dyn TextSession,
    past: &[u32],
    count: u32,
    seed: u64,
) -> Result<Vec<Duration>, BackendError> {
    rewind(session, past)?;
    let vocabulary = session.vocabulary();
    let mut token = random_tokens(1, vocabulary, seed)[0];
    let mut steps = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let start = Instant::now();
        token = session.decode(token)?;
        steps.push(start.elapsed());
        if token >= vocabulary {
            return Err(BackendError::Failed(format!(
                "the engine returned token {token} of a vocabulary of {vocabulary}"
            )));
        }
    }
    Ok(steps)
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
    events: &mut Events,
) -> Result<(), BackendError> {
    let Workload::Infer { batch, .. } = request.open.workload else {
        return Err(BackendError::Unsupported("a graph session runs infer workloads only".into()));
    };
    session.set_inputs(&graph::first(task)?)?;
    sample_loop(&request.protocol, events, |events, warmup| {
        let start = Instant::now();
        session.run()?;
        let elapsed = start.elapsed();
        let rate = f64::from(batch) / elapsed.as_secs_f64();
        sample(events, Metric::LatencyNs, nanoseconds(elapsed), warmup);
        sample(events, Metric::ThroughputPerS, rate, warmup);
        Ok(rate)
    })
}

/// Warm-up until the values are flat or the cap is reached, then samples until both minima or one cap.
fn sample_loop(
    protocol: &Protocol,
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

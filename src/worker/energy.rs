//! Energy of what is measured. The counters are read here, in the worker and beside its clock, because only the worker
//! knows where a timed region begins and ends: read from the parent, a pipe and a scheduler would lie in between.
//! A reading takes microseconds and lies outside the region's own clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::Event;
use super::serve::Events;
use crate::backend::BackendError;
use crate::model::{EnergyFacts, Finding, FindingKind, Metric, Phase, Protocol};
use crate::probe::{EnergyMeter, LiveHost};

/// Spans taken where the samples themselves are too short for the counter.
const SPANS: u32 = 3;

/// A moment as the meter knows it.
#[derive(Clone, Copy)]
struct Mark {
    joules: f64,
    seconds: f64,
    failures: u32,
}

/// Reads one meter; a sensor of power is also read in the background.
struct Reader {
    meter: Arc<Mutex<EnergyMeter>>,
    start: Instant,
}

impl Reader {
    fn new(meter: EnergyMeter) -> Self {
        let polled = meter.needs_polling();
        let reader = Self { meter: Arc::new(Mutex::new(meter)), start: Instant::now() };
        if polled {
            let (meter, start) = (Arc::downgrade(&reader.meter), reader.start);
            std::thread::spawn(move || {
                while let Some(meter) = meter.upgrade() {
                    read(&meter, start);
                    drop(meter);
                    std::thread::sleep(EnergyMeter::POLL);
                }
            });
        }
        reader
    }

    fn mark(&self) -> Option<Mark> {
        read(&self.meter, self.start)
    }
}

fn read(meter: &Mutex<EnergyMeter>, start: Instant) -> Option<Mark> {
    // A reader that panicked left numbers, not broken ones.
    let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = start.elapsed().as_secs_f64();
    let joules = meter.read(&LiveHost::new(), seconds)?;
    Some(Mark { joules, seconds, failures: meter.failures })
}

/// Energy and time between two marks; `None` where a reading failed in between.
fn between(a: Option<Mark>, b: Option<Mark>) -> Option<(f64, f64)> {
    let (a, b) = (a?, b?);
    (a.failures == b.failures).then_some((b.joules - a.joules, b.seconds - a.seconds))
}

/// Energy samples of one case.
pub(crate) struct Energy {
    reader: Option<Reader>,
    /// Shortest span that gives a figure.
    span_s: f64,
    /// Longest time for spans beyond the samples.
    extra_s: f64,
    facts: EnergyFacts,
    sampled: Vec<Metric>,
    /// Spans that took no more than the idle machine.
    below_idle: u32,
}

impl Energy {
    /// Finds a meter and takes the idle baseline. Called before the model is loaded, with the machine at rest.
    pub(crate) fn start(device: &str, protocol: &Protocol) -> Self {
        let none = |facts| Self {
            reader: None,
            span_s: 0.0,
            extra_s: 0.0,
            facts,
            sampled: Vec::new(),
            below_idle: 0,
        };
        if protocol.idle_s <= 0.0 {
            return none(EnergyFacts::default());
        }
        let meter = match EnergyMeter::find(&LiveHost::new(), device) {
            Ok(meter) => meter,
            Err(no) => {
                let (missing, hint) = (no.why, no.hint);
                return none(EnergyFacts { missing, hint, ..EnergyFacts::default() });
            }
        };
        let (source, scope, span_s) = (meter.source.clone(), meter.scope.clone(), meter.span_s);
        let mut facts = EnergyFacts { source, scope, ..EnergyFacts::default() };
        if span_s > protocol.energy_s {
            facts.missing = format!(
                "{} needs {span_s:.0} s of load for a figure, this protocol allows {:.0}",
                std::mem::take(&mut facts.source),
                protocol.energy_s
            );
            facts.hint = "run without --quick".to_owned();
            return none(facts);
        }
        let reader = Reader::new(meter);
        let begin = reader.mark();
        std::thread::sleep(Duration::from_secs_f64(protocol.idle_s.max(span_s)));
        let Some((joules, seconds)) = between(begin, reader.mark()) else {
            facts.missing =
                format!("{} could not be read twice", std::mem::take(&mut facts.source));
            return none(facts);
        };
        facts.idle_w = Some(joules / seconds);
        Self { reader: Some(reader), span_s, extra_s: protocol.energy_s, ..none(facts) }
    }

    /// Runs `work`, and takes its energy as a sample of `metric` (joules an item) where it lasts long enough.
    pub(crate) fn around<T>(
        &mut self,
        events: &mut Events,
        (metric, items, warmup): (Metric, f64, bool),
        work: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let begin = self.reader.as_ref().and_then(Reader::mark);
        let done = work()?;
        if begin.is_some()
            && let Some(span) = between(begin, self.reader.as_ref().and_then(Reader::mark))
            && span.1 >= self.span_s
        {
            self.sample(events, metric, span, items, warmup);
        }
        Ok(done)
    }

    /// Where the samples gave no figure of `metric`, repeats `work` until its spans are long enough. `ready` runs
    /// before each repetition and does not count.
    pub(crate) fn repeat<S>(
        &mut self,
        events: &mut Events,
        (metric, items): (Metric, f64),
        session: &mut S,
        ready: impl Fn(&mut S) -> Result<(), BackendError>,
        work: impl Fn(&mut S) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let Some(reader) = self.reader.as_ref() else { return Ok(()) };
        if self.sampled.contains(&metric) {
            return Ok(());
        }
        let (start, mut spans) = (Instant::now(), Vec::new());
        let mut open = (0.0, 0.0, 0.0);
        while spans.len() < SPANS as usize
            && start.elapsed().as_secs_f64() < self.extra_s.max(self.span_s)
        {
            ready(session)?;
            let begin = reader.mark();
            work(session)?;
            let Some((joules, seconds)) = between(begin, reader.mark()) else { break };
            open = (open.0 + joules, open.1 + seconds, open.2 + items);
            // The longest wait holds for one repetition.
            events.send(&Event::Phase { phase: Phase::Measure });
            if open.1 >= self.span_s {
                spans.push(std::mem::take(&mut open));
            }
        }
        for (joules, seconds, items) in spans {
            self.sample(events, metric, (joules, seconds), items, false);
        }
        Ok(())
    }

    fn sample(
        &mut self,
        events: &mut Events,
        metric: Metric,
        (joules, seconds): (f64, f64),
        items: f64,
        warmup: bool,
    ) {
        let net = joules - self.facts.idle_w.unwrap_or(0.0) * seconds;
        if !warmup {
            self.facts.total_j += joules;
            self.facts.total_s += seconds;
            if !self.sampled.contains(&metric) {
                self.sampled.push(metric);
            }
        }
        if net > 0.0 {
            events.send(&Event::Sample { metric, value: Some(net / items), warmup });
        } else if !warmup {
            self.below_idle += 1;
        }
    }

    /// Says what was read, or why nothing was.
    pub(crate) fn finish(self, events: &mut Events) {
        let mut facts = self.facts;
        if self.reader.is_some() && self.sampled.is_empty() {
            facts.missing = format!("no span reached the {} s that the counter needs", self.span_s);
        }
        if self.below_idle > 0 {
            let detail = format!(
                "{} spans took no more energy than the idle machine before them: not counted",
                self.below_idle
            );
            let finding = Finding::note(FindingKind::Note, detail).with_hint(
                "the machine was not idle before the case, or the load is too small to see",
            );
            events.send(&Event::Finding { finding });
        }
        if facts != EnergyFacts::default() {
            events.send(&Event::Energy { facts: Box::new(facts) });
        }
    }
}

//! Threads that start a timed piece of work together.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `body` on `threads` threads at once, as often as `measure` asks, and tells it each round's wall time.
///
/// Each thread makes its own state with `setup`, so that its memory is its own. `None` where a setup failed.
pub(crate) fn run<S, R>(
    threads: u32,
    setup: impl Fn() -> Option<S> + Sync,
    body: impl Fn(&mut S) + Sync,
    measure: impl FnOnce(&mut dyn FnMut() -> Duration) -> R,
) -> Option<R> {
    let others = threads.max(1) as usize - 1;
    let gate = Gate::default();
    let failed = AtomicBool::new(false);
    let make = || {
        let state = setup();
        failed.fetch_or(state.is_none(), Ordering::AcqRel);
        state
    };
    std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| {
                let mut state = make();
                let mut round = 0;
                gate.arrive();
                while gate.next(&mut round) {
                    if let Some(state) = &mut state {
                        body(state);
                    }
                    gate.arrive();
                }
            });
        }
        let mut state = make();
        gate.wait_for(others);
        let usable = state.as_mut().filter(|_| !failed.load(Ordering::Acquire));
        let result = usable.map(|state| {
            measure(&mut || {
                gate.open();
                let start = Instant::now();
                body(state);
                gate.wait_for(others);
                start.elapsed()
            })
        });
        gate.end();
        result
    })
}

/// Spins, then yields: waking a sleeping thread costs more than a short round lasts.
#[derive(Default)]
struct Gate {
    round: AtomicUsize,
    arrived: AtomicUsize,
    ended: AtomicBool,
}

impl Gate {
    fn open(&self) {
        self.arrived.store(0, Ordering::Release);
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    fn arrive(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits for the next round; false at the end.
    fn next(&self, seen: &mut usize) -> bool {
        pause_until(|| self.round.load(Ordering::Acquire) != *seen);
        *seen = self.round.load(Ordering::Acquire);
        !self.ended.load(Ordering::Acquire)
    }

    fn wait_for(&self, others: usize) {
        pause_until(|| self.arrived.load(Ordering::Acquire) >= others);
    }
}

fn pause_until(ready: impl Fn() -> bool) {
    for spins in 0u32.. {
        if ready() {
            return;
        }
        if spins < 2_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_takes_part_in_every_round() {
        let rounds = AtomicUsize::new(0);
        let result = run(
            3,
            || Some(()),
            |()| {
                rounds.fetch_add(1, Ordering::Relaxed);
            },
            |round| {
                for _ in 0..5 {
                    round();
                }
                "done"
            },
        );
        assert_eq!(result, Some("done"));
        assert_eq!(rounds.load(Ordering::Relaxed), 15);
    }

    #[test]
    fn a_thread_without_memory_ends_the_measurement() {
        let calls = AtomicUsize::new(0);
        let setup = || (calls.fetch_add(1, Ordering::Relaxed) != 1).then_some(());
        assert_eq!(run(2, setup, |()| (), |round| round()), None);
    }
}

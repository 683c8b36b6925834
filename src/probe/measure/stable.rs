//! Repeats a measurement until its best value stops improving.

use std::time::{Duration, Instant};

use crate::probe::capability::Rate;

/// How long to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub least: u32,
    pub most: u32,
    pub budget: Duration,
}

/// Repetitions without a better value after which more would be in vain.
const PATIENCE: u32 = 6;
/// A better value counts from this much on.
const GAIN: f64 = 1.005;

/// Calls `once`, which returns a rate, until stable or the budget is spent. Other programs only ever make a
/// repetition slower, so the best one is the machine's; the median says how disturbed the rest were.
pub(crate) fn repeat(effort: Effort, mut once: impl FnMut() -> f64) -> Rate {
    let start = Instant::now();
    let mut rates: Vec<f64> = Vec::new();
    let (mut best, mut since) = (0.0f64, 0);
    while (rates.len() as u32) < effort.most {
        let rate = once();
        rates.push(rate);
        since = if rate > best * GAIN { 0 } else { since + 1 };
        best = best.max(rate);
        let enough = rates.len() as u32 >= effort.least;
        if enough && (since >= PATIENCE || start.elapsed() > effort.budget) {
            break;
        }
    }
    Rate::of(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { least: 3, most: 100, budget: Duration::from_secs(3600) };

    #[test]
    fn a_steady_rate_ends_early() {
        let rate = repeat(EFFORT, || 10.0);
        assert_eq!((rate.best, rate.spread), (10.0, 0.0));
        assert_eq!(rate.repetitions, PATIENCE + 1);
    }

    #[test]
    fn interference_shows_as_spread_and_not_in_the_best() {
        let mut n = 0;
        let rate = repeat(EFFORT, || {
            n += 1;
            if n % 3 == 0 { 20.0 } else { 10.0 }
        });
        assert_eq!(rate.best, 20.0);
        assert!(rate.spread >= 0.5);
    }

    #[test]
    fn an_ever_improving_rate_stops_at_the_cap() {
        let mut n = 1.0;
        let rate = repeat(EFFORT, || {
            n *= 1.1;
            n
        });
        assert_eq!(rate.repetitions, 100);
    }
}

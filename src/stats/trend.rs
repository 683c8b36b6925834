//! Values over time: has a warm-up settled, and where did a long history step.

use super::{mean, median};

/// Fewest values that show a slope.
const MIN_WINDOW: usize = 3;
/// Drift over the window, as a share of its mean, that does not matter.
const FLAT: f64 = 0.02;

/// Whether a window of warm-up values has settled: its least-squares drift is below 2 % of its mean, or within two
/// standard errors of none. A shorter window than three or a non-finite value has not settled.
pub fn warmed_up(window: &[f64]) -> bool {
    let n = window.len();
    let Some(centre) = mean(window) else { return false };
    if n < MIN_WINDOW {
        return false;
    }
    let middle = (n - 1) as f64 / 2.0;
    let (mut sxx, mut sxy) = (0.0, 0.0);
    for (i, v) in window.iter().enumerate() {
        let x = i as f64 - middle;
        sxx += x * x;
        sxy += x * (v - centre);
    }
    let slope = sxy / sxx;
    let span = (n - 1) as f64;
    let residual: f64 = window
        .iter()
        .enumerate()
        .map(|(i, v)| (v - centre - slope * (i as f64 - middle)).powi(2))
        .sum();
    let error = (residual / (n - 2) as f64 / sxx).sqrt();
    let drift = (slope * span).abs();
    drift <= FLAT * centre.abs() || drift <= 2.0 * error * span
}

/// Fewest values between two steps.
const MIN_SEGMENT: usize = 3;
/// Longest history that is searched; a longer one is cut to its newest values (the search is quadratic).
const MAX_POINTS: usize = 2000;

/// Indices at which the level of a series steps: each is the first value of a new level.
///
/// Optimal partitioning of the mean with a penalty of `3 ln n` noise variances a step (Jackson 2005, Killick 2012);
/// the noise comes from the median absolute difference of neighbours, so that steps do not inflate it. Differences below
/// 0.5 % of the level are not steps. Empty for fewer than six values or a non-finite one. Advisory: it tests nothing.
pub fn change_points(values: &[f64]) -> Vec<usize> {
    let skipped = values.len().saturating_sub(MAX_POINTS);
    let values = &values[skipped..];
    let n = values.len();
    let Some(level) = median(values) else { return Vec::new() };
    if n < 2 * MIN_SEGMENT {
        return Vec::new();
    }
    let steps: Vec<f64> = values.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    // For normal noise the median absolute neighbour difference is 0.6745 * sqrt(2) standard deviations.
    let noise = median(&steps).unwrap_or(0.0) / (0.6745 * std::f64::consts::SQRT_2);
    let noise = noise.max(level.abs() * 0.005);
    if noise == 0.0 {
        return Vec::new();
    }
    let penalty = 3.0 * (n as f64).ln() * noise * noise;
    let (mut sum, mut square) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for (i, v) in values.iter().enumerate() {
        let v = v - level;
        sum[i + 1] = sum[i] + v;
        square[i + 1] = square[i] + v * v;
    }
    let cost = |a: usize, b: usize| {
        let s: f64 = sum[b] - sum[a];
        square[b] - square[a] - s * s / (b - a) as f64
    };
    let mut best = vec![f64::INFINITY; n + 1];
    let mut from = vec![0; n + 1];
    best[0] = -penalty;
    for end in MIN_SEGMENT..=n {
        for start in 0..=end - MIN_SEGMENT {
            let total = best[start] + cost(start, end) + penalty;
            if total < best[end] {
                best[end] = total;
                from[end] = start;
            }
        }
    }
    let mut points = Vec::new();
    let mut at = from[n];
    while at > 0 {
        points.push(at + skipped);
        at = from[at];
    }
    points.reverse();
    points
}

/// Where a long series of speeds ends up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plateau {
    /// Median of the first tenth.
    pub start: f64,
    /// Median of the last third.
    pub level: f64,
    /// Index from which the series stays within 5 % of the level.
    pub from: usize,
    /// False where the last third still drifts: the level is then an upper or lower bound.
    pub settled: bool,
}

/// Fewest values that have a start, a middle and an end.
const PLATEAU_MIN: usize = 9;
const PLATEAU_NEAR: f64 = 0.05;

/// The level that speeds over time settle at. Medians, so that a hiccup at either end moves nothing; when it was reached
/// comes from [`change_points`]. `None` for fewer than nine values or one that is not finite.
pub fn plateau(speeds: &[f64]) -> Option<Plateau> {
    let n = speeds.len();
    if n < PLATEAU_MIN || speeds.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let start = median(&speeds[..(n / 10).max(3)])?;
    let last = &speeds[n - n / 3..];
    let level = median(last)?;
    let mut bounds = change_points(speeds);
    bounds.insert(0, 0);
    let near = |&(a, b): &(usize, usize)| {
        median(&speeds[a..b]).is_some_and(|m| (m - level).abs() <= PLATEAU_NEAR * level.abs())
    };
    let ends = bounds.iter().skip(1).copied().chain([n]);
    let segments: Vec<(usize, usize)> = bounds.iter().copied().zip(ends).collect();
    let from = segments.iter().rev().take_while(|s| near(s)).last().map_or(n - n / 3, |s| s.0);
    Some(Plateau { start, level, from, settled: warmed_up(last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_warm_up_has_not_settled_and_a_flat_or_noisy_one_has() {
        assert!(!warmed_up(&[200.0, 150.0, 120.0, 110.0]));
        assert!(!warmed_up(&[10.0, 10.0]));
        assert!(!warmed_up(&[10.0, f64::NAN, 10.0]));
        assert!(warmed_up(&[100.0, 100.5, 99.8, 100.1]));
        assert!(warmed_up(&[100.0, 108.0, 93.0, 104.0]));
        assert!(warmed_up(&[0.0, 0.0, 0.0]));
    }

    #[test]
    fn a_plateau_is_named_with_its_start_and_when_it_was_reached() {
        let noise = |i: i32| f64::from(i * 7919 % 13 - 6) / 12.0;
        let throttled: Vec<f64> =
            (0..120).map(|i| if i < 50 { 100.0 } else { 60.0 } + noise(i)).collect();
        let found = plateau(&throttled).unwrap();
        assert!((found.start - 100.0).abs() < 1.0 && (found.level - 60.0).abs() < 1.0, "{found:?}");
        assert!((48..=52).contains(&found.from) && found.settled, "{found:?}");
        // A dip in the last values is not the plateau.
        let mut dipped = throttled.clone();
        dipped[116..].fill(20.0);
        assert!((plateau(&dipped).unwrap().level - 60.0).abs() < 1.0);
        // Exponential decay: reached within 5 % after three time constants.
        let decay: Vec<f64> =
            (0..200).map(|i| 50.0 + 50.0 * (-f64::from(i) / 20.0).exp() + noise(i)).collect();
        let found = plateau(&decay).unwrap();
        assert!((found.level - 50.0).abs() < 1.0 && (30..80).contains(&found.from), "{found:?}");
        let falling: Vec<f64> = (0..100).map(|i| 100.0 - f64::from(i) / 2.0).collect();
        assert!(!plateau(&falling).unwrap().settled);
        let steady = plateau(&[7.0; 30]).unwrap();
        assert_eq!((steady.start, steady.level, steady.from), (7.0, 7.0, 0));
        assert_eq!(plateau(&[7.0; 8]), None);
    }

    #[test]
    fn a_step_is_found_where_it_is_and_noise_has_none() {
        let noise = |i: i32| f64::from(i * 7919 % 13 - 6) / 6.0;
        let flat: Vec<f64> = (0..60).map(|i| 100.0 + noise(i)).collect();
        assert!(change_points(&flat).is_empty());
        let stepped: Vec<f64> =
            (0..60).map(|i| if i < 40 { 100.0 } else { 90.0 } + noise(i)).collect();
        assert_eq!(change_points(&stepped), [40]);
        assert!(change_points(&[1.0; 5]).is_empty());
        assert!(change_points(&[7.0; 50]).is_empty());
        assert_eq!(change_points(&[7.0, 7.0, 7.0, 7.0, 9.0, 9.0, 9.0]), [4]);
    }
}

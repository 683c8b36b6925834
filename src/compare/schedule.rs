//! When `gate --live` looks at the data, and how much of its error budget each look may spend.

/// One look at the data of a sequential gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Runs a side at this look.
    pub runs: u32,
    /// Share of the error budget this look may spend; the shares add up to 1.
    pub share: f64,
}

/// Looks from `first` to `most` runs a side, each about 1.6 times the one before, in whole ABBA blocks.
///
/// The budget is spent as the cube of the information share (Lan and DeMets 1983, power family): early looks stop for
/// clear cases only, and the last one keeps most of it.
pub fn looks(first: u32, most: u32) -> Vec<Look> {
    let even = |n: u32| n.max(2).next_multiple_of(2);
    let most = even(most.max(first));
    let mut runs = vec![even(first)];
    while let Some(&last) = runs.last().filter(|n| **n < most) {
        let next = even((f64::from(last) * 1.6).round() as u32);
        // A last step of less than a third is not worth a look of its own.
        runs.push(if f64::from(next) * 1.3 > f64::from(most) { most } else { next });
    }
    let spent = |n: u32| (f64::from(n) / f64::from(most)).powi(3);
    let mut before = 0.0;
    runs.into_iter()
        .map(|n| {
            let share = spent(n) - before;
            before = spent(n);
            Look { runs: n, share }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_to_the_cap_and_spend_the_whole_budget() {
        let all = looks(6, 30);
        assert_eq!(all.iter().map(|l| l.runs).collect::<Vec<_>>(), [6, 10, 16, 30]);
        assert!((all.iter().map(|l| l.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(all.windows(2).all(|w| w[0].share < w[1].share));
        assert_eq!(looks(5, 5), [Look { runs: 6, share: 1.0 }]);
        assert_eq!(looks(2, 3).last().map(|l| l.runs), Some(4));
    }
}

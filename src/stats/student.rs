//! Student's t distribution, also in the far tails that corrected tests need.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// P(T > t) with `df` degrees of freedom (the normal distribution for infinite `df`).
pub fn student_upper_tail(t: f64, df: f64) -> f64 {
    if t == f64::INFINITY {
        return 0.0;
    }
    // Far above 1e6 degrees of freedom t is normal to more digits than matter here.
    match StudentsT::new(0.0, 1.0, df.clamp(1e-3, 1e6)) {
        Ok(dist) => dist.sf(t),
        Err(_) => f64::NAN,
    }
}

/// The value that T stays below with probability `p` in (0, 1), by bisection on the distribution.
pub fn student_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, df);
    }
    upper_quantile(1.0 - p, df)
}

/// The value exceeded with probability `tail` in (0, 0.5].
pub(crate) fn upper_quantile(tail: f64, df: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while student_upper_tail(high, df) > tail && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if student_upper_tail(middle, df) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_printed_tables() {
        for (p, df, expected) in [
            (0.975, 1.0, 12.7062),
            (0.975, 4.0, 2.7764),
            (0.95, 8.0, 1.8595),
            (0.9995, 18.0, 3.9216),
            (0.975, 1e9, 1.95996),
        ] {
            let got = student_quantile(p, df);
            assert!((got - expected).abs() < 1e-3, "t({p}, {df}) = {got}");
        }
        assert!((student_quantile(0.025, 4.0) + 2.7764).abs() < 1e-3);
    }
}

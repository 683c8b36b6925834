//! Order statistics. Every function answers `None` for no values and for values that are not finite.

/// The sorted values, or `None` where there are none or one is NaN or infinite.
pub(crate) fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// Quantile `q` in 0..=1 of values sorted ascending, linear between order statistics
/// (type 7 of Hyndman and Fan 1996, the default of R and NumPy).
pub(crate) fn of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = position.ceil() as usize;
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

/// Quantile `q` in 0..=1, linear between order statistics (type 7 of Hyndman and Fan 1996).
pub fn quantile_type7(values: &[f64], q: f64) -> Option<f64> {
    sorted(values).map(|s| of_sorted(&s, q))
}

/// Percentile `p` in 0..=100, see [`quantile_type7`].
pub fn percentile(values: &[f64], p: f64) -> Option<f64> {
    quantile_type7(values, p / 100.0)
}

/// The middle value; the mean of the two middle ones where their number is even.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile_type7(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_r_and_numpy() {
        let v = [7.0, 1.0, 3.0, 9.0, 4.0];
        assert_eq!(median(&v), Some(4.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile_type7(&v, 0.25), Some(3.0));
        assert!((percentile(&v, 90.0).unwrap() - 8.2).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_non_finite_values_have_no_median() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        assert_eq!(median(&[1.0, f64::INFINITY]), None);
    }
}

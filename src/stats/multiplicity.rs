//! Adjusted p-values for many tests at once, in the order the p-values were given.

/// Indices by ascending p-value.
fn by_p(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

/// Holm (1979): rejecting where the result is at most `alpha` keeps the chance of any false alarm at `alpha`,
/// whatever the dependence.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut highest: f64 = 0.0;
    for (i, index) in by_p(p).into_iter().enumerate() {
        highest = highest.max(p[index] * (p.len() - i) as f64).min(1.0);
        adjusted[index] = highest;
    }
    adjusted
}

/// Benjamini and Hochberg (1995): rejecting where the result is at most `q` keeps the expected share of false alarms
/// among all alarms at `q` (independent or positively dependent tests); with nothing changed, that is the chance of any.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut lowest: f64 = 1.0;
    for (i, index) in by_p(p).into_iter().enumerate().rev() {
        lowest = lowest.min(p[index] * p.len() as f64 / (i + 1) as f64);
        adjusted[index] = lowest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_agree_with_r() {
        // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") and "BH"
        let p = [0.01, 0.04, 0.03, 0.005];
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12);
        assert!(close(&holm(&p), &[0.03, 0.06, 0.06, 0.02]));
        assert!(close(&benjamini_hochberg(&p), &[0.02, 0.04, 0.04, 0.02]));
        assert!(holm(&[]).is_empty());
    }
}

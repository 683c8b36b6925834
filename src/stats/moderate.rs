//! Sharing knowledge of noise between many comparisons of one experiment (empirical Bayes).

use statrs::function::gamma::digamma;

/// A variance with its degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variance {
    pub value: f64,
    pub df: f64,
}

/// Fewest variances that say how variances spread.
const MIN_GROUP: usize = 4;

/// Moderated variances (Smyth 2004, "limma"): each is drawn towards the group's typical one, as far as the group's own
/// spread justifies, and gains degrees of freedom for it. Few runs a metric but many metrics then give sound tests.
///
/// Zero and non-finite variances take no part and come back unchanged.
pub fn moderate(variances: &[Variance]) -> Vec<Variance> {
    let usable = |v: &&Variance| v.value > 0.0 && v.value.is_finite() && v.df > 0.0;
    let group: Vec<&Variance> = variances.iter().filter(usable).collect();
    if group.len() < MIN_GROUP {
        return variances.to_vec();
    }
    let n = group.len() as f64;
    let log = |v: &Variance| v.value.ln() - digamma(v.df / 2.0) + (v.df / 2.0).ln();
    let centre = group.iter().map(|v| log(v)).sum::<f64>() / n;
    let spread = group.iter().map(|v| (log(v) - centre).powi(2)).sum::<f64>() / (n - 1.0);
    let sampling = group.iter().map(|v| trigamma(v.df / 2.0)).sum::<f64>() / n;
    let own: f64 = group.iter().map(|v| v.df).sum();
    // The prior cannot know more than all the group's runs together.
    let (prior_df, prior) = if spread > sampling {
        let df = (2.0 * inverse_trigamma(spread - sampling)).min(own);
        (df, (centre + digamma(df / 2.0) - (df / 2.0).ln()).exp())
    } else {
        (own, centre.exp())
    };
    let blend = |v: &Variance| Variance {
        value: (prior_df * prior + v.df * v.value) / (prior_df + v.df),
        df: prior_df + v.df,
    };
    variances.iter().map(|v| if usable(&v) { blend(v) } else { *v }).collect()
}

/// Second derivative of ln Γ, by recurrence and its asymptotic series (Abramowitz and Stegun 6.4.12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let s = 1.0 / (x * x);
    sum + 1.0 / x + s / 2.0 + s / x * (1.0 / 6.0 - s * (1.0 / 30.0 - s / 42.0))
}

/// `x` with `trigamma(x) = y`, by bisection: trigamma falls monotonically.
fn inverse_trigamma(y: f64) -> f64 {
    let (mut low, mut high) = (1e-6f64, 1e7f64);
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        if trigamma(middle) > y {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigamma_has_its_known_values() {
        let known = std::f64::consts::PI.powi(2) / 6.0;
        assert!((trigamma(1.0) - known).abs() < 1e-9);
        assert!((inverse_trigamma(known) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn like_variances_are_pooled_and_unlike_ones_are_left_almost_alone() {
        let v = |value| Variance { value, df: 8.0 };
        let alike = moderate(&[v(1.0), v(1.1), v(0.9), v(1.0), v(1.2), v(0.8)]);
        assert!(alike.iter().all(|m| m.df > 40.0 && (m.value - 1.0).abs() < 0.2), "{alike:?}");
        let unlike = moderate(&[v(1e-4), v(1e-2), v(1.0), v(1e2), v(1e4)]);
        assert!(unlike.iter().all(|m| m.df < 9.0), "{unlike:?}");
        let few = [v(1.0), v(2.0)];
        assert_eq!(moderate(&few), few);
        assert_eq!(moderate(&[v(0.0), v(1.0), v(1.0), v(1.0), v(1.0)])[0], v(0.0));
    }
}

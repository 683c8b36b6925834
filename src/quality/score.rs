//! From two sets of logits at one position to divergence, agreement and likelihood.

/// Most likely tokens kept of the reference at each position; the rest is one tail mass.
///
/// Merging the tail makes the divergence a lower bound (data-processing inequality); at this size
/// the difference is far below the interval over chunks.
pub const TOP_K: usize = 512;

/// What is kept of a reference distribution at one position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// Token ids and natural log-probabilities, most likely first.
    pub top: Vec<(u32, f32)>,
    /// Log-probability of the token that really comes next.
    pub next_log_p: f32,
}

/// Means over the scored positions of one chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChunkScore {
    positions: u32,
    kl: f64,
    same_top: f64,
    probability_delta: f64,
    nll: f64,
    reference_nll: f64,
}

impl ChunkScore {
    /// Mean KL divergence of the variant from the reference, in nats.
    pub fn kl_divergence(&self) -> f64 {
        self.mean(self.kl)
    }
    /// Share of positions where both rank the same token first.
    pub fn top1_agreement(&self) -> f64 {
        self.mean(self.same_top)
    }
    /// Mean of (variant's - reference's) probability of the correct token.
    pub fn probability_delta(&self) -> f64 {
        self.mean(self.probability_delta)
    }
    pub fn perplexity(&self) -> f64 {
        self.mean(self.nll).exp()
    }
    /// Variant's perplexity over the reference's.
    pub fn perplexity_ratio(&self) -> f64 {
        self.mean(self.nll - self.reference_nll).exp()
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / f64::from(self.positions)
    }
}

/// Log of the sum of exponentials, stable.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(max) + sum.ln()
}

pub(super) fn arg_max(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(i, _)| i as u32)
}

/// What to keep of a reference's logits; `next` is the token that follows in the text.
pub fn describe(logits: &[f32], next: u32) -> Position {
    let lse = log_sum_exp(logits);
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if ids.len() > TOP_K {
        ids.select_nth_unstable_by(TOP_K, by_logit);
        ids.truncate(TOP_K);
    }
    ids.sort_unstable_by(by_logit);
    let log_p = |id: u32| (f64::from(logits[id as usize]) - lse) as f32;
    Position {
        top: ids.into_iter().map(|id| (id, log_p(id))).collect(),
        next_log_p: logits.get(next as usize).map_or(f32::NEG_INFINITY, |_| log_p(next)),
    }
}

/// Adds one position of a variant to its chunk's score.
pub fn compare(score: &mut ChunkScore, reference: &Position, logits: &[f32], next: u32) {
    let lse = log_sum_exp(logits);
    let log_q = |id: u32| logits.get(id as usize).map_or(-1e3, |&x| f64::from(x) - lse);
    let (mut kl, mut p_sum, mut q_sum) = (0.0, 0.0, 0.0);
    for &(id, log_p) in &reference.top {
        let (log_p, log_q) = (f64::from(log_p), log_q(id));
        let p = log_p.exp();
        kl += p * (log_p - log_q);
        p_sum += p;
        q_sum += log_q.exp();
    }
    // Below this both tails are rounding of the float32 they were summed from.
    const LEAST: f64 = 1e-6;
    let (p_tail, q_tail) = (1.0 - p_sum, 1.0 - q_sum);
    if p_tail > LEAST {
        kl += p_tail * (p_tail.ln() - q_tail.max(LEAST).ln());
    }
    let next_log_q = log_q(next);
    score.positions += 1;
    score.kl += kl.max(0.0);
    let same = reference.top.first().is_some_and(|(id, _)| *id == arg_max(logits));
    score.same_top += f64::from(u8::from(same));
    score.probability_delta += next_log_q.exp() - f64::from(reference.next_log_p).exp();
    score.nll -= next_log_q;
    score.reference_nll -= f64::from(reference.next_log_p);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 * 12.0 - 6.0
            })
            .collect()
    }

    /// The sum over the whole vocabulary, by definition.
    fn full_divergence(p: &[f32], q: &[f32]) -> f64 {
        let (zp, zq) = (log_sum_exp(p), log_sum_exp(q));
        p.iter()
            .zip(q)
            .map(|(&a, &b)| {
                let lp = f64::from(a) - zp;
                lp.exp() * (lp - (f64::from(b) - zq))
            })
            .sum()
    }

    #[test]
    fn a_variant_equal_to_its_reference_scores_perfectly() {
        let l = logits(2000, 1);
        let mut score = ChunkScore::default();
        compare(&mut score, &describe(&l, 5), &l, 5);
        assert!(score.kl_divergence() < 1e-6, "{score:?}");
        assert_eq!(score.top1_agreement(), 1.0);
        assert!((score.perplexity_ratio() - 1.0).abs() < 1e-6);
        assert!(score.probability_delta().abs() < 1e-7);
    }

    #[test]
    fn divergence_agrees_with_the_full_sum_over_the_vocabulary() {
        let (p, q) = (logits(400, 1), logits(400, 2));
        let full = full_divergence(&p, &q);
        let mut score = ChunkScore::default();
        compare(&mut score, &describe(&p, 0), &q, 0);
        assert!((score.kl_divergence() - full).abs() < 1e-4 * full, "{score:?} {full}");
    }

    #[test]
    fn a_merged_tail_gives_a_lower_bound_close_to_the_full_divergence() {
        let (p, q) = (logits(20_000, 3), logits(20_000, 4));
        let full = full_divergence(&p, &q);
        let mut score = ChunkScore::default();
        compare(&mut score, &describe(&p, 0), &q, 0);
        assert!(score.kl_divergence() <= full + 1e-6);
        assert!(score.kl_divergence() > 0.0);
    }
}

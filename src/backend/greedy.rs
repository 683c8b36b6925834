//! The greedy next token.

/// Index of the largest value, the first of equals. NaN never wins; 0 where nothing is comparable.
pub(super) fn argmax(x: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (c, chunk) in x.chunks(64).enumerate() {
        // Most chunks hold no new best: a branch-free pass tells.
        if chunk.iter().fold(false, |any, &v| any | (v > best.1)) {
            for (i, &v) in chunk.iter().enumerate() {
                if v > best.1 {
                    best = (c * 64 + i, v);
                }
            }
        }
    }
    best.0 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_takes_the_first_of_equals_and_never_nan() {
        let mut x = vec![0.0; 300];
        (x[130], x[131], x[290]) = (2.0, f32::NAN, 2.0);
        assert_eq!(argmax(&x), 130);
        assert_eq!(argmax(&[f32::NAN, -1.0]), 1);
        assert_eq!(argmax(&[]), 0);
        assert_eq!(argmax(&[0.0, 3.0, f32::NAN, 3.0]), 1);
        assert_eq!(argmax(&[f32::NAN]), 0);
    }
}

//! What the tests of text engines share: a prompt, its logits, and comparing them.

use std::path::Path;

use edge_advisor::backend::TextSession;
use edge_advisor::model::{Precision, Variant};

/// Ordinary English as SmolLM2's token ids.
pub const TOKENS: &[u32] = &[
    504, 2365, 282, 260, 905, 3575, 314, 260, 3265, 28, 527, 260, 1343, 282, 260, 6413, 28, 284,
    260, 2988, 282, 260, 905, 314, 1135, 260, 2365, 30, 378, 3575, 314, 253,
];

/// Logits of every position of a fresh context.
pub fn all_logits(session: &mut dyn TextSession, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    session.reset().unwrap();
    session
        .logits(tokens, &mut |i, row| {
            assert_eq!(i, rows.len());
            rows.push(row.to_vec());
        })
        .unwrap();
    rows
}

pub fn best(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
}

pub fn probabilities(row: &[f32]) -> Vec<f64> {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|x| f64::from(x - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// A file as a variant, unchecked.
pub fn as_it_is(path: &Path, precision: Precision) -> Variant {
    Variant {
        model: "m".into(),
        precision,
        path: path.to_owned(),
        size_bytes: 0,
        bits_per_weight: 0.0,
        types: vec![],
        made_by: "source".into(),
        source_sha256: String::new(),
        source_type: String::new(),
        fallbacks: vec![],
    }
}

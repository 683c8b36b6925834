//! How close a graph's outputs are to the FP32 ones of the same model, on the same inputs.

use super::score::arg_max;
use crate::model::{Metric, ModelKind, Tensor, TensorData};

/// Signal-to-noise ratio reported for outputs that do not differ at all.
const SNR_MOST: f64 = 120.0;
/// Probabilities add up to one within this.
const SUM_TOLERANCE: f32 = 0.01;

/// How outputs of this model are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// One vector a row: token states pooled over the mask, or the vector as it is.
    Vectors,
    /// Scores of classes along the last axis.
    Classes,
    Values,
}

/// One inference, both ways.
pub struct Pair<'a> {
    pub reference: &'a Tensor,
    pub output: &'a Tensor,
    /// The attention mask it was fed, `[batch, length]`, where there is one.
    pub mask: Option<&'a Tensor>,
}

/// Samples of each metric that fits the kind of output; an error where the shapes do not match.
///
/// `documents` rows come first, the others are queries that rank them.
pub fn agreement(
    kind: ModelKind,
    documents: usize,
    pairs: &[Pair<'_>],
) -> Result<Vec<(Metric, f64)>, String> {
    let mut out = Vec::new();
    let (mut references, mut outputs) = (Vec::new(), Vec::new());
    let reading = reading(kind, pairs);
    for pair in pairs {
        let (r, o) = (values(pair.reference)?, values(pair.output)?);
        if pair.reference.shape != pair.output.shape || r.is_empty() {
            return Err(format!(
                "the output's shape is {:?}, the reference's {:?}",
                pair.output.shape, pair.reference.shape
            ));
        }
        out.extend(snr(r, o).map(|v| (Metric::OutputSnrDb, v)));
        match reading {
            Reading::Classes => classes(pair, r, o, &mut out),
            Reading::Vectors => {
                let (a, b) = (vectors(pair, r), vectors(pair, o));
                out.extend(
                    a.iter().zip(&b).map(|(a, b)| (Metric::CosineToReference, cosine(a, b))),
                );
                references.extend(a);
                outputs.extend(b);
            }
            // Any two numbers of the same sign point the same way.
            Reading::Values if r.len() == 1 => {}
            Reading::Values => out.push((Metric::CosineToReference, cosine(r, o))),
        }
    }
    if references.len() > documents && documents > 1 {
        let (docs_r, queries_r) = references.split_at(documents);
        let (docs_o, queries_o) = outputs.split_at(documents);
        for (r, o) in queries_r.iter().zip(queries_o) {
            out.extend(ranked_alike(r, docs_r, o, docs_o).map(|v| (Metric::RankAgreement, v)));
        }
    }
    Ok(out)
}

fn values(tensor: &Tensor) -> Result<&[f32], String> {
    let values = tensor.floats().ok_or("the output is not floating-point")?;
    let elements: usize = tensor.shape.iter().product();
    if elements == values.len() {
        Ok(values)
    } else {
        Err("the output does not fill its shape".into())
    }
}

fn reading(kind: ModelKind, pairs: &[Pair<'_>]) -> Reading {
    let axes = pairs.first().map_or(0, |p| p.reference.shape.len());
    let width = |p: &Pair<'_>| p.reference.shape.last().copied().unwrap_or(0);
    let is_distribution = |row: &[f32]| {
        row.iter().all(|p| *p >= -1e-6) && (row.iter().sum::<f32>() - 1.0).abs() < SUM_TOLERANCE
    };
    let probabilities = pairs.iter().all(|p| {
        let values = p.reference.floats().unwrap_or_default();
        width(p) > 1 && values.chunks_exact(width(p)).all(is_distribution)
    });
    match (kind, axes) {
        (_, 2 | 3) if probabilities => Reading::Classes,
        (ModelKind::Vision, 2) if pairs.iter().all(|p| width(p) > 1) => Reading::Classes,
        (ModelKind::Embedding | ModelKind::Multimodal, 2 | 3) => Reading::Vectors,
        _ => Reading::Values,
    }
}

/// 10 log10 of signal over noise; `None` where there is no signal.
fn snr(reference: &[f32], output: &[f32]) -> Option<f64> {
    let square = |x: f64| x * x;
    let signal: f64 = reference.iter().map(|&r| square(f64::from(r))).sum();
    let pairs = reference.iter().zip(output);
    let noise: f64 = pairs.map(|(&r, &o)| square(f64::from(r) - f64::from(o))).sum();
    let ratio = 10.0 * (signal / noise).log10();
    (signal > 0.0).then_some(if noise == 0.0 { SNR_MOST } else { ratio.min(SNR_MOST) })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Shares of the rows (time steps of one sample together) with the same best class, and with it among the five best.
fn classes(pair: &Pair<'_>, r: &[f32], o: &[f32], out: &mut Vec<(Metric, f64)>) {
    let shape = &pair.reference.shape;
    let width = shape[shape.len() - 1];
    let rows = r.len() / width;
    let share = |hit: &dyn Fn(&[f32], &[f32]) -> bool| {
        let pairs = r.chunks_exact(width).zip(o.chunks_exact(width));
        pairs.filter(|(r, o)| hit(r, o)).count() as f64 / rows as f64
    };
    out.push((Metric::Top1Agreement, share(&|r, o| arg_max(r) == arg_max(o))));
    if width > 5 {
        let in_top5 = |r: &[f32], o: &[f32]| {
            let best = o[arg_max(r) as usize];
            o.iter().filter(|&&v| v > best).count() < 5
        };
        out.push((Metric::Top5Agreement, share(&in_top5)));
    }
}

/// One vector a row of the batch; token states are averaged where the mask is set.
fn vectors(pair: &Pair<'_>, values: &[f32]) -> Vec<Vec<f32>> {
    let shape = &pair.reference.shape;
    let width = shape[shape.len() - 1];
    let [_, length, _] = shape[..] else {
        return values.chunks_exact(width).map(<[f32]>::to_vec).collect();
    };
    let used = |row: usize, token: usize| match pair.mask.map(|m| (&m.data, &m.shape)) {
        Some((TensorData::I64(m), s)) if s.len() == 2 => m.get(row * length + token) != Some(&0),
        Some((TensorData::I32(m), s)) if s.len() == 2 => m.get(row * length + token) != Some(&0),
        _ => true,
    };
    let pool = |(row, states): (usize, &[f32])| {
        let mut sum = vec![0.0; width];
        for (_, state) in states.chunks_exact(width).enumerate().filter(|(t, _)| used(row, *t)) {
            sum.iter_mut().zip(state).for_each(|(s, x)| *s += x);
        }
        sum
    };
    values.chunks_exact(length * width).enumerate().map(pool).collect()
}

/// Share of document pairs that both put in the same order by cosine to their query.
fn ranked_alike(r: &[f32], docs_r: &[Vec<f32>], o: &[f32], docs_o: &[Vec<f32>]) -> Option<f64> {
    let similar =
        |q: &[f32], docs: &[Vec<f32>]| -> Vec<f64> { docs.iter().map(|d| cosine(q, d)).collect() };
    let (by_r, by_o) = (similar(r, docs_r), similar(o, docs_o));
    let (mut alike, mut all) = (0u32, 0u32);
    for i in 0..by_r.len() {
        for j in 0..i {
            let (a, b) = (by_r[i] - by_r[j], by_o[i] - by_o[j]);
            if a != 0.0 {
                all += 1;
                alike += u32::from(a * b > 0.0);
            }
        }
    }
    (all > 0).then(|| f64::from(alike) / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor { name: "y".into(), shape: shape.into(), data: TensorData::F32(values.into()) }
    }

    fn scored(kind: ModelKind, documents: usize, pairs: &[(Tensor, Tensor)]) -> Vec<(Metric, f64)> {
        let pairs: Vec<_> =
            pairs.iter().map(|(r, o)| Pair { reference: r, output: o, mask: None }).collect();
        agreement(kind, documents, &pairs).unwrap()
    }

    #[test]
    fn classes_are_compared_by_rank_and_values_by_noise() {
        let r = tensor(&[1, 6], &[9.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let second = tensor(&[1, 6], &[7.0, 1.0, 2.0, 3.0, 4.0, 8.0]);
        let last = tensor(&[1, 6], &[0.0, 1.0, 2.0, 3.0, 4.0, 8.0]);
        let of = |o: &Tensor| scored(ModelKind::Vision, 0, &[(r.clone(), o.clone())]);
        assert!(of(&r).contains(&(Metric::OutputSnrDb, SNR_MOST)));
        assert!(of(&second).contains(&(Metric::Top1Agreement, 0.0)));
        assert!(of(&second).contains(&(Metric::Top5Agreement, 1.0)));
        assert!(of(&last).contains(&(Metric::Top5Agreement, 0.0)));
        // Noise of a tenth of the signal's amplitude is 20 dB.
        let map = tensor(&[1, 1, 1, 2], &[10.0, 10.0]);
        let noisy = tensor(&[1, 1, 1, 2], &[11.0, 9.0]);
        let out = scored(ModelKind::Vision, 0, &[(map, noisy)]);
        let snr = out.iter().find(|(m, _)| *m == Metric::OutputSnrDb).unwrap().1;
        assert!((snr - 20.0).abs() < 1e-6, "{snr}");
    }

    #[test]
    fn padding_does_not_count_and_a_swapped_order_lowers_rank_agreement() {
        let states = tensor(&[1, 2, 2], &[1.0, 0.0, 50.0, -3.0]);
        let other = tensor(&[1, 2, 2], &[2.0, 0.0, -9.0, 9.0]);
        let mask =
            Tensor { name: "m".into(), shape: vec![1, 2], data: TensorData::I64(vec![1, 0]) };
        let pair = Pair { reference: &states, output: &other, mask: Some(&mask) };
        let out = agreement(ModelKind::Embedding, 0, &[pair]).unwrap();
        assert!(out.contains(&(Metric::CosineToReference, 1.0)), "{out:?}");

        let row = |a: f32, b: f32| tensor(&[1, 2], &[a, b]);
        let (d1, d2, d3, q) = (row(1.0, 0.1), row(1.0, 0.5), row(1.0, 2.0), row(1.0, 0.0));
        let same = [&d1, &d2, &d3, &q].map(|t| (t.clone(), t.clone()));
        assert!(scored(ModelKind::Embedding, 3, &same).contains(&(Metric::RankAgreement, 1.0)));
        let swapped =
            [(&d1, &d2), (&d2, &d1), (&d3, &d3), (&q, &q)].map(|(r, o)| (r.clone(), o.clone()));
        let out = scored(ModelKind::Embedding, 3, &swapped);
        let rank = out.iter().find(|(m, _)| *m == Metric::RankAgreement).unwrap().1;
        assert!((rank - 2.0 / 3.0).abs() < 1e-9, "{rank}");
    }

    #[test]
    fn another_shape_is_an_error() {
        let (r, o) = (tensor(&[1, 2], &[1.0, 2.0]), tensor(&[2, 1], &[1.0, 2.0]));
        let pair = Pair { reference: &r, output: &o, mask: None };
        assert!(agreement(ModelKind::Speech, 0, &[pair]).is_err());
    }
}

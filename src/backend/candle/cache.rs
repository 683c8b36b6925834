//! The key-value cache: half precision, allocated once for the whole context, and attention over it.

use super::config::Config;
use super::gemm::{View, product};
use super::kernels::{Isa, floats, narrow, widen};
use crate::backend::BackendError;

/// Positions widened to `f32` at a time: 32 KiB at a head width of 64.
const BLOCK: usize = 128;

/// Keys and values of all layers, `[layer][head][position][element]`.
pub(super) struct Cache {
    keys: Vec<u16>,
    values: Vec<u16>,
    heads: usize,
    width: usize,
    capacity: usize,
}

impl Cache {
    /// Room for `capacity` positions; fails where that is more than memory has.
    pub(super) fn new(config: &Config, capacity: usize) -> Result<Self, BackendError> {
        let size = config
            .layers
            .checked_mul(config.kv_dim())
            .and_then(|n| n.checked_mul(capacity))
            .ok_or_else(|| BackendError::OutOfMemory("key-value cache".into()))?;
        let zeros = || {
            let mut v = Vec::new();
            v.try_reserve_exact(size).map_err(|_| {
                BackendError::OutOfMemory(format!("key-value cache of {capacity} positions"))
            })?;
            v.resize(size, 0u16);
            Ok::<_, BackendError>(v)
        };
        Ok(Self {
            keys: zeros()?,
            values: zeros()?,
            heads: config.kv_heads,
            width: config.head_dim,
            capacity,
        })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn bytes(&self) -> u64 {
        ((self.keys.len() + self.values.len()) * size_of::<u16>()) as u64
    }

    /// Stores one position's key and value of all heads.
    pub(super) fn store(
        &mut self,
        isa: Isa,
        layer: usize,
        position: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let w = self.width;
        for head in 0..self.heads {
            let at = ((layer * self.heads + head) * self.capacity + position) * w;
            narrow(isa, &key[head * w..][..w], &mut self.keys[at..at + w]);
            narrow(isa, &value[head * w..][..w], &mut self.values[at..at + w]);
        }
    }

    /// Keys and values of the first `len` positions of one head.
    fn head(&self, layer: usize, head: usize, len: usize) -> (&[u16], &[u16]) {
        let start = (layer * self.heads + head) * self.capacity * self.width;
        let range = start..start + len * self.width;
        (&self.keys[range.clone()], &self.values[range])
    }
}

/// Which queries attend to what.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) layer: usize,
    pub(super) kv_head: usize,
    /// Position of the first query row.
    pub(super) position: usize,
    /// Query rows, one after the other in position.
    pub(super) rows: usize,
    /// Query heads a row.
    pub(super) group: usize,
}

/// Scores and widened blocks of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    scores: Vec<f32>,
    block: Vec<f32>,
}

impl Scratch {
    /// Bytes held after attending `rows` query vectors to `context` positions.
    pub(super) fn bytes(rows: usize, context: usize, width: usize) -> u64 {
        ((rows * context + BLOCK * width) * size_of::<f32>()) as u64
    }
}

/// Causal attention of `queries` (`[row][head of the group][element]`) into `out`, laid out alike.
pub(super) fn attend(
    isa: Isa,
    cache: &Cache,
    span: Span,
    queries: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let w = cache.width;
    let (len, vectors) = (span.position + span.rows, span.rows * span.group);
    let (keys, values) = cache.head(span.layer, span.kv_head, len);
    let Scratch { scores, block } = scratch;
    if scores.len() < vectors * len {
        scores.resize(vectors * len, 0.0);
    }
    block.resize(BLOCK * w, 0.0);
    // A tile of several rows is worth a matrix product; one row's heads are not.
    let many = span.rows > 1;
    for (b, keys) in keys.chunks(BLOCK * w).enumerate() {
        let n = keys.len() / w;
        widen(isa, keys, block);
        let block = &block[..n * w];
        if many {
            let (q, k) = (View::rows(queries, vectors, w, w), View::rows(block, n, w, w));
            product(&mut scores[b * BLOCK..], len, q, k.transposed(), false);
        } else {
            for (query, scores) in queries.chunks_exact(w).zip(scores.chunks_mut(len)) {
                floats::scores(isa, query, block, &mut scores[b * BLOCK..][..n]);
            }
        }
    }
    let factor = 1.0 / (w as f32).sqrt();
    for (i, scores) in scores.chunks_mut(len).take(vectors).enumerate() {
        let (seen, unseen) = scores.split_at_mut(span.position + i / span.group + 1);
        floats::softmax(isa, seen, factor);
        unseen.fill(0.0);
    }
    out.fill(0.0);
    for (b, values) in values.chunks(BLOCK * w).enumerate() {
        let n = values.len() / w;
        widen(isa, values, block);
        let block = &block[..n * w];
        if many {
            let p = View::rows(&scores[b * BLOCK..], vectors, n, len);
            product(out, w, p, View::rows(block, n, w, w), true);
        } else {
            for (out, scores) in out.chunks_exact_mut(w).zip(scores.chunks(len)) {
                floats::add_weighted(isa, out, &scores[b * BLOCK..][..n], block);
            }
        }
    }
}

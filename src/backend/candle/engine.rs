//! The forward pass: one token at a time on integer kernels, or many at once on expanded tiles.

use std::sync::Mutex;

use super::cache::{Cache, Scratch, Span, attend};
use super::config::{Config, RopeLayout};
use super::gemm::{self, Tiles, View};
use super::kernels::{Activations, Isa, Needs, floats, multiply};
use super::model::{Layer, Model};
use super::pool::Pool;
use super::weights::Matrix;
use crate::backend::BackendError;

/// Most positions a pass takes at once: bounds the activation buffers.
const BATCH: usize = 512;
/// Passes of fewer positions run token by token: expanding the weights would cost more than it saves.
const BATCH_MIN: usize = 5;
/// Query vectors of an attention tile.
const TILE_VECTORS: usize = 64;
/// Floats of logits held at once.
const LOGITS: usize = 4 << 20;

/// A loaded model with its context.
pub(super) struct Engine {
    model: Model,
    isa: Isa,
    pool: Pool,
    cache: Cache,
    /// Positions in the cache.
    position: usize,
    tiles: Tiles,
    scratch: Vec<Mutex<Scratch>>,
    acts: Activations,
    buffers: Buffers,
    /// Logits of the last position.
    logits: Vec<f32>,
}

/// Activations of a pass, `rows` positions each.
#[derive(Default)]
struct Buffers {
    rows: usize,
    /// Residual stream.
    x: Vec<f32>,
    normed: Vec<f32>,
    /// Query, key and value of a position side by side.
    qkv: Vec<f32>,
    attended: Vec<f32>,
    /// Attention's result by head and tile, before it is put into rows.
    heads: Vec<f32>,
    /// Gate and up of a position side by side.
    ff: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Buffers {
    fn resize(&mut self, c: &Config, rows: usize) {
        if rows == self.rows {
            return;
        }
        self.rows = rows;
        self.x.resize(rows * c.hidden, 0.0);
        self.normed.resize(rows * c.hidden, 0.0);
        self.qkv.resize(rows * (c.query_dim() + 2 * c.kv_dim()), 0.0);
        self.attended.resize(rows * c.query_dim(), 0.0);
        self.ff.resize(rows * 2 * c.feed_forward, 0.0);
        self.cos.resize(rows * c.rope_dim / 2, 0.0);
        self.sin.resize(rows * c.rope_dim / 2, 0.0);
    }
}

impl Engine {
    /// Room for `context` positions, computing on exactly `threads` threads.
    pub(super) fn new(model: Model, threads: usize, context: usize) -> Result<Self, BackendError> {
        let pool =
            Pool::new(threads).map_err(|e| BackendError::failed("cannot start threads", e))?;
        let cache = Cache::new(&model.config, context)?;
        let logits = vec![0.0; model.config.vocabulary];
        Ok(Self {
            isa: Isa::detect(),
            tiles: Tiles::new(pool.threads()),
            scratch: (0..pool.threads()).map(|_| Mutex::default()).collect(),
            pool,
            cache,
            position: 0,
            acts: Activations::default(),
            buffers: Buffers::default(),
            logits,
            model,
        })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }
    pub(super) fn threads(&self) -> usize {
        self.pool.threads()
    }
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Bytes of activations, tiles and logits at the largest pass this context allows.
    pub(super) fn compute_bytes(&self) -> u64 {
        let c = &self.model.config;
        let rows = BATCH.min(self.cache.capacity()) as u64;
        let floats =
            2 * c.hidden + 3 * c.query_dim() + 2 * c.kv_dim() + 2 * c.feed_forward + c.rope_dim;
        let columns = c.hidden.max(c.feed_forward).max(c.query_dim());
        let vectors = tile_rows(c) * c.group();
        let scratch = Scratch::bytes(vectors, self.cache.capacity(), c.head_dim);
        rows * floats as u64 * 4
            + self.tiles.bytes(columns)
            + self.threads() as u64 * scratch
            + self.logits.len() as u64 * 4
    }

    pub(super) fn reset(&mut self) {
        self.position = 0;
    }

    /// Appends `tokens` and returns the logits of the last one.
    pub(super) fn extend(&mut self, tokens: &[u32]) -> Result<&[f32], BackendError> {
        self.check(tokens)?;
        for chunk in tokens.chunks(BATCH) {
            self.pass(chunk);
        }
        let c = &self.model.config;
        let last = self.buffers.rows - 1;
        let x = &self.buffers.x[last * c.hidden..];
        let normed = &mut self.buffers.normed[..c.hidden];
        floats::rms_norm(self.isa, normed, x, &self.model.norm, c.eps);
        gemv(
            &mut self.pool,
            self.isa,
            &[&self.model.output],
            &mut self.acts,
            normed,
            &mut self.logits,
        );
        Ok(&self.logits)
    }

    /// Appends `tokens` and hands every position's logits to `sink`.
    pub(super) fn extend_all(
        &mut self,
        tokens: &[u32],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), BackendError> {
        self.check(tokens)?;
        let (hidden, vocabulary) = (self.model.config.hidden, self.model.config.vocabulary);
        let step = (LOGITS / vocabulary).clamp(1, 64);
        let mut logits = vec![0.0; step.min(tokens.len()) * vocabulary];
        let mut done = 0;
        for chunk in tokens.chunks(BATCH) {
            // Always as one batch: quality must not depend on how short the last chunk is.
            self.batch(chunk);
            self.norm_rows(None);
            for first in (0..chunk.len()).step_by(step) {
                let rows = step.min(chunk.len() - first);
                let normed = &self.buffers.normed[first * hidden..];
                let x = View::rows(normed, rows, hidden, hidden);
                let out = (logits.as_mut_slice(), vocabulary);
                gemm::multiply(
                    &mut self.pool,
                    self.isa,
                    &self.tiles,
                    &[&self.model.output],
                    x,
                    out,
                    false,
                );
                for row in logits.chunks(vocabulary).take(rows) {
                    sink(done, row);
                    done += 1;
                }
            }
        }
        Ok(())
    }

    fn check(&self, tokens: &[u32]) -> Result<(), BackendError> {
        let room = self.cache.capacity() - self.position;
        if tokens.is_empty() {
            return Err(BackendError::Failed("no tokens to append".into()));
        }
        if tokens.len() > room {
            let (n, all) = (tokens.len(), self.cache.capacity());
            let text = format!("{n} tokens do not fit: {room} of {all} positions are free");
            return Err(BackendError::Failed(text));
        }
        match tokens.iter().find(|&&t| t as usize >= self.model.config.vocabulary) {
            Some(t) => Err(BackendError::Failed(format!("token {t} is outside the vocabulary"))),
            None => Ok(()),
        }
    }

    /// Residual stream of `tokens` into the buffers, whichever way is faster.
    fn pass(&mut self, tokens: &[u32]) {
        if tokens.len() < BATCH_MIN {
            for &token in tokens {
                self.step(token);
            }
        } else {
            self.batch(tokens);
        }
    }

    /// Embeds the tokens and fills in the rotations of their positions.
    fn begin(&mut self, tokens: &[u32]) {
        let c = &self.model.config;
        self.buffers.resize(c, tokens.len());
        let b = &mut self.buffers;
        for (x, &token) in b.x.chunks_exact_mut(c.hidden).zip(tokens) {
            let row = token as usize;
            self.model.embedding.expand(self.isa, row..row + 1, x);
        }
        let pairs = self.model.frequencies.len();
        for i in 0..tokens.len() {
            let position = (self.position + i) as f64;
            for (j, frequency) in self.model.frequencies.iter().enumerate() {
                let (sin, cos) = (position * frequency).sin_cos();
                (b.cos[i * pairs + j], b.sin[i * pairs + j]) = (cos as f32, sin as f32);
            }
        }
    }

    /// One token through all layers.
    fn step(&mut self, token: u32) {
        self.begin(&[token]);
        let Self { model, isa, pool, cache, scratch, acts, buffers: b, .. } = self;
        let (c, isa, position) = (&model.config, *isa, self.position);
        let (q_dim, width) = (c.query_dim(), c.group() * c.head_dim);
        for (i, layer) in model.layers.iter().enumerate() {
            floats::rms_norm(isa, &mut b.normed, &b.x, &layer.attention_norm, c.eps);
            gemv(pool, isa, &[&layer.q, &layer.k, &layer.v], acts, &b.normed, &mut b.qkv);
            finish_qkv(c, isa, i, layer, &mut b.qkv, &b.cos, &b.sin);
            let (q, kv) = b.qkv.split_at(q_dim);
            let (k, v) = kv.split_at(c.kv_dim());
            cache.store(isa, i, position, k, v);
            let one = |kv_head: usize, out: &mut [f32], thread: usize| {
                let span = Span { layer: i, kv_head, position, rows: 1, group: c.group() };
                let mut scratch = scratch[thread].lock().expect("no thread panicked in attention");
                attend(isa, cache, span, &q[kv_head * width..][..width], out, &mut scratch);
            };
            if position * c.kv_dim() < 1 << 14 {
                b.attended.chunks_mut(width).enumerate().for_each(|(h, out)| one(h, out, 0));
            } else {
                pool.chunks_mut(&mut b.attended, width, &one);
            }
            gemv(pool, isa, &[&layer.attention_out], acts, &b.attended, &mut b.normed);
            floats::add(isa, &mut b.x, &b.normed);
            floats::rms_norm(isa, &mut b.normed, &b.x, &layer.ffn_norm, c.eps);
            gemv(pool, isa, &[&layer.gate, &layer.up], acts, &b.normed, &mut b.ff);
            let (gate, up) = b.ff.split_at_mut(c.feed_forward);
            floats::silu_mul(isa, gate, up);
            gemv(pool, isa, &[&layer.down], acts, gate, &mut b.normed);
            floats::add(isa, &mut b.x, &b.normed);
        }
        self.position += 1;
    }

    /// Several tokens through all layers at once.
    fn batch(&mut self, tokens: &[u32]) {
        self.begin(tokens);
        let rows = tokens.len();
        for i in 0..self.model.layers.len() {
            self.norm_rows(Some((i, false)));
            let Self { model, isa, pool, cache, tiles, buffers: b, .. } = self;
            let (c, isa, layer) = (&model.config, *isa, &model.layers[i]);
            let (h, q_dim, kv_dim, ff) = (c.hidden, c.query_dim(), c.kv_dim(), c.feed_forward);
            let stride = q_dim + 2 * kv_dim;
            let x = View::rows(&b.normed, rows, h, h);
            let qkv = [&layer.q, &layer.k, &layer.v];
            gemm::multiply(pool, isa, tiles, &qkv, x, (&mut b.qkv, stride), false);
            let (cos, sin, pairs) = (&b.cos, &b.sin, c.rope_dim / 2);
            pool.chunks_mut(&mut b.qkv, stride, &|t, row, _| {
                let at = t * pairs..(t + 1) * pairs;
                finish_qkv(c, isa, i, layer, row, &cos[at.clone()], &sin[at]);
            });
            for (t, row) in b.qkv.chunks(stride).take(rows).enumerate() {
                let (k, v) = row[q_dim..].split_at(kv_dim);
                cache.store(isa, i, self.position + t, k, v);
            }
            self.attend_rows(i, rows);
            self.norm_rows_after(i, rows, ff);
        }
        self.position += rows;
    }

    /// Attention output, feed-forward, and the residual sums of layer `i`.
    fn norm_rows_after(&mut self, i: usize, rows: usize, ff: usize) {
        let Self { model, isa, pool, tiles, buffers: b, .. } = self;
        let (h, q_dim, isa, layer) =
            (model.config.hidden, model.config.query_dim(), *isa, &model.layers[i]);
        let attended = View::rows(&b.attended, rows, q_dim, q_dim);
        gemm::multiply(pool, isa, tiles, &[&layer.attention_out], attended, (&mut b.x, h), true);
        self.norm_rows(Some((i, true)));
        let Self { model, pool, tiles, buffers: b, .. } = self;
        let layer = &model.layers[i];
        let x = View::rows(&b.normed, rows, h, h);
        gemm::multiply(pool, isa, tiles, &[&layer.gate, &layer.up], x, (&mut b.ff, 2 * ff), false);
        pool.chunks_mut(&mut b.ff, 2 * ff, &|_, row, _| {
            let (gate, up) = row.split_at_mut(ff);
            floats::silu_mul(isa, gate, up);
        });
        let gate = View::rows(&b.ff, rows, ff, 2 * ff);
        gemm::multiply(pool, isa, tiles, &[&layer.down], gate, (&mut b.x, h), true);
    }

    /// Norm of every row: a layer's first or second, or the model's last.
    fn norm_rows(&mut self, layer: Option<(usize, bool)>) {
        let Self { model, isa, pool, buffers: b, .. } = self;
        let weight = match layer {
            None => &model.norm,
            Some((i, false)) => &model.layers[i].attention_norm,
            Some((i, true)) => &model.layers[i].ffn_norm,
        };
        let (h, eps, x) = (model.config.hidden, model.config.eps, &b.x);
        pool.chunks_mut(&mut b.normed, 8 * h, &|i, rows, _| {
            for (out, x) in rows.chunks_mut(h).zip(x[i * 8 * h..].chunks(h)) {
                floats::rms_norm(*isa, out, x, weight, eps);
            }
        });
    }

    /// Attention of `rows` positions from the current one on, into `attended`.
    fn attend_rows(&mut self, layer: usize, rows: usize) {
        let Self { model, isa, pool, cache, scratch, buffers: b, .. } = self;
        let (c, isa, position) = (&model.config, *isa, self.position);
        let (group, tile) = (c.group(), tile_rows(c));
        let (width, tiles) = (group * c.head_dim, rows.div_ceil(tile));
        let stride = c.query_dim() + 2 * c.kv_dim();
        b.heads.resize(c.kv_heads * tiles * tile * width * 2, 0.0);
        let qkv = &b.qkv;
        // The later half of a chunk takes the gathered queries, the first half the result.
        pool.chunks_mut(&mut b.heads, 2 * tile * width, &|i, chunk, thread| {
            let (kv_head, first) = (i / tiles, i % tiles * tile);
            let count = tile.min(rows - first);
            let (out, queries) = chunk.split_at_mut(tile * width);
            for (t, q) in queries.chunks_mut(width).take(count).enumerate() {
                q.copy_from_slice(&qkv[(first + t) * stride + kv_head * width..][..width]);
            }
            let span = Span { layer, kv_head, position: position + first, rows: count, group };
            let mut scratch = scratch[thread].lock().expect("no thread panicked in attention");
            let n = count * width;
            attend(isa, cache, span, &queries[..n], &mut out[..n], &mut scratch);
        });
        let heads = &b.heads;
        pool.chunks_mut(&mut b.attended, c.query_dim(), &|t, row, _| {
            for (kv_head, out) in row.chunks_mut(width).enumerate() {
                let chunk = (kv_head * tiles + t / tile) * 2 * tile;
                out.copy_from_slice(&heads[(chunk + t % tile) * width..][..width]);
            }
        });
    }
}

/// Query rows of an attention tile.
fn tile_rows(c: &Config) -> usize {
    (TILE_VECTORS / c.group()).max(4)
}

/// Bias, head norms and rotation of one position's query and key.
fn finish_qkv(
    c: &Config,
    isa: Isa,
    i: usize,
    layer: &Layer,
    row: &mut [f32],
    cos: &[f32],
    sin: &[f32],
) {
    if !layer.bias.is_empty() {
        floats::add(isa, row, &layer.bias);
    }
    let (q, kv) = row.split_at_mut(c.query_dim());
    let k = &mut kv[..c.kv_dim()];
    if let Some((q_norm, k_norm)) = &layer.head_norms {
        q.chunks_mut(c.head_dim).for_each(|h| floats::rms_norm_in_place(isa, h, q_norm, c.eps));
        k.chunks_mut(c.head_dim).for_each(|h| floats::rms_norm_in_place(isa, h, k_norm, c.eps));
    }
    if c.rotates(i) {
        for head in q.chunks_mut(c.head_dim).chain(k.chunks_mut(c.head_dim)) {
            let head = &mut head[..c.rope_dim];
            match c.rope {
                RopeLayout::Pairs => floats::rope_pairs(isa, head, cos, sin),
                RopeLayout::Halves => floats::rope_halves(isa, head, cos, sin),
            }
        }
    }
}

/// `out = [w0 * x, w1 * x, ...]` for one row of activations.
fn gemv(
    pool: &mut Pool,
    isa: Isa,
    weights: &[&Matrix],
    acts: &mut Activations,
    x: &[f32],
    out: &mut [f32],
) {
    let needs = weights.iter().fold(Needs::default(), |n, w| n.and(w.kernel(isa).needs(w.dtype)));
    acts.set(isa, x, needs);
    let acts = &*acts;
    let total: usize = weights.iter().map(|w| w.rows).sum();
    // A few chunks a thread: small enough that a delayed thread is made up for, large enough to stream.
    let chunk = (total / (pool.threads() * 4)).next_multiple_of(16).max(16);
    pool.chunks_mut(&mut out[..total], chunk, &|i, out, _| {
        let (mut start, mut out) = (i * chunk, out);
        for w in weights {
            if start < w.rows && !out.is_empty() {
                let (now, rest) = out.split_at_mut((w.rows - start).min(out.len()));
                multiply(w.kernel(isa), w.dtype, w.bytes(start..start + now.len()), acts, now);
                (start, out) = (0, rest);
            } else {
                start = start.saturating_sub(w.rows);
            }
        }
    });
}

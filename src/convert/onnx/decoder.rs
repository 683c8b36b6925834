//! A llama-family decoder as a graph of ONNX Runtime's contrib operators, with the inputs and outputs that
//! onnxruntime-genai's model builder gives its graphs, so that other programs can run it too.
//!
//! One addition: `logits_from` says from which position on logits are computed, counted from the end where negative.
//! It is an input with a default of -1, the last position only, so nobody needs to know it.

use super::blocks::{Kind, Scheme, pack_zero_points};
use super::graph::{Axis, Builder, MICROSOFT, Place};
use super::proto::{Attribute, Dtype};
use super::recipe::Store;
use super::source::Source;
use crate::backend::candle::config::{Config, RopeLayout};
use crate::convert::ConvertError;
use crate::formats::gguf::TensorInfo;
use candle_core::quantized::GgmlDType;

/// Positions that rotary tables are made for, at most: 16 MiB of tables at 128-wide heads.
const MAX_POSITIONS: u64 = 32_768;
/// Kernels may quantize activations to 8 bits, as llama.cpp's do; the level that onnxruntime-genai's builder sets too.
const ACCURACY_LEVEL: i64 = 4;

/// Decides how a matrix is stored.
pub(super) type Choose<'a> = &'a dyn Fn(&TensorInfo) -> Result<Store, ConvertError>;

/// Writes the whole decoder: weights as it goes along, the graph at the end.
pub(super) fn write(
    config: &Config,
    source: Source<'_>,
    choose: Choose<'_>,
    builder: &mut Builder,
) -> Result<(), ConvertError> {
    let mut w = Writer { config, source, choose, b: builder };
    w.ports();
    let lengths = w.lengths()?;
    w.rotary_tables()?;
    let (embedding, tied) = w.embedding()?;
    let mut residual = embedding;
    let mut normed = w.norm(&residual, "blk.0.attn_norm.weight")?;
    for layer in 0..config.layers {
        let attention = w.attention(layer, &normed, &lengths)?;
        (normed, residual) =
            w.skip_norm(&residual, &attention, &format!("blk.{layer}.ffn_norm.weight"))?;
        let fed = w.feed_forward(layer, &normed)?;
        let next = match layer + 1 == config.layers {
            true => "output_norm.weight".to_owned(),
            false => format!("blk.{}.attn_norm.weight", layer + 1),
        };
        (normed, residual) = w.skip_norm(&residual, &fed, &next)?;
    }
    w.logits(&normed, tied)?;
    w.source.finish()
}

/// Names of `seqlens_k` and `total_sequence_length`.
type Lengths = (String, String);

/// A matrix in the weights' file.
struct Stored {
    name: String,
    store: Store,
    rows: usize,
    cols: usize,
    /// Of the packed integers, or of all of it.
    data: Place,
}

struct Writer<'a, 's> {
    config: &'a Config,
    source: Source<'s>,
    choose: Choose<'a>,
    b: &'a mut Builder,
}

impl Writer<'_, '_> {
    fn ports(&mut self) {
        let c = self.config;
        let batch = Axis::Free("batch_size");
        self.b.input("input_ids", Dtype::I64, &[batch, Axis::Free("sequence_length")]);
        let total = [Axis::Free("batch_size"), Axis::Free("total_sequence_length")];
        self.b.input("attention_mask", Dtype::I64, &total);
        for i in 0..c.layers {
            for part in ["key", "value"] {
                let axes = |length| {
                    [
                        Axis::Free("batch_size"),
                        Axis::Fixed(c.kv_heads),
                        Axis::Free(length),
                        Axis::Fixed(c.head_dim),
                    ]
                };
                let past = format!("past_key_values.{i}.{part}");
                self.b.input(&past, Dtype::F32, &axes("past_sequence_length"));
                self.b.output(
                    &format!("present.{i}.{part}"),
                    Dtype::F32,
                    &axes("total_sequence_length"),
                );
            }
        }
        self.b.input("logits_from", Dtype::I64, &[Axis::Fixed(1)]);
        let logits =
            [Axis::Free("batch_size"), Axis::Free("logits_length"), Axis::Fixed(c.vocabulary)];
        self.b.output("logits", Dtype::F32, &logits);
    }

    /// The two lengths that attention asks for, from the mask.
    fn lengths(&mut self) -> Result<Lengths, ConvertError> {
        self.b.ints("one", &[1], &[1])?;
        self.b.ints("axis_1", &[], &[1])?;
        let to_i32 = || vec![Attribute::int("to", Dtype::I32 as i64)];
        let sum = self.b.node(
            "",
            "ReduceSum",
            &["attention_mask", "one"],
            vec![Attribute::int("keepdims", 0)],
        );
        let last = self.b.node("", "Sub", &[&sum, "one"], vec![]);
        let seqlens = self.b.node("", "Cast", &[&last], to_i32());
        let shape = self.b.node("", "Shape", &["attention_mask"], vec![]);
        let total = self.b.node("", "Gather", &[&shape, "axis_1"], vec![Attribute::int("axis", 0)]);
        let total = self.b.node("", "Cast", &[&total], to_i32());
        Ok((seqlens, total))
    }

    fn rotary_tables(&mut self) -> Result<(), ConvertError> {
        let pairs = self.config.rope_dim / 2;
        let factors = match self.source.has("rope_freqs.weight") {
            true => self.source.floats("rope_freqs.weight", pairs)?,
            false => Vec::new(),
        };
        let frequencies = self.config.frequencies(&factors);
        let context =
            self.source.gguf.arch("context_length").and_then(|v| v.as_u64()).unwrap_or(4096);
        let positions = context.clamp(1, MAX_POSITIONS) as usize;
        type Function = fn(f64) -> f64;
        for (name, of) in [("cos_cache", f64::cos as Function), ("sin_cache", f64::sin as Function)]
        {
            let at = |p: usize| frequencies.iter().map(move |f| of(p as f64 * f) as f32);
            let table: Vec<f32> = (0..positions).flat_map(at).collect();
            self.b.floats(name, &[positions, pairs], &table)?;
        }
        Ok(())
    }

    /// Rows of the embedding by token; the matrix again where the output uses it too.
    fn embedding(&mut self) -> Result<(String, Option<Stored>), ConvertError> {
        let c = self.config;
        let stored = self.store("token_embd.weight", c.vocabulary, c.hidden)?;
        let out = match stored.store {
            Store::F32 => self.b.node("", "Gather", &[&stored.name, "input_ids"], vec![]),
            Store::F16 => {
                let rows = self.b.node("", "Gather", &[&stored.name, "input_ids"], vec![]);
                self.widen(&rows)
            }
            Store::Blocks(s) => {
                // The same bytes as the matrix product's, in the shape that this operator wants.
                let table = format!("{}.rows", stored.name);
                let row = c.hidden * s.bits / 8;
                self.b.constant_at(&table, Dtype::U8, &[c.vocabulary, row], stored.data);
                let scales = format!("{}.scales", stored.name);
                let zero_points = format!("{}.zero_points", stored.name);
                let mut inputs = vec![table.as_str(), "input_ids", &scales];
                if s.kind == Kind::Asymmetric {
                    inputs.push(&zero_points);
                }
                let attributes = vec![
                    Attribute::int("bits", s.bits as i64),
                    Attribute::int("block_size", s.block as i64),
                    Attribute::int("gather_axis", 0),
                    Attribute::int("quantize_axis", 1),
                ];
                self.b.node(MICROSOFT, "GatherBlockQuantized", &inputs, attributes)
            }
        };
        let tied = !self.source.has("output.weight");
        Ok((out, tied.then_some(stored)))
    }

    fn attention(
        &mut self,
        layer: usize,
        input: &str,
        lengths: &Lengths,
    ) -> Result<String, ConvertError> {
        let c = self.config;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut q = self.project(input, &name("attn_q"), c.query_dim(), c.hidden)?;
        let mut k = self.project(input, &name("attn_k"), c.kv_dim(), c.hidden)?;
        let v = self.project(input, &name("attn_v"), c.kv_dim(), c.hidden)?;
        if self.source.has(&name("attn_q_norm.weight")) {
            q = self.head_norm(&q, &name("attn_q_norm.weight"), c.heads)?;
            k = self.head_norm(&k, &name("attn_k_norm.weight"), c.kv_heads)?;
        }
        let past = |part: &str| format!("past_key_values.{layer}.{part}");
        let (past_k, past_v) = (past("key"), past("value"));
        let mut inputs = vec![q.as_str(), &k, &v, &past_k, &past_v, &lengths.0, &lengths.1];
        let rotates = c.rotates(layer);
        if rotates {
            inputs.extend(["cos_cache", "sin_cache"]);
        }
        let attributes = vec![
            Attribute::int("num_heads", c.heads as i64),
            Attribute::int("kv_num_heads", c.kv_heads as i64),
            Attribute::float("scale", (c.head_dim as f32).sqrt().recip()),
            Attribute::int("do_rotary", i64::from(rotates)),
            Attribute::int("rotary_interleaved", i64::from(c.rope == RopeLayout::Pairs)),
        ];
        let out = format!("attention.{layer}");
        let present = |part: &str| format!("present.{layer}.{part}");
        let outputs = [out.clone(), present("key"), present("value")];
        self.b.named(MICROSOFT, "GroupQueryAttention", &inputs, &outputs, attributes);
        self.project(&out, &name("attn_output"), c.hidden, c.query_dim())
    }

    fn feed_forward(&mut self, layer: usize, input: &str) -> Result<String, ConvertError> {
        let c = self.config;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let gate = self.project(input, &name("ffn_gate"), c.feed_forward, c.hidden)?;
        let up = self.project(input, &name("ffn_up"), c.feed_forward, c.hidden)?;
        let open = self.b.node("", "Sigmoid", &[&gate], vec![]);
        let swish = self.b.node("", "Mul", &[&gate, &open], vec![]);
        let gated = self.b.node("", "Mul", &[&swish, &up], vec![]);
        self.project(&gated, &name("ffn_down"), c.hidden, c.feed_forward)
    }

    fn logits(&mut self, normed: &str, tied: Option<Stored>) -> Result<(), ConvertError> {
        let c = self.config;
        self.b.ints("logits_from", &[1], &[-1])?;
        self.b.ints("end", &[1], &[i64::MAX])?;
        let wanted = self.b.node("", "Slice", &[normed, "logits_from", "end", "one"], vec![]);
        let stored = match tied {
            Some(stored) => stored,
            None => self.store("output.weight", c.vocabulary, c.hidden)?,
        };
        self.multiply(&wanted, &stored, Some("logits"));
        Ok(())
    }

    /// `input` times a weight, plus its bias where it has one.
    fn project(
        &mut self,
        input: &str,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<String, ConvertError> {
        let stored = self.store(&format!("{name}.weight"), rows, cols)?;
        let product = self.multiply(input, &stored, None);
        let bias = format!("{name}.bias");
        if !self.source.has(&bias) {
            return Ok(product);
        }
        let values = self.source.floats(&bias, rows)?;
        self.b.floats(&bias, &[rows], &values)?;
        Ok(self.b.node("", "Add", &[&product, &bias], vec![]))
    }

    fn multiply(&mut self, input: &str, m: &Stored, output: Option<&str>) -> String {
        let scales = format!("{}.scales", m.name);
        let zero_points = format!("{}.zero_points", m.name);
        let (domain, op, inputs, attributes) = match m.store {
            Store::F32 | Store::F16 => {
                let weight =
                    if m.store == Store::F16 { self.widen(&m.name) } else { m.name.clone() };
                let inputs = vec![input.to_owned(), weight];
                (MICROSOFT, "FusedMatMul", inputs, vec![Attribute::int("transB", 1)])
            }
            Store::Blocks(s) => {
                let mut inputs = vec![input.to_owned(), m.name.clone(), scales];
                if s.kind == Kind::Asymmetric {
                    inputs.push(zero_points);
                }
                let attributes = vec![
                    Attribute::int("K", m.cols as i64),
                    Attribute::int("N", m.rows as i64),
                    Attribute::int("bits", s.bits as i64),
                    Attribute::int("block_size", s.block as i64),
                    Attribute::int("accuracy_level", ACCURACY_LEVEL),
                ];
                (MICROSOFT, "MatMulNBits", inputs, attributes)
            }
        };
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        match output {
            None => self.b.node(domain, op, &inputs, attributes),
            Some(name) => {
                self.b.named(domain, op, &inputs, &[name.to_owned()], attributes);
                name.to_owned()
            }
        }
    }

    fn widen(&mut self, input: &str) -> String {
        self.b.node("", "Cast", &[input], vec![Attribute::int("to", Dtype::F32 as i64)])
    }

    fn norm_attributes(&self) -> Vec<Attribute> {
        vec![
            Attribute::int("axis", -1),
            Attribute::float("epsilon", self.config.eps),
            Attribute::int("stash_type", 1),
        ]
    }

    fn gamma(&mut self, name: &str, len: usize) -> Result<(), ConvertError> {
        let values = self.source.floats(name, len)?;
        self.b.floats(name, &[len], &values)
    }

    fn norm(&mut self, input: &str, gamma: &str) -> Result<String, ConvertError> {
        self.gamma(gamma, self.config.hidden)?;
        let attributes = self.norm_attributes();
        Ok(self.b.node("", "SimplifiedLayerNormalization", &[input, gamma], attributes))
    }

    /// The norm of the sum, and the sum.
    fn skip_norm(
        &mut self,
        a: &str,
        b: &str,
        gamma: &str,
    ) -> Result<(String, String), ConvertError> {
        self.gamma(gamma, self.config.hidden)?;
        let attributes = vec![Attribute::float("epsilon", self.config.eps)];
        let op = "SkipSimplifiedLayerNormalization";
        let outputs = [true, false, false, true];
        let made = self.b.nodes(MICROSOFT, op, &[a, b, gamma], attributes, &outputs);
        Ok((made[0].clone(), made[3].clone()))
    }

    /// A norm over each head of `[batch, positions, heads x width]`.
    fn head_norm(
        &mut self,
        input: &str,
        gamma: &str,
        heads: usize,
    ) -> Result<String, ConvertError> {
        let width = self.config.head_dim;
        self.gamma(gamma, width)?;
        let (split, joined) = (format!("{gamma}.split"), format!("{gamma}.joined"));
        self.b.ints(&split, &[4], &[0, 0, heads as i64, width as i64])?;
        self.b.ints(&joined, &[3], &[0, 0, (heads * width) as i64])?;
        let apart = self.b.node("", "Reshape", &[input, &split], vec![]);
        let attributes = self.norm_attributes();
        let normed = self.b.node("", "SimplifiedLayerNormalization", &[&apart, gamma], attributes);
        Ok(self.b.node("", "Reshape", &[&normed, &joined], vec![]))
    }

    /// Streams a matrix of `rows` x `cols` into the weights' file, converted.
    fn store(&mut self, name: &str, rows: usize, cols: usize) -> Result<Stored, ConvertError> {
        let (info, from) = self.source.tensor(name, &[cols, rows])?;
        let store = (self.choose)(info)?;
        let begin = self.b.write(&[], true)?;
        let b = &mut *self.b;
        let data = match store {
            Store::F32 | Store::F16 => {
                let (to, dtype) = match store {
                    Store::F16 => (GgmlDType::F16, Dtype::F16),
                    _ => (GgmlDType::F32, Dtype::F32),
                };
                self.source
                    .convert(info, from, to, &mut |piece| b.write(&piece, false).map(drop))?;
                let data = b.since(begin);
                b.constant_at(name, dtype, &[rows, cols], data);
                data
            }
            Store::Blocks(s) => self.store_blocks(info, from, s, rows, cols, begin)?,
        };
        Ok(Stored { name: name.to_owned(), store, rows, cols, data })
    }

    fn store_blocks(
        &mut self,
        info: &TensorInfo,
        from: GgmlDType,
        s: Scheme,
        rows: usize,
        cols: usize,
        begin: u64,
    ) -> Result<Place, ConvertError> {
        let (b, name) = (&mut *self.b, info.name.as_str());
        let (mut scales, mut zero_points) = (Vec::new(), Vec::new());
        self.source.pack(info, from, s, &mut |piece| {
            scales.extend(piece.scales);
            zero_points.extend(piece.zero_points);
            b.write(&piece.data, false).map(drop)
        })?;
        let data = b.since(begin);
        let per_row = cols / s.block;
        b.constant_at(name, Dtype::U8, &[rows, per_row, s.block * s.bits / 8], data);
        b.floats(&format!("{name}.scales"), &[rows, per_row], &scales)?;
        if s.kind == Kind::Asymmetric {
            let packed = pack_zero_points(s.bits, per_row, &zero_points);
            let shape = [rows, (per_row * s.bits).div_ceil(8)];
            b.constant(&format!("{name}.zero_points"), Dtype::U8, &shape, packed)?;
        }
        Ok(data)
    }
}

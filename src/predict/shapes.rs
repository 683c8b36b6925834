//! Shapes of the models that public rows name: the catalogue's, or what `data/row_models.csv` says of others.

use std::sync::OnceLock;

use serde::Deserialize;

use super::memory::{KvPrecision, kv_read_bytes};
use crate::catalog::{Catalog, build};
use crate::model::{Attention, ModelKind, ModelSpec, Role};

const TABLE: &str = include_str!("../../data/row_models.csv");
/// A row whose parameter count differs by more than this factor means another model.
const SAME_SIZE: f64 = 1.15;

/// What a speed depends on beside the bytes of the weights.
#[derive(Debug, Clone)]
pub(super) struct RowShape {
    pub layers: f64,
    pub weights: Option<Weights>,
    pub billions: f64,
    cache: Cache,
}

/// Parameters in billions, where every tensor is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weights {
    /// As the catalogue counts what a token touches.
    pub active: f64,
    experts: f64,
    /// Share of the experts that a token touches.
    used: f64,
    /// All else that it reads.
    read: f64,
    /// Embeddings that it looks up.
    looked_up: f64,
    /// What every token of a prompt is multiplied with.
    pub prompt: f64,
}

#[derive(Debug, Clone)]
enum Cache {
    Of(Box<ModelSpec>),
    Stated(Line),
}

/// One line of the table. Values are keys and values together, for one position of one layer.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    pattern: String,
    catalogue: Option<String>,
    billions: Option<f64>,
    layers: Option<f64>,
    kv_layers: Option<f64>,
    kv_values: Option<f64>,
    /// Query heads times the widths of a key and a value.
    query_values: Option<f64>,
    window_layers: Option<f64>,
    window_values: Option<f64>,
    window_query_values: Option<f64>,
    window: Option<f64>,
}

impl RowShape {
    /// Bytes of 16-bit cache that one token reads after `depth` others.
    pub fn cache_bytes(&self, depth: f64) -> f64 {
        match &self.cache {
            Cache::Of(spec) => kv_read_bytes(spec, depth as u64, KvPrecision::F16) as f64,
            Cache::Stated(l) => 2.0 * l.sum(l.kv_values, l.window_values, depth),
        }
    }

    /// Multiplications of one token's attention to `positions`.
    pub fn attention(&self, positions: f64) -> f64 {
        match &self.cache {
            Cache::Of(spec) => attention(spec, positions),
            Cache::Stated(l) => l.sum(l.query_values, l.window_query_values, positions),
        }
    }

    fn of(spec: ModelSpec) -> Self {
        Self {
            layers: spec.layers.len() as f64,
            weights: Some(Weights::of(&spec)),
            billions: spec.parameters as f64 / 1e9,
            cache: Cache::Of(Box::new(spec)),
        }
    }

    fn stated(line: Line) -> Option<Self> {
        Some(Self {
            layers: line.layers?,
            weights: None,
            billions: line.billions?,
            cache: Cache::Stated(line),
        })
    }
}

impl Line {
    /// Values of all layers over `positions`, windowed layers over theirs.
    fn sum(&self, whole: Option<f64>, windowed: Option<f64>, positions: f64) -> f64 {
        let product = |a: Option<f64>, b: Option<f64>| a.unwrap_or(0.0) * b.unwrap_or(0.0);
        let seen = positions.min(self.window.unwrap_or(0.0));
        product(self.kv_layers, whole) * positions + product(self.window_layers, windowed) * seen
    }
}

/// Multiplications of one token's attention to `positions`; those of recurrent layers do not grow and are not counted.
pub(super) fn attention(spec: &ModelSpec, positions: f64) -> f64 {
    let layer = |a: &Attention| match *a {
        Attention::Gqa { heads, key_dim, value_dim, window, .. } => {
            let seen = window.map_or(positions, |w| positions.min(f64::from(w)));
            f64::from(heads) * (f64::from(key_dim) + f64::from(value_dim)) * seen
        }
        Attention::Parallel { heads, key_dim, value_dim, .. } => {
            f64::from(heads) * (f64::from(key_dim) + f64::from(value_dim)) * positions
        }
        // Keys and values are used as they are kept, compressed.
        Attention::Mla { heads, kv_lora_rank, rope_dim } => {
            f64::from(heads) * (2.0 * f64::from(kv_lora_rank) + f64::from(rope_dim)) * positions
        }
        Attention::Encoder { heads, head_dim } => {
            // Half of the prompt on the average for the others, all of it here.
            f64::from(heads) * 2.0 * f64::from(head_dim) * 2.0 * positions
        }
        Attention::Recurrent { .. } | Attention::None => 0.0,
    };
    spec.layers.iter().map(layer).sum()
}

impl Weights {
    pub fn of(spec: &ModelSpec) -> Self {
        let mut w = Self {
            active: spec.active_parameters as f64 / 1e9,
            used: f64::from(spec.experts_used) / f64::from(spec.experts.max(1)),
            ..Self::default()
        };
        for t in &spec.tensors {
            let n = t.elements() as f64 / 1e9;
            match t.role {
                Role::Expert => w.experts += n,
                _ if spec.looks_up(t) => w.looked_up += n,
                _ => w.read += n,
            }
            match t.role {
                Role::Expert => w.prompt += n * w.used,
                // Of the head, only the last token is asked.
                Role::Embedding | Role::Output => {}
                _ => w.prompt += n,
            }
        }
        if w.prompt == 0.0 {
            w.prompt = w.active;
        }
        w
    }

    /// Bytes that a token reads of a file; `expert_bits` where its experts are stored apart, in so many bits a weight.
    pub fn token_bytes(&self, file: f64, expert_bits: Option<f64>) -> f64 {
        let others = self.read + self.looked_up;
        let even = file / (self.experts + others);
        let expert = expert_bits.filter(|_| self.experts > 0.0).map_or(even, |b| b * 1e9 / 8.0);
        let other = ((file - expert * self.experts) / others).max(expert);
        expert * self.experts * self.used + other * self.read
    }
}

/// The model that a row names, where its shape is known; `billions` of parameters as the row has them.
pub(super) fn find(model: &str, billions: Option<f64>) -> Option<&'static RowShape> {
    let name = plain(model);
    let named = table().iter().filter(|(pattern, _)| name.contains(pattern));
    let (_, shape) = named.max_by_key(|(pattern, _)| pattern.len())?;
    let ratio = billions.map_or(1.0, |b| b / shape.billions);
    (ratio.max(1.0 / ratio) <= SAME_SIZE).then_some(shape)
}

fn table() -> &'static [(String, RowShape)] {
    static SHAPES: OnceLock<Vec<(String, RowShape)>> = OnceLock::new();
    SHAPES.get_or_init(|| read().expect("embedded table, read by a test"))
}

fn read() -> Option<Vec<(String, RowShape)>> {
    let catalog = Catalog::load_with(None).ok()?;
    let llms = catalog.entries().iter().filter(|e| e.kind == ModelKind::Llm);
    let mut shapes: Vec<_> = llms.map(|e| (plain(&e.name), RowShape::of(build(e)))).collect();
    for line in csv::Reader::from_reader(TABLE.as_bytes()).deserialize() {
        let line: Line = line.ok()?;
        let pattern = line.pattern.clone();
        let shape = match &line.catalogue {
            Some(name) => RowShape::of(build(catalog.get(name).ok()?)),
            None => RowShape::stated(line)?,
        };
        shapes.push((pattern, shape));
    }
    Some(shapes)
}

/// Letters and digits in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows name models in many ways; a size that contradicts the name means that it is another one.
    #[test]
    fn a_row_finds_the_shape_of_its_model() {
        let layers = |model: &str, billions: f64| find(model, Some(billions)).map(|s| s.layers);
        assert_eq!(layers("llama-2-7b.Q4_K_M", 6.74), Some(32.0));
        assert_eq!(layers("qwen3_4b_instruct_2507", 4.02), Some(36.0));
        assert_eq!(layers("Qwen3-30B-A3B-UD-Q4_K_XL", 30.53), Some(48.0));
        assert_eq!(layers("shisa-v2-llama3.1-8b.i1-Q4_K_M", 8.03), Some(32.0));
        assert_eq!(layers("gemma-4-31B-it-BF16", 30.7), Some(60.0));
        assert_eq!(layers("llama 3B I2_S - 2 bpw ternary", 7.46), None);
        assert_eq!(layers("RWKV7-1.5B", 1.5), None);
        let itself = |(pattern, shape): &(String, RowShape)| {
            find(pattern, None).is_some_and(|found| found.billions == shape.billions)
        };
        assert!(table().iter().all(itself), "a pattern is never the longest");
    }

    /// Known answers: 16 GiB for Llama-3.1-8B at 131,072 tokens; windows keep no more than they see.
    #[test]
    fn caches_are_exact() {
        let gib = |model: &str, billions: f64, depth| {
            find(model, Some(billions)).unwrap().cache_bytes(depth) / (1u64 << 30) as f64
        };
        assert_eq!(gib("Llama-3.1-8B", 8.03, 131_072.0), 16.0);
        let scout = |depth| gib("Llama-4-Scout-17B-16E-Instruct", 107.77, depth);
        assert_eq!(scout(8192.0), 1.5);
        assert_eq!(scout(16_384.0), 1.5 + 0.375);
        let llama = find("Llama-3.1-8B", None).unwrap();
        assert_eq!(llama.attention(1000.0), 32.0 * 32.0 * 256.0 * 1000.0);
    }

    /// In a file of gpt-oss the experts have 4.25 bits a weight and the rest what is left.
    #[test]
    fn what_a_token_reads_follows_from_the_tensors() {
        let w = find("gpt-oss-20b", None).unwrap().weights.unwrap();
        let file = 12.1e9;
        let share = |bits| w.token_bytes(file, bits) / file;
        assert!((share(None) - 0.173).abs() < 0.01, "{}", share(None));
        assert!((share(Some(4.25)) - 0.21).abs() < 0.02, "{}", share(Some(4.25)));
        let dense = find("Llama-3.1-8B", None).unwrap().weights.unwrap();
        // All but the embedding table of 0.525e9 of 8.03e9 parameters.
        assert!((dense.token_bytes(1.0, None) - 0.9346).abs() < 1e-3);
        // The table is the head, too, but the layers' own tables of 2.82e9 of 7.52e9 are looked up.
        let tied = find("gemma-4-E4B-it", None).unwrap().weights.unwrap();
        assert!((tied.token_bytes(1.0, None) - 0.625).abs() < 1e-3);
    }
}

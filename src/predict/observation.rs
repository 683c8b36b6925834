//! One speed question in the fit's own terms: what is read, computed and paid per layer, and the effects on each.

use serde::{Deserialize, Serialize};

use super::fit::OWN;
use super::settings::Settings;

/// What is asked of a speed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Decode,
    Prefill,
}

impl Task {
    pub fn name(self) -> &'static str {
        match self {
            Task::Decode => "decode",
            Task::Prefill => "prefill",
        }
    }
}

/// Facts of one public row or one query. Rates are peaks; counts are in billions where named so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Observation {
    pub task: Task,
    /// Profile id of a device that public rows name; empty for any other.
    #[serde(default)]
    pub device: String,
    pub backend: String,
    pub family: String,
    pub kernel: String,
    pub class: String,
    pub vendor: String,
    /// `discrete`, `integrated`, empty where unknown.
    pub memory: String,
    /// Of a GPU, empty where unknown.
    pub architecture: String,
    pub bandwidth_gbs: f64,
    /// Vector rate that dequantization runs at.
    pub tflops: f64,
    /// Best rate for prefill.
    pub matrix_tflops: f64,
    /// How the rates are known: `matrix`, `vector`, `cores`, `bandwidth`.
    pub rate: String,
    pub isa: Vec<String>,
    pub billions: f64,
    pub active_billions: f64,
    /// Parameters that every token of a prompt is multiplied with: the active ones less embeddings and output head.
    pub prompt_billions: f64,
    pub weight_bytes: f64,
    pub token_bytes: f64,
    pub kv_bytes_per_token: f64,
    pub layers: f64,
    /// Multiplications of attention for one token in the middle of the prompt.
    pub attention: f64,
    /// Tokens in the context before the measured ones.
    pub depth: f64,
    /// Window the graph was compiled for, where a framework computes it whole.
    pub window: f64,
    pub prompt: f64,
    pub flash_attention: Option<bool>,
    /// Name of the model where its size is only known roughly.
    pub rough_model: Option<String>,
}

/// Which part of the time an effect scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Bandwidth = 0,
    Compute = 1,
    Overhead = 2,
}

/// A named effect on one part of the time: `log time of part += coefficient * value`.
pub(super) struct Effect {
    pub part: Part,
    pub name: String,
    pub value: f64,
    /// Key of its prior spread.
    pub group: &'static str,
}

pub(super) const MICRO_BATCH: f64 = 512.0;

/// Peak rates in TFLOP/s and how they are known.
pub(super) struct Rates {
    vector: f64,
    matrix: f64,
    known: &'static str,
}

impl Rates {
    /// Of a GPU: f32 vectors, and the best 16-bit rate (matrix units, else vectors) where it is higher.
    pub fn gpu(vector: Option<f64>, half: Option<f64>) -> Option<Self> {
        let vector = vector?;
        Some(match half.filter(|h| *h > vector) {
            Some(matrix) => Self { vector, matrix, known: "matrix" },
            None => Self { vector, matrix: vector, known: "vector" },
        })
    }

    /// Of a CPU, or of the part of it that `threads` use.
    pub fn cpu(vector: Option<f64>, cores: Option<f64>, threads: Option<f64>) -> Option<Self> {
        let per_core = Settings::embedded().shape.tflops_per_core;
        let vector = vector.or(cores.map(|c| c * per_core))?;
        let share = match (threads, cores) {
            (Some(t), Some(c)) if t < c => t / c,
            _ => 1.0,
        };
        Some(Self { vector: vector * share, matrix: vector * share, known: "cores" })
    }
}

impl Observation {
    /// Ideal seconds of each part: a token for decode, the prompt for prefill.
    pub fn ideal(&self, overhead_s: f64) -> [f64; 3] {
        let kv = self.kv_bytes();
        match self.task {
            Task::Decode => [
                (self.token_bytes + kv) / (self.bandwidth_gbs * 1e9),
                2.0 * self.active_billions / (self.tflops * 1e3),
                self.layers * overhead_s,
            ],
            Task::Prefill => {
                let batches = (self.prompt / MICRO_BATCH).ceil().max(1.0);
                let flops = 2.0 * (1e9 * self.prompt_billions + self.attention) * self.prompt;
                [
                    batches * (self.weight_bytes.min(self.token_bytes * self.prompt) + kv)
                        / (self.bandwidth_gbs * 1e9),
                    flops / (self.matrix_tflops * 1e12),
                    batches * self.layers * overhead_s,
                ]
            }
        }
    }

    /// Bytes of cache that a token at this depth reads.
    fn kv_bytes(&self) -> f64 {
        self.kv_bytes_per_token * self.depth
    }

    /// Tokens that the ideal time is for.
    pub fn tokens(&self) -> f64 {
        match self.task {
            Task::Decode => 1.0,
            Task::Prefill => self.prompt,
        }
    }

    /// Takes the rates, or guesses them from the bandwidth.
    pub fn set(&mut self, rates: Option<Rates>) {
        let guess = self.bandwidth_gbs * Settings::embedded().shape.tflops_per_gbs;
        let r = rates.unwrap_or(Rates { vector: guess, matrix: guess, known: "bandwidth" });
        (self.tflops, self.matrix_tflops, self.rate) = (r.vector, r.matrix, r.known.to_owned());
    }

    pub fn rates(&self) -> [f64; 3] {
        [self.bandwidth_gbs, self.tflops, self.matrix_tflops]
    }

    pub fn with_rates(&self, [bandwidth_gbs, tflops, matrix_tflops]: [f64; 3]) -> Self {
        Self { bandwidth_gbs, tflops, matrix_tflops, ..self.clone() }
    }

    pub fn is_moe(&self) -> bool {
        self.active_billions < 0.8 * self.billions
    }

    pub fn is_gpu(&self) -> bool {
        Settings::embedded().backends.gpu.contains(&self.backend)
    }

    /// Whose residuals the interval comes from: mixtures of experts err alike everywhere, other models by backend.
    pub fn group(&self) -> &str {
        if self.is_moe() { "moe" } else { &self.backend }
    }

    /// The effect of the very device, where it has a profile.
    pub fn of_device(&self) -> Option<String> {
        (!self.device.is_empty()).then(|| format!("{}/device={}", self.backend, self.device))
    }

    /// Every effect that applies, from the general to the particular.
    pub fn effects(&self) -> Vec<Effect> {
        let mut list = List(Vec::with_capacity(48));
        match self.task {
            Task::Decode => self.decode_effects(&mut list),
            Task::Prefill => self.prefill_effects(&mut list),
        }
        list.0
    }

    fn decode_effects(&self, l: &mut List) {
        let (b, f, k) = (&self.backend, &self.family, &self.kernel);
        let part = Part::Bandwidth;
        self.common(l, part);
        let knee = Settings::embedded().shape.knee_gbs;
        let bandwidth = ((knee + self.bandwidth_gbs) / (knee + 300.0)).ln();
        l.add(part, "bandwidth".into(), bandwidth, "slope");
        l.add(
            part,
            format!("{b}/bandwidth"),
            bandwidth,
            if self.is_gpu() { "slope" } else { "backend" },
        );
        let small = (self.active_billions.min(8.0) / 8.0).ln();
        l.add(part, "small".into(), small, "depth");
        l.add(part, format!("{b}/{f}/small"), small, "depth");
        let c = Part::Compute;
        l.one(c, "all".into(), "free");
        l.one(c, b.clone(), "backend");
        l.one(c, format!("rate={}", self.rate), "family");
        l.one(c, k.clone(), "kernel");
        l.one(c, format!("{b}/{k}"), "cross");
        l.one(c, format!("{b}/{f}/{k}"), "cross");
        self.cpu(l, c);
        self.overhead(l);
    }

    fn prefill_effects(&self, l: &mut List) {
        let (b, k) = (&self.backend, &self.kernel);
        let part = Part::Compute;
        self.common(l, part);
        l.one(part, format!("rate={}", self.rate), "family");
        l.one(part, format!("{b}/rate={}", self.rate), "family");
        let rate = self.matrix_tflops.ln();
        l.add(part, "rate".into(), rate, "slope");
        l.add(part, format!("{b}/rate"), rate, "slope");
        let prompt = (self.prompt / 512.0).ln();
        l.add(part, format!("{b}/prompt"), prompt, "depth");
        let small = (self.active_billions.min(8.0) / 8.0).ln();
        l.add(part, "small".into(), small, "slope");
        l.add(part, format!("{b}/small"), small, "slope");
        self.cpu(l, part);
        l.one(Part::Bandwidth, "all".into(), "backend");
        l.one(Part::Bandwidth, b.clone(), "backend");
        l.one(Part::Bandwidth, format!("{b}/{k}"), "cross");
        self.overhead(l);
    }

    /// Effects on the dominant part that both tasks share.
    fn common(&self, l: &mut List, part: Part) {
        let (b, f, k) = (&self.backend, &self.family, &self.kernel);
        l.one(part, "all".into(), "free");
        l.one(part, b.clone(), "backend");
        l.one(part, format!("family={f}"), "family");
        l.one(part, format!("{b}/{f}"), "family");
        l.one(part, k.clone(), "kernel");
        l.one(part, format!("{b}/{k}"), "cross");
        l.one(part, format!("{b}/{f}/{k}"), "cross");
        l.one(part, format!("{b}/vendor={}", self.vendor), "family");
        l.one(part, format!("class={}", self.class), "class");
        l.one(part, format!("{b}/class={}", self.class), "class");
        if !self.memory.is_empty() {
            l.one(part, format!("{b}/memory={}", self.memory), "class");
        }
        if let Some(name) = self.of_device() {
            l.one(part, format!("{b}/{f}/device={}", self.device), OWN);
            l.one(part, name, OWN);
        }
        match self.task {
            // Cache is read by other kernels than weights.
            Task::Decode => {
                let share = self.kv_bytes() / (self.kv_bytes() + self.token_bytes);
                l.add(part, "kv".into(), share, "kv");
                l.add(part, format!("{b}/kv"), share, "kv");
                l.add(part, format!("{b}/{f}/kv"), share, "kv");
            }
            Task::Prefill => {
                let depth = (1.0 + self.depth / 4096.0).ln();
                l.add(part, "depth".into(), depth, "depth");
                l.add(part, format!("{b}/depth"), depth, "depth");
                l.add(part, format!("{b}/{f}/depth"), depth, "depth");
            }
        }
        if self.is_gpu() && !self.architecture.is_empty() {
            l.one(part, format!("{b}/architecture={}", self.architecture), "architecture");
        }
        if self.window > 0.0 {
            let window = (self.window / 4096.0).ln();
            l.add(part, format!("{f}/window"), window, "depth");
            l.add(part, format!("{b}/{f}/window"), window, "depth");
        }
        if self.is_moe() {
            let ratio = (self.billions / self.active_billions).ln();
            l.one(part, "moe".into(), "moe");
            l.one(part, format!("{b}/moe"), "moe");
            l.add(part, "moe-ratio".into(), ratio, "slope");
        }
        if let Some(fa) = self.flash_attention {
            l.one(part, format!("{b}/flash={fa}"), "cross");
        }
        if let Some(model) = &self.rough_model {
            l.one(part, format!("model={model}"), "model");
        }
    }

    fn cpu(&self, l: &mut List, part: Part) {
        self.cpu_rate(l, part);
        for isa in self.isa.iter().filter(|_| self.backend == "cpu") {
            l.one(part, format!("cpu/isa={isa}"), "class");
        }
    }

    fn cpu_rate(&self, l: &mut List, part: Part) {
        if self.backend == "cpu" {
            l.add(part, "cpu/rate".into(), (self.tflops / 0.5).ln(), "slope");
        }
    }

    fn overhead(&self, l: &mut List) {
        let (b, f) = (&self.backend, &self.family);
        let part = Part::Overhead;
        l.one(part, "all".into(), "free");
        l.one(part, b.clone(), "overhead");
        l.one(part, format!("{b}/{f}"), "family");
        l.one(part, format!("class={}", self.class), "family");
        l.add(part, "bandwidth".into(), (self.bandwidth_gbs / 300.0).ln(), "slope");
        l.add(part, "size".into(), (self.billions / 8.0).ln(), "slope");
        self.cpu_rate(l, part);
        if self.is_moe() {
            l.one(part, "moe".into(), "overhead");
        }
    }
}

struct List(Vec<Effect>);

impl List {
    fn add(&mut self, part: Part, name: String, value: f64, group: &'static str) {
        self.0.push(Effect { part, name, value, group });
    }
    fn one(&mut self, part: Part, name: String, group: &'static str) {
        self.add(part, name, 1.0, group);
    }
}

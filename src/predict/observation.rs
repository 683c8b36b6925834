//! One speed question in the fit's own terms: what is read, computed and paid per layer, and the effects on each.

use super::settings::Settings;

/// What is asked of a speed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
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
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observation {
    pub task: Task,
    pub backend: String,
    pub family: String,
    pub kernel: String,
    pub class: String,
    pub vendor: String,
    /// `discrete`, `integrated`, empty where unknown.
    pub memory: String,
    pub bandwidth_gbs: f64,
    /// Vector rate that dequantization runs at.
    pub tflops: f64,
    /// Best rate for prefill.
    pub matrix_tflops: f64,
    /// How the rates are known: `tensor`, `vector`, `cores`, `bandwidth`.
    pub rate: &'static str,
    pub isa: Vec<String>,
    pub cores: Option<f64>,
    pub threads: Option<f64>,
    pub billions: f64,
    pub active_billions: f64,
    pub weight_bytes: f64,
    pub token_bytes: f64,
    pub kv_bytes_per_token: f64,
    pub layers: f64,
    pub hidden: f64,
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

const MICRO_BATCH: f64 = 512.0;

impl Observation {
    /// Ideal seconds of each part: a token for decode, the prompt for prefill.
    pub fn ideal(&self, overhead_s: f64) -> [f64; 3] {
        let kv = self.kv_bytes_per_token * self.depth;
        match self.task {
            Task::Decode => [
                (self.token_bytes + kv) / (self.bandwidth_gbs * 1e9),
                2.0 * self.active_billions / (self.tflops * 1e3),
                self.layers * overhead_s,
            ],
            Task::Prefill => {
                let batches = (self.prompt / MICRO_BATCH).ceil().max(1.0);
                let attention = 4.0 * self.layers * self.hidden * (self.depth + self.prompt / 2.0);
                let flops = (2e9 * self.active_billions + attention) * self.prompt;
                [
                    batches * (self.weight_bytes.min(self.token_bytes * self.prompt) + kv)
                        / (self.bandwidth_gbs * 1e9),
                    flops / (self.matrix_tflops * 1e12),
                    batches * self.layers * overhead_s,
                ]
            }
        }
    }

    /// Tokens that the ideal time is for.
    pub fn tokens(&self) -> f64 {
        match self.task {
            Task::Decode => 1.0,
            Task::Prefill => self.prompt,
        }
    }

    pub fn is_moe(&self) -> bool {
        self.active_billions < 0.8 * self.billions
    }

    pub fn is_gpu(&self) -> bool {
        Settings::embedded().backends.gpu.contains(&self.backend)
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
        let bandwidth = (self.bandwidth_gbs / 300.0).ln();
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
        let depth = (1.0 + self.depth / 4096.0).ln();
        l.add(part, "depth".into(), depth, "depth");
        l.add(part, format!("{b}/depth"), depth, "depth");
        l.add(part, format!("{b}/{f}/depth"), depth, "depth");
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
        if self.backend != "cpu" {
            return;
        }
        if let Some(t) = self.threads {
            l.add(part, "cpu/threads".into(), (t / 4.0).ln(), "slope");
        }
        if let Some(c) = self.cores {
            l.add(part, "cpu/cores".into(), (c / 8.0).ln(), "slope");
        }
        for isa in &self.isa {
            l.one(part, format!("cpu/isa={isa}"), "class");
        }
    }

    fn overhead(&self, l: &mut List) {
        let (b, f) = (&self.backend, &self.family);
        let part = Part::Overhead;
        l.one(part, "all".into(), "free");
        l.one(part, b.clone(), "overhead");
        l.one(part, format!("{b}/{f}"), "overhead");
        l.one(part, format!("class={}", self.class), "family");
        l.add(part, "bandwidth".into(), (self.bandwidth_gbs / 300.0).ln(), "slope");
        l.add(part, "size".into(), (self.billions / 8.0).ln(), "slope");
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

//! One way to run the model: framework, processor, API, precision; what is expected of it and what speaks against it.

use serde::Serialize;

use super::command::ModelSource;
use super::decide::Input;
use super::evidence::Measured;
use super::facts::snake;
use super::framework::{Framework, FrameworkState, Target};
use super::quality::Quality;
use crate::model::{ComputeApi, ModelKind, Precision, Processor, ProcessorKind};
use crate::predict::{Bottleneck, Estimate, Prediction, Query, Rung, energy_per_token, planned};

/// Share of a card's memory that a model may fill: drivers and the desktop keep the rest.
const CARD_SHARE: f64 = 0.95;

/// Why a candidate is out, with the number that failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rejection {
    /// `memory`, `disk`, `decode`, `ttft`, `quality`, `context`, `model`, or a rule's id.
    pub by: String,
    /// `needs 5.1 GiB, 4.0 GiB to use: 1.1 GiB short`.
    pub why: String,
    /// How far from passing, as a share of the limit (0.28 = 28 % over); 0 where it is not a number.
    pub over: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Candidate {
    pub framework: String,
    pub framework_name: String,
    pub processor: String,
    pub processor_name: String,
    pub processor_kind: ProcessorKind,
    pub api: ComputeApi,
    pub precision: Precision,
    pub state: FrameworkState,
    pub bench: bool,
    pub embedded: bool,
    pub proprietary: bool,
    /// Layers on the GPU where the model does not fit whole, and all layers.
    pub gpu_layers: Option<(u32, u32)>,
    pub decode_tok_s: Option<Estimate>,
    pub prefill_tok_s: Option<Estimate>,
    pub ttft_s: Option<Estimate>,
    /// One inference of a graph.
    pub latency_s: Option<Estimate>,
    /// Until it is ready, the file in memory already.
    pub load_s: Option<Estimate>,
    /// Until it is ready, the file on disk.
    pub load_cold_s: Option<Estimate>,
    pub energy_j_per_token: Option<Estimate>,
    pub memory_bytes: Option<Estimate>,
    /// What the memory may be at most.
    pub memory_limit_bytes: u64,
    pub weight_bytes: u64,
    pub kv_bytes: u64,
    /// Part of the memory interval's upper end that the system can take back.
    pub reclaimable_bytes: u64,
    pub quality: Option<Quality>,
    pub bottleneck: Option<Bottleneck>,
    /// Why there is no speed, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_speed: Option<String>,
    /// True where its speed was measured on this device.
    pub measured: bool,
    /// `(stage, rule, weight)` of each rule that spoke.
    pub weights: Vec<(String, String, f64)>,
    pub rejections: Vec<Rejection>,
    pub pareto: bool,
    pub utility: f64,
    #[serde(skip)]
    pub target: Option<&'static Target>,
}

impl Candidate {
    /// `llama.cpp Q4_K_M on cuda`, short enough for a table.
    pub fn label(&self) -> String {
        format!("{} {} on {}", self.framework_name, self.precision, self.place())
    }

    /// Where it runs, as people say it: `CPU`, `CUDA`, `NPU`.
    pub fn place(&self) -> String {
        let api = match self.api {
            ComputeApi::Cpu => "CPU",
            ComputeApi::Cuda => "CUDA",
            ComputeApi::Rocm => "ROCm",
            ComputeApi::Metal => "Metal",
            ComputeApi::Vulkan => "Vulkan",
            ComputeApi::OpenCl => "OpenCL",
            ComputeApi::Sycl => "SYCL",
            ComputeApi::DirectMl => "DirectML",
            ComputeApi::CoreMl => "Core ML",
            _ if self.processor_kind == ProcessorKind::Npu => "NPU",
            _ => "GPU",
        };
        match self.gpu_layers {
            Some((n, all)) => format!("{api} ({n}/{all} layers)"),
            None => api.to_owned(),
        }
    }

    pub(super) fn weigh(&mut self, stage: &str, rule: &str, weight: f64) {
        self.weights.push((stage.to_owned(), rule.to_owned(), weight));
    }

    pub(super) fn reject_by_rule(&mut self, rule: &str, reason: &str) {
        self.rejections.push(Rejection { by: rule.to_owned(), why: reason.to_owned(), over: 0.0 });
    }

    pub fn feasible(&self) -> bool {
        self.rejections.is_empty()
    }

    /// Turns a second: `generate` tokens over reading the prompt and writing them; inferences a second for graphs.
    ///
    /// `cautious` takes the low end of what was only predicted.
    pub(super) fn speed(&self, prompt: f64, generate: f64, cautious: bool) -> Option<f64> {
        let pick =
            |e: &Estimate| if cautious && e.rung != Rung::MeasuredHere { e.low } else { e.value };
        if let Some(l) = &self.latency_s {
            let slow = if cautious && l.rung != Rung::MeasuredHere { l.high } else { l.value };
            return Some(1.0 / slow);
        }
        let decode = pick(self.decode_tok_s.as_ref()?);
        let read = self.prefill_tok_s.as_ref().map_or(0.0, |p| prompt / pick(p));
        Some(generate / (read + generate / decode))
    }
}

/// All ways to run the model on the device, predicted; not yet judged.
pub(super) fn enumerate(input: &Input<'_>) -> Vec<Candidate> {
    let mut out = Vec::new();
    for framework in &input.frameworks.list {
        if input.request.framework.as_ref().is_some_and(|f| *f != framework.id) {
            continue;
        }
        for target in &framework.targets {
            for p in &input.device.processors {
                if target.applies(input.device, p) {
                    for &precision in target.precisions_for(input.model.kind) {
                        out.push(build(input, framework, target, p, precision));
                    }
                }
            }
        }
    }
    out
}

fn build(
    input: &Input<'_>,
    framework: &Framework,
    target: &'static Target,
    p: &Processor,
    precision: Precision,
) -> Candidate {
    let state = match framework.embedded && input.device_is_here {
        true => FrameworkState::Ready { version: env!("CARGO_PKG_VERSION").to_owned() },
        false => input.states.of(&framework.id),
    };
    let mut c = Candidate {
        framework: framework.id.clone(),
        framework_name: framework.name.clone(),
        processor: p.id.clone(),
        processor_name: p.name.clone(),
        processor_kind: p.kind,
        api: target.api,
        precision,
        state,
        bench: framework.bench,
        embedded: framework.embedded,
        proprietary: framework.proprietary,
        gpu_layers: None,
        decode_tok_s: None,
        prefill_tok_s: None,
        ttft_s: None,
        latency_s: None,
        load_s: None,
        load_cold_s: None,
        energy_j_per_token: None,
        memory_bytes: None,
        memory_limit_bytes: memory_limit(input, p),
        weight_bytes: 0,
        kv_bytes: 0,
        reclaimable_bytes: 0,
        quality: input.quality.estimate(precision, input.model.parameters),
        bottleneck: None,
        no_speed: None,
        measured: false,
        weights: Vec::new(),
        rejections: Vec::new(),
        pareto: false,
        utility: f64::NEG_INFINITY,
        target: Some(target),
    };
    let measured = input.evidence.find(&input.model.name, &c);
    let named = *input.source != ModelSource::None;
    let refusal = framework.refuses(input.model, named, &input.device.os);
    if let (Some(why), None) = (refusal, measured) {
        c.rejections.push(Rejection {
            by: "model".to_owned(),
            why: format!("{} {why}", framework.name),
            over: 0.0,
        });
        return c;
    }
    if let FrameworkState::Unsupported { reason } = &c.state {
        c.rejections.push(Rejection { by: "host".to_owned(), why: reason.clone(), over: 0.0 });
    }
    if input.states.precisions.get(&framework.id).is_some_and(|list| !list.contains(&precision)) {
        let why = format!("{} does not run {precision} here", framework.name);
        c.rejections.push(Rejection { by: "precision".to_owned(), why, over: 0.0 });
    }
    if let Some(max) = target
        .max_context
        .filter(|&m| input.request.context > m && input.model.kind == ModelKind::Llm)
    {
        let asked = input.request.context;
        c.rejections.push(Rejection {
            by: "context".to_owned(),
            why: format!("holds at most {max} tokens there, {asked} asked"),
            over: asked as f64 / max as f64 - 1.0,
        });
    }
    expect(input, p, &mut c);
    if let Some(m) = measured {
        overrule(&mut c, p, m);
    }
    c
}

/// What the tightest of device, container and request leaves for a processor.
fn memory_limit(input: &Input<'_>, p: &Processor) -> u64 {
    let asked = input.request.max_memory_bytes.unwrap_or(u64::MAX);
    let shared = input.device.limits.memory_available_bytes;
    let own = p.memory_free_bytes.as_ref().or(p.memory_bytes.as_ref()).map(|m| m.value);
    match own {
        Some(m) if p.kind == ProcessorKind::DiscreteGpu => {
            ((m as f64 * CARD_SHARE) as u64).min(asked)
        }
        Some(m) => m.min(shared).min(asked),
        None => shared.min(asked),
    }
}

fn query<'a>(input: &'a Input<'_>, p: &'a Processor, c: &'a Candidate) -> Query<'a> {
    Query {
        device: input.device,
        processor: p,
        api: c.api,
        framework: &c.framework,
        model: input.model,
        precision: c.precision,
        context: input.request.context,
        prompt: input.request.prompt.min(u32::try_from(input.request.context).unwrap_or(u32::MAX)),
        threads: input.request.threads,
        kv_precision: input.request.kv,
        gpu_layers: c.gpu_layers.map(|(n, _)| n),
    }
}

/// Fills in the prediction; on a card that is too small, what a split between card and CPU gives.
fn expect(input: &Input<'_>, p: &Processor, c: &mut Candidate) {
    let prediction = match input.predictor.predict(&query(input, p, c)) {
        Ok(prediction) => prediction,
        Err(e) => {
            c.no_speed = Some(e.to_string());
            let (plan, peak) = planned(&query(input, p, c));
            c.weight_bytes = plan.weights;
            c.kv_bytes = plan.kv_cache;
            c.memory_bytes = Some(peak);
            return;
        }
    };
    c.weight_bytes = prediction.memory.weights;
    c.kv_bytes = prediction.memory.kv_cache;
    let too_big = prediction.memory.total > c.memory_limit_bytes;
    if too_big
        && p.kind == ProcessorKind::DiscreteGpu
        && c.framework == "llama.cpp"
        && let Some(layers) = layers_that_fit(input, &prediction, c.memory_limit_bytes)
    {
        c.gpu_layers = Some(layers);
        if let Ok(split) = input.predictor.predict(&query(input, p, c)) {
            // The limit is now card and host together.
            let room = input.device.limits.memory_available_bytes;
            let both = c.memory_limit_bytes.saturating_add(room);
            c.memory_limit_bytes = both.min(input.request.max_memory_bytes.unwrap_or(u64::MAX));
            return fill(c, split);
        }
        c.gpu_layers = None;
    }
    fill(c, prediction);
}

fn fill(c: &mut Candidate, p: Prediction) {
    c.decode_tok_s = p.decode_tok_s;
    c.prefill_tok_s = p.prefill_tok_s;
    c.ttft_s = p.ttft_s;
    c.latency_s = p.latency_s;
    c.load_s = p.load_s;
    c.load_cold_s = p.load_cold_s;
    c.energy_j_per_token = p.energy_j_per_token;
    c.reclaimable_bytes = p.memory.repacked;
    c.memory_bytes = Some(p.peak_memory_bytes);
    c.bottleneck = Some(p.bottleneck);
}

/// Layers whose weights and cache fit beside the buffers; at least one, fewer than all.
fn layers_that_fit(input: &Input<'_>, p: &Prediction, limit: u64) -> Option<(u32, u32)> {
    let all = u32::try_from(input.model.layers.len()).ok().filter(|&n| n > 1)?;
    let fixed = p.memory.compute.saturating_add(p.memory.runtime);
    let per_layer = (p.memory.weights.saturating_add(p.memory.kv_cache) / u64::from(all)).max(1);
    let n = u32::try_from(limit.saturating_sub(fixed) / per_layer).unwrap_or(0).min(all - 1);
    (n > 0).then_some((n, all))
}

/// What was measured here replaces what was predicted.
fn overrule(c: &mut Candidate, p: &Processor, m: &Measured) {
    let replace = |slot: &mut Option<Estimate>, value: &Option<Estimate>| {
        if value.is_some() {
            slot.clone_from(value);
        }
    };
    replace(&mut c.decode_tok_s, &m.decode_tok_s);
    replace(&mut c.prefill_tok_s, &m.prefill_tok_s);
    replace(&mut c.ttft_s, &m.ttft_s);
    replace(&mut c.latency_s, &m.latency_s);
    if let (Some(here), Some(expected), Some(cold)) = (&m.load_s, &c.load_s, &mut c.load_cold_s) {
        let off = here.value - expected.value;
        (cold.value, cold.low, cold.high) = (cold.value + off, cold.low + off, cold.high + off);
        cold.low = cold.low.max(here.low);
    }
    replace(&mut c.load_s, &m.load_s);
    replace(&mut c.load_cold_s, &m.load_cold_s);
    if let Some(decode) = &m.decode_tok_s {
        c.energy_j_per_token = m.energy_j_per_token.clone().or_else(|| energy_per_token(p, decode));
    }
    replace(&mut c.memory_bytes, &m.memory_bytes);
    if m.memory_bytes.is_some() {
        c.reclaimable_bytes = 0;
    }
    if let Some(q) = &m.quality {
        c.quality = Some(q.clone());
    }
    c.measured = m.decode_tok_s.is_some() || m.latency_s.is_some();
    if let Some(why) = &m.failed {
        c.rejections.push(Rejection { by: "measured".to_owned(), why: why.clone(), over: 0.0 });
    }
}

/// `cuda:0`, `gpu0`: a candidate's place in one word for commands and records.
pub(super) fn api_word(api: ComputeApi) -> String {
    snake(&api)
}

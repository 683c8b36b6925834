//! From a query to numbers: the fitted model on exact shapes, with residual intervals.

use std::fmt::Write as _;

use super::calibration::{Calibration, Corrections};
use super::estimate::{Bottleneck, Estimate, NoPrediction, Prediction, Query, Rung};
use super::load;
use super::memory::{MemoryPlan, PlanFor, kv_read_bytes, memory_plan};
use super::observation::{MICRO_BATCH, Observation, Part, Rates, Task};
use super::params::{Params, Parts};
use super::settings::Settings;
use super::shapes::{self, Weights};
use crate::model::{ComputeApi, DeviceClass, Fact, Isa, Processor, ProcessorKind, Source};

/// Answers queries from fitted parameters. Cheap to make, microseconds a query.
#[derive(Debug, Clone)]
pub struct Predictor {
    params: &'static Params,
    corrections: Corrections,
}

impl Predictor {
    /// The predictor with the parameters in the binary.
    pub fn embedded() -> Self {
        Self { params: Params::embedded(), corrections: Corrections::default() }
    }

    /// The same, corrected by what was measured on one device; other devices are predicted as before.
    pub fn with_evidence(self, calibration: Calibration) -> Self {
        Self { corrections: calibration.into(), ..self }
    }

    /// Predicts every figure that applies to the query.
    ///
    /// # Errors
    /// Says what is missing: a bandwidth, tensors.
    pub fn predict(&self, q: &Query<'_>) -> Result<Prediction, NoPrediction> {
        match q.gpu_layers.zip(u32::try_from(q.model.layers.len()).ok()) {
            Some((n, all)) if n < all => self.split(q, n, all),
            _ => self.whole(q),
        }
    }

    /// `n` of `all` layers on the query's processor, the rest on the CPU: times add up by share of layers.
    fn split(&self, q: &Query<'_>, n: u32, all: u32) -> Result<Prediction, NoPrediction> {
        let card = self.whole(q)?;
        let cpu = q.device.cpu_processor();
        let processor = cpu.ok_or_else(|| NoPrediction::NoBandwidth("cpu".to_owned()))?;
        let host = self.whole(&Query { processor, api: ComputeApi::Cpu, ..*q })?;
        let share = f64::from(n) / f64::from(all);
        let mix = |a: Option<Estimate>, b: Option<Estimate>| {
            let (a, b) = (a?, b?);
            let add = |x: f64, y: f64| 1.0 / (share / x + (1.0 - share) / y);
            Some(Estimate {
                value: add(a.value, b.value),
                low: add(a.low, b.low),
                high: add(a.high, b.high),
                rung: a.rung.max(b.rung),
                basis: format!(
                    "{n} of {all} layers on {} ({}), the rest on the CPU ({})",
                    q.processor.id, a.basis, b.basis
                ),
            })
        };
        let decode_tok_s = mix(card.decode_tok_s, host.decode_tok_s);
        let left = card.memory.weights as f64 * (1.0 - share);
        let prefill_tok_s = match card.prefill_tok_s {
            Some(whole) if f64::from(q.prompt) >= Settings::embedded().split.least_prompt => {
                Some(streamed(q.prompt, whole, left))
            }
            whole => mix(whole, host.prefill_tok_s),
        };
        let both = prefill_tok_s.as_ref().zip(decode_tok_s.as_ref());
        Ok(Prediction {
            ttft_s: both.map(|(prefill, decode)| ttft(q.prompt, prefill, decode)),
            decode_tok_s,
            decode_full_context_tok_s: mix(
                card.decode_full_context_tok_s,
                host.decode_full_context_tok_s,
            ),
            prefill_tok_s,
            bottleneck: Bottleneck::Capacity,
            // Two processors share the work in an unknown way.
            energy_j_per_token: None,
            ..card
        })
    }

    fn whole(&self, q: &Query<'_>) -> Result<Prediction, NoPrediction> {
        let (memory, peak) = planned(q);
        if memory.weights == 0 {
            return Err(NoPrediction::EmptyModel(q.model.name.clone()));
        }
        let base = observe_with(q, &memory)?;
        let at = |task, depth: u64| Observation {
            task,
            depth: depth as f64,
            kv_bytes_per_token: kv_read_bytes(q.model, depth, q.kv_precision) as f64
                / (depth.max(1)) as f64,
            ..base.clone()
        };
        let (decode, parts) = self.speed(q, &at(Task::Decode, 0));
        let (full, _) = self.speed(q, &at(Task::Decode, q.context));
        let (prefill, _) = self.speed(q, &at(Task::Prefill, 0));
        if !q.model.kind.generates() {
            let parts = self.params.task(Task::Prefill).parts(&at(Task::Prefill, 0));
            let load = self.load(q, &memory);
            return Ok(encoder(q, memory, &prefill, peak, &parts, load));
        }
        let bottleneck = bottleneck(q, &memory, &parts);
        let (load_s, load_cold_s) = self.load(q, &memory);
        Ok(Prediction {
            energy_j_per_token: energy_per_token(q.processor, &decode),
            ttft_s: Some(ttft(q.prompt, &prefill, &decode)),
            peak_memory_bytes: peak,
            decode_tok_s: Some(decode),
            decode_full_context_tok_s: Some(full),
            prefill_tok_s: Some(prefill),
            latency_s: None,
            load_s,
            load_cold_s,
            memory,
            bottleneck,
        })
    }

    fn load(&self, q: &Query<'_>, plan: &MemoryPlan) -> (Option<Estimate>, Option<Estimate>) {
        let known = load::predict(&self.params.load, q, plan);
        known.map_or((None, None), |(warm, cold)| (Some(warm), cold))
    }

    fn speed(&self, q: &Query<'_>, o: &Observation) -> (Estimate, Parts) {
        let task = self.params.task(o.task);
        let parts = task.parts(o);
        let class = o.tokens() / parts.total();
        let mut basis = basis(o, &parts);
        if task.knows(o) {
            basis.push_str(", with public rows of this device");
        }
        let (value, i, rung) = match self.corrections.apply(q, o, task) {
            Some((value, anchors)) => {
                let s = if anchors == 1 { "" } else { "s" };
                let _ = write!(basis, ", x {:.2} from {anchors} anchor{s} here", value / class);
                (value, &task.calibrated, Rung::CalibratedHere)
            }
            None => (class, task.interval(o), rung(q, o.task)),
        };
        (Estimate { value, low: value * i.low, high: value * i.high, rung, basis }, parts)
    }
}

/// Prefill where the card computes all layers and reads `left` bytes of weights over the bus for each micro-batch.
fn streamed(prompt: u32, whole: Estimate, left: f64) -> Estimate {
    let s = &Settings::embedded().split;
    let tokens = f64::from(prompt);
    let batches = (tokens / MICRO_BATCH).ceil();
    let speed = |card: f64, bus: f64| tokens / (tokens / card + batches * left / (bus * 1e9));
    Estimate {
        value: speed(whole.value, s.bus_gbs),
        low: speed(whole.low, s.bus_gbs / s.bus_factor),
        high: speed(whole.high, s.bus_gbs * s.bus_factor),
        basis: format!(
            "{} + {:.1} GB over the bus for each {MICRO_BATCH} tokens at {} GB/s (assumed)",
            whole.basis,
            left / 1e9,
            s.bus_gbs
        ),
        ..whole
    }
}

/// One pass over the input, from the prefill model of language models: nothing public was fitted for encoders, so the
/// interval is widened on both sides.
fn encoder(
    q: &Query<'_>,
    memory: MemoryPlan,
    pass: &Estimate,
    peak: Estimate,
    parts: &Parts,
    (load_s, load_cold_s): (Option<Estimate>, Option<Estimate>),
) -> Prediction {
    let widen = Settings::embedded().backends.encoder_widening;
    let tokens = f64::from(q.prompt.max(1));
    let latency = Estimate {
        value: tokens / pass.value,
        low: tokens / pass.high / widen,
        high: tokens / pass.low * widen,
        rung: pass.rung,
        basis: format!("{} (prefill model; interval widened x {widen})", pass.basis),
    };
    let bottleneck = bottleneck(q, &memory, parts);
    Prediction {
        decode_tok_s: None,
        decode_full_context_tok_s: None,
        prefill_tok_s: None,
        ttft_s: None,
        latency_s: Some(latency),
        load_s,
        load_cold_s,
        peak_memory_bytes: peak,
        energy_j_per_token: None,
        memory,
        bottleneck,
    }
}

fn plan(q: &Query<'_>) -> MemoryPlan {
    let on_cpu = q.processor.kind == ProcessorKind::Cpu;
    let cpu_isa = if on_cpu { &q.device.cpu.isa[..] } else { &[] };
    let (precision, kv) = (Some(q.precision), q.kv_precision);
    memory_plan(
        q.model,
        &PlanFor { precision, context: q.context, kv, backend: q.framework, cpu_isa },
    )
}

/// Joules for one decoded token: the share of its power limit that a processor draws meanwhile, over the speed.
/// `None` where the limit is not known.
pub fn energy_per_token(p: &Processor, decode: &Estimate) -> Option<Estimate> {
    let limit = p.power_w.as_ref().map(|w| w.value).filter(|w| *w > 0.0)?;
    let share = &Settings::embedded().power;
    Some(Estimate {
        value: limit * share.value / decode.value,
        low: limit * share.low / decode.high,
        high: limit * share.high / decode.low,
        rung: Rung::Profile,
        basis: format!(
            "{:.2} ({:.2} to {:.2}) of {limit:.0} W / {:.1} tok/s",
            share.value, share.low, share.high, decode.value
        ),
    })
}

/// The query in the fit's terms, for decoding at depth zero.
pub(super) fn observe(q: &Query<'_>) -> Result<Observation, NoPrediction> {
    observe_with(q, &plan(q))
}

fn observe_with(q: &Query<'_>, memory: &MemoryPlan) -> Result<Observation, NoPrediction> {
    let settings = Settings::embedded();
    let p = q.processor;
    let bandwidth = p.bandwidth_gbs.as_ref().filter(|b| b.value > 0.0).map(|b| {
        // Efficiencies are fitted against published rates.
        b.value / if b.source == Source::Measured { settings.backends.measured_share } else { 1.0 }
    });
    let bandwidth = bandwidth.ok_or_else(|| NoPrediction::NoBandwidth(p.name.clone()))?;
    let backend = settings.backend(&api_key(q.api), q.framework, kind_key(p.kind)).to_owned();
    let cores = f64::from(q.device.cpu.performance_cores + q.device.cpu.efficiency_cores);
    let rate = |fact: &Option<Fact<f64>>| fact.as_ref().map(|f| f.value).filter(|v| *v > 0.0);
    let cpu = backend == "cpu";
    let rates = if cpu {
        let cores = Some(cores).filter(|c| *c > 0.0);
        Rates::cpu(rate(&p.fp32_tflops), cores, q.threads.map(f64::from))
    } else {
        Rates::gpu(rate(&p.fp32_tflops), rate(&p.fp16_tflops))
    };
    let mut o = Observation {
        task: Task::Decode,
        device: p.profile.clone(),
        family: settings.family(q.framework),
        kernel: settings.kernel(q.precision.name()).map_or("other", |(k, _)| k).to_owned(),
        class: class_key(q.device.class).to_owned(),
        vendor: p.vendor.to_ascii_lowercase(),
        memory: if p.unified { "integrated" } else { "discrete" }.to_owned(),
        architecture: p.architecture.to_ascii_lowercase().replace(['-', '.'], "_"),
        backend,
        bandwidth_gbs: bandwidth,
        tflops: 0.0,
        matrix_tflops: 0.0,
        rate: String::new(),
        isa: q.device.cpu.isa.iter().filter_map(isa_key).map(str::to_owned).collect(),
        billions: q.model.parameters as f64 / 1e9,
        active_billions: q.model.active_parameters as f64 / 1e9,
        prompt_billions: Weights::of(q.model).prompt,
        weight_bytes: memory.weights as f64,
        token_bytes: memory.weights_per_token as f64,
        kv_bytes_per_token: 0.0,
        layers: q.model.layers.len().max(1) as f64,
        attention: shapes::attention(q.model, f64::from(q.prompt.max(1)) / 2.0),
        depth: 0.0,
        window: 0.0,
        prompt: f64::from(q.prompt.max(1)),
        flash_attention: None,
        rough_model: None,
    };
    o.set(rates);
    Ok(o)
}

/// The interface's name as records and settings write it.
pub(super) fn api_key(api: ComputeApi) -> String {
    match serde_json::to_value(api) {
        Ok(serde_json::Value::String(s)) => s,
        _ => String::new(),
    }
}

fn kind_key(kind: ProcessorKind) -> &'static str {
    match kind {
        ProcessorKind::Cpu => "cpu",
        ProcessorKind::IntegratedGpu | ProcessorKind::DiscreteGpu => "gpu",
        ProcessorKind::Npu => "npu",
    }
}

fn class_key(class: DeviceClass) -> &'static str {
    match class {
        DeviceClass::Phone => "phone",
        DeviceClass::Sbc => "sbc",
        DeviceClass::Laptop => "laptop",
        DeviceClass::Desktop => "desktop",
        DeviceClass::Workstation => "workstation",
        DeviceClass::Server => "server",
    }
}

fn isa_key(isa: &Isa) -> Option<&'static str> {
    Some(match isa {
        Isa::Avx2 => "avx2",
        Isa::Avx512F => "avx512",
        Isa::Avx512Vnni => "avx512vnni",
        Isa::AvxVnni => "avxvnni",
        Isa::Avx512Bf16 => "avx512bf16",
        Isa::DotProd => "dotprod",
        Isa::I8mm => "i8mm",
        Isa::Neon => "neon",
        Isa::Sve => "sve",
        _ => return None,
    })
}

/// Which rung the device's own rate puts the task on.
fn rung(q: &Query<'_>, task: Task) -> Rung {
    let p = q.processor;
    let source = match task {
        Task::Decode => p.bandwidth_gbs.as_ref().map(|f| &f.source),
        Task::Prefill => p.fp16_tflops.as_ref().or(p.fp32_tflops.as_ref()).map(|f| &f.source),
    };
    if source == Some(&Source::Measured) { Rung::MeasuredProbe } else { Rung::Profile }
}

/// The formula with its numbers.
fn basis(o: &Observation, parts: &Parts) -> String {
    let share = |p: Part| parts.seconds[p as usize];
    let efficiency = |p: Part| parts.ideal[p as usize] / parts.seconds[p as usize];
    match o.task {
        Task::Decode => format!(
            "{:.2} GB / ({:.2} x {:.0} GB/s) + {:.2} ms compute + {:.0} layers x {:.0} us",
            parts.ideal[0] * o.bandwidth_gbs,
            efficiency(Part::Bandwidth),
            o.bandwidth_gbs,
            share(Part::Compute) * 1e3,
            o.layers,
            share(Part::Overhead) / o.layers * 1e6
        ),
        Task::Prefill => {
            let tera = parts.ideal[1] * o.matrix_tflops;
            let work = match tera < 0.1 {
                true => format!("{:.2} GFLOP", tera * 1e3),
                false => format!("{tera:.2} TFLOP"),
            };
            format!(
                "{work} / ({:.2} x {:.1} TFLOP/s) + {:.1} ms weights + {:.1} ms overhead",
                efficiency(Part::Compute),
                o.matrix_tflops,
                share(Part::Bandwidth) * 1e3,
                share(Part::Overhead) * 1e3
            )
        }
    }
}

fn bottleneck(q: &Query<'_>, memory: &MemoryPlan, parts: &Parts) -> Bottleneck {
    let capacity =
        q.processor.memory_bytes.as_ref().map_or(q.device.limits.memory_bytes, |m| m.value);
    if capacity > 0 && memory.total > capacity {
        return Bottleneck::Capacity;
    }
    let [bandwidth, compute, overhead] = parts.seconds;
    if bandwidth >= compute && bandwidth >= overhead {
        Bottleneck::MemoryBandwidth
    } else if compute >= overhead {
        Bottleneck::Compute
    } else {
        Bottleneck::Overhead
    }
}

/// The memory plan of a query and the peak it leads to; known where a speed is not.
pub fn planned(q: &Query<'_>) -> (MemoryPlan, Estimate) {
    let memory = plan(q);
    let peak = peak(&memory, &Settings::embedded().memory(q.framework).source);
    (memory, peak)
}

fn peak(memory: &MemoryPlan, source: &str) -> Estimate {
    Estimate {
        value: memory.total as f64,
        low: (memory.weights + memory.kv_cache) as f64,
        high: memory.total as f64 * 1.1 + memory.repacked as f64,
        rung: Rung::Profile,
        basis: match memory.repacked {
            0 => format!("weights + KV cache + compute buffers + runtime ({source})"),
            n => format!(
                "weights + KV cache + compute buffers + runtime ({source}); up to {:.2} GB more while the file's pages \
                 of rearranged weights stay cached",
                n as f64 / 1e9
            ),
        },
    }
}

fn ttft(prompt: u32, prefill: &Estimate, decode: &Estimate) -> Estimate {
    let time = |p: f64, d: f64| f64::from(prompt) / p + 1.0 / d;
    Estimate {
        value: time(prefill.value, decode.value),
        low: time(prefill.high, decode.high),
        high: time(prefill.low, decode.low),
        rung: prefill.rung.max(decode.rung),
        basis: format!("{prompt} prompt tokens / prefill + one decode step"),
    }
}

//! From a query to numbers: roofline with fitted efficiency, fixed costs and residual intervals.

use super::estimate::{Bottleneck, Estimate, NoPrediction, Prediction, Query, Rung};
use super::memory::{MemoryPlan, kv_read_bytes, plan_with};
use super::params::{ClassParams, Params};
use crate::model::{ComputeApi, Fact, Source};

/// Answers queries from fitted parameters. Cheap to make, microseconds a query.
#[derive(Debug, Clone)]
pub struct Predictor {
    params: &'static Params,
}

impl Predictor {
    /// The predictor with the parameters in the binary.
    pub fn embedded() -> Self {
        Self { params: Params::embedded() }
    }

    /// Predicts every figure that applies to the query.
    ///
    /// # Errors
    /// Says what is missing: a bandwidth, tensors.
    pub fn predict(&self, q: &Query<'_>) -> Result<Prediction, NoPrediction> {
        let Some(bandwidth) = &q.processor.bandwidth_gbs else {
            return Err(NoPrediction::NoBandwidth(q.processor.name.clone()));
        };
        let memory = plan_with(
            q.model,
            Some(q.precision),
            q.context,
            q.kv_precision,
            self.params.memory(q.framework),
        );
        if memory.weights == 0 {
            return Err(NoPrediction::EmptyModel(q.model.name.clone()));
        }
        let decode = self.decode(q, bandwidth, &memory, 0);
        let full = self.decode(q, bandwidth, &memory, q.context);
        let prefill = self.prefill(q);
        let ttft = prefill.as_ref().map(|p| ttft(q.prompt, p, &decode));
        let peak = Estimate {
            value: memory.total as f64,
            low: (memory.weights + memory.kv_cache) as f64,
            high: memory.total as f64 * 1.1,
            rung: Rung::Profile,
            basis: "weights + KV cache + compute buffers + runtime".to_owned(),
        };
        let capacity = q.processor.memory_bytes.as_ref().map(|m| m.value);
        let bottleneck = if capacity.is_some_and(|c| memory.total > c) {
            Bottleneck::Capacity
        } else {
            Bottleneck::MemoryBandwidth
        };
        Ok(Prediction {
            decode_tok_s: Some(decode),
            decode_full_context_tok_s: Some(full),
            prefill_tok_s: prefill,
            ttft_s: ttft,
            latency_s: None,
            load_s: None,
            peak_memory_bytes: peak,
            energy_j_per_token: None,
            memory,
            bottleneck,
        })
    }

    fn decode(&self, q: &Query<'_>, bw: &Fact<f64>, memory: &MemoryPlan, depth: u64) -> Estimate {
        let p = class_params(&self.params.decode, q.api);
        let bytes = memory.weights_per_token + kv_read_bytes(q.model, depth, q.kv_precision);
        let layers = q.model.layers.len() as f64;
        let seconds = bytes as f64 / (p.efficiency * bw.value * 1e9) + layers * p.tau_s;
        let basis = format!(
            "{:.2} GB / ({:.2} x {:.0} GB/s) + {layers:.0} layers x {:.0} us",
            bytes as f64 / 1e9,
            p.efficiency,
            bw.value,
            p.tau_s * 1e6
        );
        interval(1.0 / seconds, p, rung(&bw.source), basis)
    }

    fn prefill(&self, q: &Query<'_>) -> Option<Estimate> {
        let rate = q.processor.fp16_tflops.as_ref().or(q.processor.fp32_tflops.as_ref())?;
        let p = class_params(&self.params.prefill, q.api);
        let flops = 2.0 * q.model.active_parameters as f64;
        let tok_s = p.efficiency * rate.value * 1e12 / flops;
        let basis = format!(
            "{:.2} x {:.1} TFLOP/s / {:.1} GFLOP a token",
            p.efficiency,
            rate.value,
            flops / 1e9
        );
        Some(interval(tok_s, p, rung(&rate.source), basis))
    }
}

fn class_params(
    table: &std::collections::BTreeMap<String, ClassParams>,
    api: ComputeApi,
) -> &ClassParams {
    let key = serde_json::to_value(api).ok();
    let key = key.as_ref().and_then(|v| v.as_str()).unwrap_or("default");
    table.get(key).unwrap_or_else(|| &table["default"])
}

fn rung(source: &Source) -> Rung {
    if *source == Source::Measured { Rung::MeasuredProbe } else { Rung::Profile }
}

fn interval(value: f64, p: &ClassParams, rung: Rung, basis: String) -> Estimate {
    Estimate { value, low: value * p.residual_low, high: value * p.residual_high, rung, basis }
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

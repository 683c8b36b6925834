//! The hand-written half of the predictor's data: name tables, priors of the fit, backends' buffers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::peers::Peers;
use crate::model::Isa;

const EMBEDDED: &str = include_str!("../../profiles/predictor_settings.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    kernel: Vec<KernelRule>,
    family: Vec<FamilyRule>,
    backend: Vec<BackendRule>,
    pub backends: Backends,
    pub shape: Shape,
    pub fit: BTreeMap<String, FitSettings>,
    pub load: LoadSettings,
    pub power: PowerShare,
    pub split: Split,
    memory: BTreeMap<String, MemoryParams>,
    pub peers: Peers,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelRule {
    prefixes: Vec<String>,
    kernel: String,
    bits: f64,
    /// What runs where a file holds fewer bits a weight than these, the fewest first.
    #[serde(default)]
    packed: Vec<Packed>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed {
    below: f64,
    kernel: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyRule {
    contains: Vec<String>,
    family: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendRule {
    api: String,
    #[serde(default)]
    framework: String,
    #[serde(default)]
    processor: String,
    name: String,
}

/// Sets of row backends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backends {
    pub gpu: Vec<String>,
    /// Share of a published bandwidth that a measured read reaches.
    pub measured_share: f64,
    /// Factor on both ends of an encoder's interval.
    pub encoder_widening: f64,
}

/// Rules for what a row leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    layers_at_8b: f64,
    layers_power: f64,
    hidden_at_8b: f64,
    hidden_power: f64,
    pub kv_bytes_per_layer: f64,
    /// Bandwidth from which efficiency falls with it.
    pub knee_gbs: f64,
    pub tflops_per_gbs: f64,
    pub tflops_per_core: f64,
}

impl Shape {
    pub fn layers(&self, billions: f64) -> f64 {
        self.layers_at_8b * (billions / 8.0).powf(self.layers_power)
    }
    pub fn hidden(&self, billions: f64) -> f64 {
        self.hidden_at_8b * (billions / 8.0).powf(self.hidden_power)
    }
}

/// Priors and loss of one fit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FitSettings {
    /// Rows of one device and backend weigh `n^-power` each.
    pub power: f64,
    /// Scale of a clean row's log residual.
    pub sigma: f64,
    /// Residuals beyond this many sigma count linearly.
    pub huber: f64,
    /// Start values: time relative to the ideal one, by component.
    pub scale: Scale,
    /// Overhead of one layer that `overhead` effects are relative to.
    pub overhead_s: f64,
    /// Prior standard deviation of an effect by group.
    pub spread: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scale {
    pub bandwidth: f64,
    pub compute: f64,
    pub overhead: f64,
}

/// What is assumed of load times that were measured on one machine only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadSettings {
    /// Factor on both ends of the interval.
    pub other_machine: f64,
}

/// A model split between a card and the CPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    /// From this many prompt tokens on the card reads the other layers' weights over the bus.
    pub least_prompt: f64,
    pub bus_gbs: f64,
    /// A bus may be this much slower or faster.
    pub bus_factor: f64,
}

/// Power while decoding, as a share of the processor's limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerShare {
    pub low: f64,
    pub value: f64,
    pub high: f64,
    /// For readers of the file.
    #[expect(dead_code, reason = "for readers of the file")]
    source: String,
}

/// Buffers a backend allocates beside weights and cache.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryParams {
    /// Tokens computed at once in prefill.
    pub micro_batch: u64,
    /// Whether logits of the whole micro-batch are reserved.
    pub logits_for_batch: bool,
    /// Whether attention scores of the whole micro-batch exist at once.
    pub materialises_scores: bool,
    /// Resident bytes of the process with nothing loaded.
    pub runtime_bytes: u64,
    /// Weights that CPU kernels keep in a layout of their own.
    #[serde(default)]
    pub repack: Vec<RepackRule>,
    /// Where the figures come from; for readers of the file.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepackRule {
    pub isa: Isa,
    /// As GGUF names them.
    pub types: Vec<String>,
}

impl Settings {
    pub fn embedded() -> &'static Settings {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        SETTINGS
            .get_or_init(|| toml::from_str(EMBEDDED).expect("embedded settings, read by a test"))
    }

    /// Kernel group and nominal bits of a storage name, `None` where the name says nothing.
    pub fn kernel(&self, quant: &str) -> Option<(&str, f64)> {
        self.kernel_in_file(quant, None)
    }

    /// The same of a file that holds so many bits a weight: `gpt-oss-20b-F16` holds MXFP4 experts.
    pub fn kernel_in_file(&self, quant: &str, file_bits: Option<f64>) -> Option<(&str, f64)> {
        let q = quant.trim().to_ascii_lowercase();
        let rule = self.kernel.iter().find(|r| r.prefixes.iter().any(|p| q.starts_with(p)))?;
        let packed = rule.packed.iter().find(|p| file_bits.is_some_and(|b| b < p.below));
        let kernel = packed.map_or(&rule.kernel, |p| &p.kernel);
        Some((kernel, stated_bits(&q).unwrap_or(rule.bits)))
    }

    /// Whose kernels a framework runs; an unknown framework is its own family.
    pub fn family(&self, framework: &str) -> String {
        let f = framework.to_ascii_lowercase();
        match self.family.iter().find(|r| r.contains.iter().any(|c| f.contains(c))) {
            Some(rule) => rule.family.clone(),
            None => f.split([' ', '-']).next().unwrap_or_default().to_owned(),
        }
    }

    /// The rows' backend name for an interface, a framework and a processor kind.
    pub fn backend(&self, api: &str, framework: &str, processor: &str) -> &str {
        self.backend
            .iter()
            .find(|r| {
                (r.api == api || r.api == "any")
                    && framework.contains(&r.framework)
                    && processor.contains(&r.processor)
            })
            .map_or("cpu", |r| &r.name)
    }

    pub fn memory(&self, backend: &str) -> &MemoryParams {
        self.memory.get(backend).unwrap_or_else(|| &self.memory["default"])
    }
}

/// `IQ4_K_R4 - 4.5 bpw` states its bits.
fn stated_bits(q: &str) -> Option<f64> {
    let before = q.split("bpw").next().filter(|b| b.len() < q.len())?;
    before.split_whitespace().last()?.parse().ok().filter(|b| (0.5..=32.0).contains(b))
}

//! The typed facts that rules test: name, value, and where it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::request::{Request, Workflow, kind_name};
use crate::model::{Device, ModelSpec, Processor, ProcessorKind};

/// A value a rule can test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum FactValue {
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<String>),
}

impl std::fmt::Display for FactValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FactValue::Flag(b) => write!(f, "{}", if *b { "yes" } else { "no" }),
            FactValue::Number(n) if n.fract() == 0.0 => write!(f, "{n:.0}"),
            FactValue::Number(n) => write!(f, "{n:.1}"),
            FactValue::Text(t) => f.write_str(t),
            FactValue::List(l) => write!(f, "{}", l.join(" ")),
        }
    }
}

/// Every fact the tree may test. An absent fact is unknown: no rule that tests it fires.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Facts(pub BTreeMap<&'static str, FactValue>);

/// Names a rule may test; a rules file that tests another is refused.
pub(super) const NAMES: &[&str] = &[
    "cpu.arch",
    "cpu.cores",
    "cpu.isa",
    "cpu.vendor",
    "evidence.measured",
    "gpu.architecture",
    "gpu.kind",
    "gpu.memory_gib",
    "gpu.vendor",
    "memory.usable_gib",
    "model.architecture",
    "model.context",
    "model.kind",
    "model.moe",
    "model.params_b",
    "npu.architecture",
    "npu.vendor",
    "platform.class",
    "platform.os",
    "platform.vendors",
    "request.context",
    "request.enterprise",
    "request.licence",
    "request.low_power",
    "request.objective",
    "request.offline",
    "request.platform",
    "request.workflow",
];

impl Facts {
    pub fn get(&self, name: &str) -> Option<&FactValue> {
        self.0.get(name)
    }

    /// Collects the facts of a device, a model and a request.
    pub fn collect(
        device: &Device,
        model: &ModelSpec,
        request: &Request,
        evidence: &Evidence,
    ) -> Self {
        let mut f = Facts::default();
        f.device(device, request);
        f.text("model.kind", kind_name(model.kind));
        f.text("model.architecture", &model.architecture);
        f.flag("model.moe", model.is_moe());
        f.number("model.params_b", model.parameters as f64 / 1e9);
        if model.context_length > 0 {
            f.number("model.context", model.context_length as f64);
        }
        f.number("request.context", request.context as f64);
        f.text("request.objective", request.objective.name());
        f.flag("request.enterprise", request.enterprise);
        f.flag("request.offline", request.offline);
        f.flag("request.low_power", request.low_power || device.limits.on_battery == Some(true));
        f.text("request.licence", if request.open_licence { "open" } else { "any" });
        if let Some(platform) = &request.platform {
            f.text("request.platform", platform);
        }
        if let Some(workflow) = request.workflow {
            let name = match workflow {
                Workflow::Prototyping => "prototyping",
                Workflow::Production => "production",
            };
            f.text("request.workflow", name);
        }
        f.flag("evidence.measured", evidence.about(&model.name));
        f
    }

    fn device(&mut self, device: &Device, request: &Request) {
        self.text("platform.os", &device.os);
        self.text("platform.class", &snake(&device.class));
        self.text("cpu.arch", &device.cpu.arch);
        self.number(
            "cpu.cores",
            f64::from(device.cpu.performance_cores + device.cpu.efficiency_cores),
        );
        self.0.insert("cpu.isa", FactValue::List(device.cpu.isa.iter().map(snake).collect()));
        let usable = device.limits.memory_available_bytes;
        let usable = request.max_memory_bytes.map_or(usable, |m| m.min(usable));
        self.number("memory.usable_gib", usable as f64 / (1u64 << 30) as f64);
        let vendors: Vec<String> =
            device.processors.iter().map(|p| vendor(&p.vendor, &p.name)).collect();
        self.0.insert("platform.vendors", FactValue::List(vendors));
        if let Some(cpu) = device.cpu_processor() {
            self.text("cpu.vendor", &vendor(&cpu.vendor, &cpu.name));
        }
        if let Some(gpu) = main_gpu(device) {
            self.text("gpu.vendor", &vendor(&gpu.vendor, &gpu.name));
            self.text("gpu.kind", &snake(&gpu.kind));
            self.text("gpu.architecture", &gpu.architecture);
            if let Some(m) = &gpu.memory_bytes {
                self.number("gpu.memory_gib", m.value as f64 / (1u64 << 30) as f64);
            }
        } else {
            self.text("gpu.kind", "none");
            self.text("gpu.vendor", "none");
        }
        if let Some(npu) = device.processors.iter().find(|p| p.kind == ProcessorKind::Npu) {
            self.text("npu.vendor", &vendor(&npu.vendor, &npu.name));
            self.text("npu.architecture", &npu.architecture);
        }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.0.insert(name, FactValue::Text(value.to_owned()));
    }
    fn number(&mut self, name: &'static str, value: f64) {
        self.0.insert(name, FactValue::Number(value));
    }
    fn flag(&mut self, name: &'static str, value: bool) {
        self.0.insert(name, FactValue::Flag(value));
    }
}

/// The GPU a user means by "the GPU": a discrete one first, the largest of them.
fn main_gpu(device: &Device) -> Option<&Processor> {
    let gpus = device
        .processors
        .iter()
        .filter(|p| matches!(p.kind, ProcessorKind::DiscreteGpu | ProcessorKind::IntegratedGpu));
    gpus.max_by_key(|p| {
        (p.kind == ProcessorKind::DiscreteGpu, p.memory_bytes.as_ref().map_or(0, |m| m.value))
    })
}

/// One spelling a vendor, whatever CPUID, PCI or a profile writes.
pub(super) fn vendor(raw: &str, name: &str) -> String {
    let text = format!("{raw} {name}").to_lowercase();
    let known = [
        ("nvidia", "NVIDIA"),
        ("genuineintel", "Intel"),
        ("intel", "Intel"),
        ("authenticamd", "AMD"),
        ("amd", "AMD"),
        ("advanced micro", "AMD"),
        ("apple", "Apple"),
        ("qualcomm", "Qualcomm"),
        ("adreno", "Qualcomm"),
        ("hexagon", "Qualcomm"),
        ("rockchip", "Rockchip"),
        ("hailo", "Hailo"),
        ("broadcom", "Broadcom"),
        ("google", "Google"),
    ];
    known
        .iter()
        .find(|(k, _)| text.contains(k))
        .map_or_else(|| raw.to_owned(), |(_, v)| (*v).to_owned())
}

/// The snake_case name an enum has in files.
pub(super) fn snake(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

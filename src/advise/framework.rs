//! The frameworks as data: where each runs, what it is worth considering there, how to install and start it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::vendor;
use crate::model::{ComputeApi, Device, ModelKind, ModelSpec, Precision, Processor, ProcessorKind};

const EMBEDDED: &str = include_str!("../../profiles/rules/frameworks.toml");

/// All frameworks that are weighed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frameworks {
    #[serde(rename = "framework")]
    pub list: Vec<Framework>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// Registry id of the backend.
    pub id: String,
    pub name: String,
    /// True where edge-advisor can run it.
    pub bench: bool,
    #[serde(default)]
    pub embedded: bool,
    #[serde(default)]
    pub proprietary: bool,
    pub kinds: Vec<ModelKind>,
    /// Architectures it can run, empty for all.
    #[serde(default)]
    pub architectures: Vec<String>,
    pub licence: String,
    pub platforms: Vec<String>,
    pub source: String,
    /// Command template: makes a precision's file that no known repository has of the original weights.
    pub convert: Option<String>,
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

/// One way to run: a kind of processor through an API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub api: ComputeApi,
    pub processors: Vec<ProcessorKind>,
    /// Vendors of the processor, empty for all.
    #[serde(default)]
    pub vendors: Vec<String>,
    /// Architecture keys of the processor, empty for all.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Operating systems, empty for the framework's.
    #[serde(default)]
    pub systems: Vec<String>,
    /// Worth considering for text generation.
    pub precisions: Vec<Precision>,
    /// Worth considering for graphs.
    #[serde(default)]
    pub graph_precisions: Vec<Precision>,
    #[serde(default)]
    pub max_context: Option<u64>,
    /// Install command by operating system, `any` for all.
    pub install: BTreeMap<String, String>,
    /// Command templates: `any` for text, `graph` for graphs.
    pub run: BTreeMap<String, String>,
}

/// Whether a framework can run on the device that is advised for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FrameworkState {
    Ready {
        version: String,
    },
    NotInstalled {
        hint: String,
    },
    Unsupported {
        reason: String,
    },
    /// The device is a profile or another host: not known.
    Unknown,
}

impl FrameworkState {
    pub fn is_ready(&self) -> bool {
        matches!(self, FrameworkState::Ready { .. })
    }
}

/// State and supported precisions by backend id, from the backends themselves. Missing: unknown.
#[derive(Debug, Clone, Default)]
pub struct States {
    pub by_id: BTreeMap<String, FrameworkState>,
    /// Precisions a backend says it can run; a framework without a backend takes its file's.
    pub precisions: BTreeMap<String, Vec<Precision>>,
}

impl States {
    pub fn of(&self, id: &str) -> FrameworkState {
        self.by_id.get(id).cloned().unwrap_or(FrameworkState::Unknown)
    }
}

impl Frameworks {
    /// The file in the binary.
    pub fn embedded() -> &'static Frameworks {
        static PARSED: std::sync::OnceLock<Frameworks> = std::sync::OnceLock::new();
        PARSED.get_or_init(|| {
            Frameworks::parse(EMBEDDED).expect("the embedded file is checked by a test")
        })
    }

    /// Reads a frameworks file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    pub fn get(&self, id: &str) -> Option<&Framework> {
        self.list.iter().find(|f| f.id == id)
    }
}

impl Framework {
    /// Why it cannot serve this model at all.
    pub(super) fn refuses(&self, model: &ModelSpec, os: &str) -> Option<String> {
        if !self.kinds.contains(&model.kind) {
            return Some(format!("does not run {} models", super::request::kind_name(model.kind)));
        }
        if !self.architectures.is_empty() && !self.architectures.contains(&model.architecture) {
            return Some(format!(
                "runs {} models only, this is {}",
                self.architectures.join(", "),
                model.architecture
            ));
        }
        if !self.platforms.iter().any(|p| p == os) {
            return Some(format!("has no build for {os}"));
        }
        None
    }
}

impl Target {
    /// Whether this way exists on a processor of the device.
    pub(super) fn applies(&self, device: &Device, p: &Processor) -> bool {
        self.processors.contains(&p.kind)
            && p.apis.contains(&self.api)
            && (self.vendors.is_empty() || self.vendors.contains(&vendor(&p.vendor, &p.name)))
            && (self.architectures.is_empty() || self.architectures.contains(&p.architecture))
            && (self.systems.is_empty() || self.systems.contains(&device.os))
    }

    pub(super) fn precisions_for(&self, kind: ModelKind) -> &[Precision] {
        match kind {
            ModelKind::Llm | ModelKind::Multimodal => &self.precisions,
            _ if !self.graph_precisions.is_empty() => &self.graph_precisions,
            _ => &self.precisions,
        }
    }

    pub(super) fn install_on(&self, os: &str) -> String {
        self.install
            .get(os)
            .or_else(|| self.install.get("any"))
            .cloned()
            .unwrap_or_else(|| format!("no packaged build for {os}: build from source"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_parses_and_every_target_can_be_installed_and_run() {
        for f in &Frameworks::embedded().list {
            assert!(!f.targets.is_empty(), "{}", f.id);
            for t in &f.targets {
                assert!(!t.install.is_empty() && !t.run.is_empty(), "{} {:?}", f.id, t.api);
                assert!(!t.precisions.is_empty() || !t.graph_precisions.is_empty(), "{}", f.id);
            }
        }
        assert!(Frameworks::embedded().get("llama.cpp").is_some());
    }
}

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
    /// Which text models it can run; all of them where nothing is said.
    pub text: Option<TextModels>,
    pub licence: String,
    pub platforms: Vec<String>,
    pub source: String,
    /// Command template: makes a precision's file that no known repository has of the original weights.
    pub convert: Option<String>,
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

/// The text models that a framework's converter or runtime knows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextModels {
    /// Where the lists are from.
    pub source: String,
    /// Architectures as GGUF writes them, empty for all.
    pub architectures: Vec<String>,
    /// Names of models that share such an architecture's name and are not known all the same, and of their variants.
    pub except: Vec<String>,
    /// Catalogue names and the framework's own, where it has recipes for single models only.
    pub models: BTreeMap<String, String>,
    /// A Python requirement by architecture, beside what the command installs.
    pub needs: BTreeMap<String, String>,
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
    /// Why it cannot serve this model at all. `named`: a real model, not one that stands for its size.
    pub(super) fn refuses(&self, model: &ModelSpec, named: bool, os: &str) -> Option<String> {
        if !self.kinds.contains(&model.kind) {
            return Some(format!("does not run {} models", super::request::kind_name(model.kind)));
        }
        if let (Some(text), true) = (&self.text, model.kind.generates()) {
            let why = text.refuses(model, named);
            if why.is_some() {
                return why;
            }
        }
        if !self.platforms.iter().any(|p| p == os) {
            return Some(format!("has no build for {os}"));
        }
        None
    }
}

impl TextModels {
    fn refuses(&self, model: &ModelSpec, named: bool) -> Option<String> {
        let architecture = &model.architecture;
        if !self.architectures.is_empty() && !self.architectures.contains(architecture) {
            return Some(format!("does not know {architecture} models ({})", self.source));
        }
        if self.except.iter().any(|e| is_variant(&model.name, e)) {
            return Some(format!("does not know this {architecture} model ({})", self.source));
        }
        if named && !self.models.is_empty() && self.own_name(&model.name).is_none() {
            return Some(format!("is not made for this model ({})", self.source));
        }
        None
    }

    /// The framework's own name of a model, by the longest catalogue name that the model's begins with.
    pub(super) fn own_name(&self, model: &str) -> Option<&str> {
        let known = self.models.iter().filter(|(name, _)| is_variant(model, name));
        known.max_by_key(|(name, _)| name.len()).map(|(_, own)| own.as_str())
    }
}

/// Whether `model` is `name` or goes on after it: `Qwen3-4B-Q4_K_M` for `qwen3-4b`, not `qwen3-4bit`.
fn is_variant(model: &str, name: &str) -> bool {
    let rest = model.get(name.len()..).filter(|_| model[..name.len()].eq_ignore_ascii_case(name));
    rest.is_some_and(|r| !r.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.'))
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
        if kind.generates() || self.graph_precisions.is_empty() {
            return &self.precisions;
        }
        &self.graph_precisions
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

    #[test]
    fn text_models_are_named_as_gguf_and_the_catalogue_name_them() {
        let names = include_str!("../../profiles/runtimes/llama.cpp-architectures.txt");
        let known: Vec<&str> = names.lines().collect();
        let catalogue = crate::catalog::Catalog::load_with(None).unwrap();
        for text in Frameworks::embedded().list.iter().filter_map(|f| f.text.as_ref()) {
            assert!(!text.source.is_empty());
            for a in &text.architectures {
                assert!(known.contains(&a.as_str()), "{a}: {}", text.source);
            }
            for a in text.needs.keys() {
                assert!(text.architectures.contains(a), "{a}: {}", text.source);
            }
            for m in text.models.keys() {
                assert!(catalogue.get(m).is_ok(), "{m}: {}", text.source);
            }
            for e in &text.except {
                assert!(
                    catalogue.entries().iter().any(|c| is_variant(&c.name, e)),
                    "{e}: {}",
                    text.source
                );
            }
        }
    }

    #[test]
    fn a_variant_goes_on_after_the_name() {
        assert!(
            is_variant("Qwen3-4B-Instruct-Q4_K_M", "qwen3-4b")
                && is_variant("qwen3-4b", "qwen3-4b")
        );
        for other in ["qwen3-4bit", "qwen3", "qwen3-14b", "qwen3.5-4b", "é"] {
            assert!(
                !is_variant(other, "qwen3-4b") && !is_variant("qwen3.5-4b", "qwen3"),
                "{other}"
            );
        }
    }
}

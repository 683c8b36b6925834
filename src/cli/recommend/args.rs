//! The arguments of `recommend`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::advise::{Objective, Request, Workflow};
use crate::cli::profiles::positive;
use crate::cli::size;
use crate::model::ModelKind;
use crate::predict::KvPrecision;

/// Advise which framework and precision to run, with reasons, numbers and commands.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  edge-advisor recommend                          the best model for this device, and how to run it
  edge-advisor recommend qwen3-4b --explain       why this framework and precision
  edge-advisor recommend model.gguf --context 16384 --kv q8_0
  edge-advisor recommend qwen3-0.6b --verify      measure the best three here before deciding
  edge-advisor recommend llama-3.1-8b --device rpi-5 --ram 8
  edge-advisor recommend --params 7B --arch llama --max-memory 6GiB --min-decode-tok-s 5")]
pub struct RecommendArgs {
    /// Catalogue name or path of a GGUF file; without it the catalogue is judged.
    pub model: Option<String>,
    /// A model by its size instead of its name: 7B, 350M.
    #[arg(long, value_name = "N", value_parser = parameters, conflicts_with = "model")]
    pub params: Option<u64>,
    /// Architecture of a model given by --params.
    #[arg(long, default_value = "llama", requires = "params")]
    pub arch: String,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Memory the model may use: 6GiB, 800MB (a bare number is GiB).
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub max_memory: Option<u64>,
    /// Storage the model may use.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub max_disk: Option<u64>,
    /// Slowest acceptable generation, tokens a second.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub min_decode_tok_s: Option<f64>,
    /// Longest acceptable time to the first token, seconds.
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub max_ttft: Option<f64>,
    /// Tokens that must fit into the context.
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub context: u64,
    /// Prompt tokens of the prefill and first-token figures.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub prompt: u32,
    /// Least quality, percent of the 16-bit model's.
    #[arg(long, value_name = "PERCENT", value_parser = positive)]
    pub min_quality: Option<f64>,
    /// What matters most.
    #[arg(long, value_enum, default_value_t)]
    pub objective: ObjectiveArg,
    /// What the model is for; needed only without MODEL.
    #[arg(long, value_enum)]
    pub workload: Option<WorkloadArg>,
    #[arg(long, value_enum)]
    pub workflow: Option<WorkflowArg>,
    /// System to advise for, or `cross` where one build must run on several.
    #[arg(long, value_enum)]
    pub platform: Option<PlatformArg>,
    /// Vendor support and managed deployment matter.
    #[arg(long)]
    pub enterprise: bool,
    /// Nothing can be installed: only what is here.
    #[arg(long)]
    pub offline: bool,
    /// `open` leaves out proprietary runtimes.
    #[arg(long, value_enum)]
    pub licence: Option<LicenceArg>,
    /// Spend less energy even if it is slower.
    #[arg(long)]
    pub low_power: bool,
    /// Type of the KV cache: f16, q8_0, q4_0.
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = kv)]
    pub kv: KvPrecision,
    /// CPU threads; one a fast core without it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Only this framework (registry id).
    #[arg(long, value_name = "ID")]
    pub framework: Option<String>,
    /// Measure the best N here first, quickly (a model that is not here by its shape), then decide; a pick that this
    /// changes is measured too.
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "3",
        conflicts_with_all = ["profile", "from", "params"],
        value_parser = clap::value_parser!(u32).range(1..=20)
    )]
    pub verify: Option<u32>,
    /// Show every step of the decision with the facts it used.
    #[arg(long)]
    pub explain: bool,
    /// Directory of runs whose measurements on this device count as evidence.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub evidence: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Advise for a device profile instead of this machine.
    #[arg(long = "device", value_name = "ID", conflicts_with = "from")]
    pub profile: Option<String>,
    /// Advise for a recorded host (made by `probe --capture`).
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
    /// Memory of the profile's device in GiB.
    #[arg(long, value_name = "GIB", value_parser = positive, requires = "profile")]
    pub ram: Option<f64>,
    /// Memory bandwidth in GB/s, where you know it better.
    #[arg(long, value_name = "GB/S", value_parser = positive)]
    pub bandwidth: Option<f64>,
    /// Directory of profiles that add to or override the built-in ones.
    #[arg(long, value_name = "DIR", env = "EDGE_ADVISOR_PROFILES")]
    pub profiles: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveArg {
    Speed,
    Quality,
    Memory,
    Energy,
    #[default]
    Balanced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorkloadArg {
    Llm,
    Embedding,
    Vision,
    Speech,
    Multimodal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorkflowArg {
    Prototyping,
    Production,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlatformArg {
    Linux,
    Windows,
    Macos,
    Android,
    Ios,
    Cross,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LicenceArg {
    Any,
    Open,
}

impl PlatformArg {
    pub fn name(self) -> &'static str {
        match self {
            PlatformArg::Linux => "linux",
            PlatformArg::Windows => "windows",
            PlatformArg::Macos => "macos",
            PlatformArg::Android => "android",
            PlatformArg::Ios => "ios",
            PlatformArg::Cross => "cross",
        }
    }
}

impl From<WorkloadArg> for ModelKind {
    fn from(w: WorkloadArg) -> Self {
        match w {
            WorkloadArg::Llm => ModelKind::Llm,
            WorkloadArg::Embedding => ModelKind::Embedding,
            WorkloadArg::Vision => ModelKind::Vision,
            WorkloadArg::Speech => ModelKind::Speech,
            WorkloadArg::Multimodal => ModelKind::Multimodal,
        }
    }
}

impl RecommendArgs {
    /// The constraints as the engine takes them.
    pub fn request(&self) -> Request {
        Request {
            workload: self.workload.map(Into::into),
            objective: match self.objective {
                ObjectiveArg::Speed => Objective::Speed,
                ObjectiveArg::Quality => Objective::Quality,
                ObjectiveArg::Memory => Objective::Memory,
                ObjectiveArg::Energy => Objective::Energy,
                ObjectiveArg::Balanced => Objective::Balanced,
            },
            context: self.context,
            prompt: self.prompt,
            max_memory_bytes: self.max_memory,
            max_disk_bytes: self.max_disk,
            min_decode_tok_s: self.min_decode_tok_s,
            max_ttft_s: self.max_ttft,
            min_quality: self.min_quality,
            workflow: self.workflow.map(|w| match w {
                WorkflowArg::Prototyping => Workflow::Prototyping,
                WorkflowArg::Production => Workflow::Production,
            }),
            platform: self.platform.map(|p| p.name().to_owned()),
            enterprise: self.enterprise,
            offline: self.offline,
            open_licence: self.licence == Some(LicenceArg::Open),
            low_power: self.low_power,
            kv: self.kv,
            threads: self.threads,
            framework: self.framework.clone(),
        }
    }
}

/// As [`size::parse`], but a bare number is GiB, and zero is no limit to advise for.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let bare = text.trim().parse::<f64>().is_ok();
    let bytes = if bare { size::parse(&format!("{text}GiB")) } else { size::parse(text) }?;
    if bytes == 0 { Err(format!("`{text}` is out of range")) } else { Ok(bytes) }
}

/// `7B`, `1.7b`, `350M`, or a plain count.
fn parameters(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_lowercase();
    let (number, scale) = match lower.strip_suffix('b') {
        Some(n) => (n, 1e9),
        None => lower.strip_suffix('m').map_or((lower.as_str(), 1.0), |n| (n, 1e6)),
    };
    match number.parse::<f64>() {
        Ok(v) if (1e6..=1e13).contains(&(v * scale)) => Ok((v * scale) as u64),
        _ => Err(format!("`{text}` is no model size; write 7B or 350M")),
    }
}

fn kv(text: &str) -> Result<KvPrecision, String> {
    text.parse::<KvPrecision>().map_err(|e| {
        let all: Vec<&str> = KvPrecision::ALL.iter().map(|k| k.name()).collect();
        format!("{e}; one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_parameter_counts_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("6GiB"), Ok(6 << 30));
        assert_eq!(parse_bytes("800MB"), Ok(800_000_000));
        assert_eq!(parse_bytes("2"), Ok(2 << 30));
        assert!(parse_bytes("-1").is_err() && parse_bytes("6 parsecs").is_err());
        assert_eq!(parameters("7B"), Ok(7_000_000_000));
        assert_eq!(parameters("350m"), Ok(350_000_000));
        assert!(parameters("nan").is_err() && parameters("0").is_err());
    }
}

//! The part tables of `profiles/parts/`: ids to names and published figures, each with its source.

use std::sync::OnceLock;

use serde::Deserialize;

use super::host::Host;
use super::{apple, parse};
use crate::model::Source;

macro_rules! table {
    ($function:ident, $type:ty, $file:literal) => {
        fn $function() -> &'static $type {
            static TABLE: OnceLock<$type> = OnceLock::new();
            TABLE.get_or_init(|| {
                // Embedded at build time and covered by a test, so it parses.
                toml::from_str(include_str!(concat!("../../profiles/parts/", $file)))
                    .unwrap_or_else(|e| panic!("embedded {}: {e}", $file))
            })
        }
    };
}

table!(cpus, Cpus, "cpu.toml");
table!(socs, Socs, "soc.toml");
table!(gpus, Gpus, "gpu.toml");
table!(npus, Npus, "npu.toml");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CoreClass {
    Performance,
    Efficiency,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cpus {
    x86: Vec<X86>,
    arm_vendor: Vec<ArmVendor>,
    arm: Vec<ArmCore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct X86 {
    vendor: String,
    family: u32,
    /// Inclusive ranges.
    models: Vec<(u32, u32)>,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmVendor {
    implementer: u64,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArmCore {
    pub implementer: u64,
    pub part: u64,
    pub name: String,
    pub class: Option<CoreClass>,
}

/// Microarchitecture of a vendor, family and model.
pub(crate) fn x86(vendor: &str, family: u32, model: u32) -> Option<&'static str> {
    let here = |x: &&X86| {
        x.vendor == vendor
            && x.family == family
            && x.models.iter().any(|&(a, b)| (a..=b).contains(&model))
    };
    cpus().x86.iter().find(here).map(|x| x.name.as_str())
}

pub(crate) fn arm_vendor(implementer: u64) -> Option<&'static str> {
    cpus().arm_vendor.iter().find(|v| v.implementer == implementer).map(|v| v.name.as_str())
}

pub(crate) fn arm_core(implementer: u64, part: u64) -> Option<&'static ArmCore> {
    cpus().arm.iter().find(|c| c.implementer == implementer && c.part == part)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Socs {
    soc: Vec<Soc>,
}

/// A system on chip and the blocks in it that a driver may not report.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Soc {
    pub name: String,
    pub vendor: String,
    /// Device-tree strings, any of which identifies it.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Android's `ro.soc.model`, Qualcomm part numbers, macOS brand strings.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub gpu: Option<String>,
    #[serde(default)]
    pub gpu_architecture: Option<String>,
    #[serde(default)]
    pub gpu_fp32_tflops: Option<f64>,
    /// Builds of the chip that differ in GPU cores.
    #[serde(default)]
    pub gpu_variants: Vec<GpuVariant>,
    #[serde(default)]
    pub npu: Option<String>,
    #[serde(default)]
    pub npu_generation: Option<String>,
    #[serde(default)]
    pub npu_int8_tops: Option<f64>,
    #[serde(default)]
    pub bandwidth_gbs: Option<f64>,
    pub source: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GpuVariant {
    pub cores: u32,
    pub bandwidth_gbs: f64,
    #[serde(default)]
    pub fp32_tflops: Option<f64>,
}

/// A SoC of the table and how this host named it.
pub(crate) struct FoundSoc {
    pub part: &'static Soc,
    pub identified_by: Source,
}

impl std::ops::Deref for FoundSoc {
    type Target = Soc;
    fn deref(&self) -> &Soc {
        self.part
    }
}

/// The SoC by device tree, soc0, Android properties or macOS' brand string.
pub(crate) fn soc_of(host: &dyn Host) -> Option<FoundSoc> {
    let found = |part, by: &str| {
        Some(FoundSoc { part, identified_by: Source::Reported { by: by.to_owned() } })
    };
    let table = &socs().soc;
    let path = "/proc/device-tree/compatible";
    for name in host.strings(path) {
        if let Some(part) = table.iter().find(|s| s.compatible.contains(&name)) {
            return found(part, path);
        }
    }
    let by_model = |text: &str| {
        let text = parse::clean(text);
        table.iter().find(|s| s.models.iter().any(|m| m.eq_ignore_ascii_case(&text)))
    };
    if host.os() == "macos" {
        let text = apple::sysctl_text(host)?;
        let brand = parse::sysctl(&text, "machdep.cpu.brand_string")?;
        return found(by_model(brand)?, "sysctl machdep.cpu.brand_string");
    }
    let path = "/sys/devices/soc0/machine";
    if let Some(part) = host.text(path).and_then(|t| by_model(&t)) {
        return found(part, path);
    }
    if host.os() == "android" || host.env("ANDROID_ROOT").is_some() {
        for key in ["ro.soc.model", "ro.board.platform"] {
            let part = host.command("getprop", &[key]).ok().and_then(|t| by_model(&t));
            if let Some(part) = part {
                return found(part, &format!("getprop {key}"));
            }
        }
    }
    None
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gpus {
    pci: Vec<GpuPart>,
    architecture: Vec<GpuArchitecture>,
}

/// A PCI display device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GpuPart {
    /// `vvvv:dddd`; several where steppings share a name.
    pub ids: Vec<String>,
    /// PCI revisions; empty for any.
    #[serde(default)]
    pub revisions: Vec<u32>,
    pub name: String,
    #[serde(default)]
    pub architecture: Option<String>,
    pub integrated: bool,
    #[serde(default)]
    pub laptop: bool,
    #[serde(default)]
    pub memory_gb: Option<f64>,
    #[serde(default)]
    pub bandwidth_gbs: Option<f64>,
    #[serde(default)]
    pub fp32_tflops: Option<f64>,
    #[serde(default)]
    pub fp16_tflops: Option<f64>,
    pub source: String,
}

/// CUDA compute capability to architecture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuArchitecture {
    capability: String,
    name: String,
}

pub(crate) fn gpu(pci_id: &str, revision: Option<u32>) -> Option<&'static GpuPart> {
    let table = &gpus().pci;
    let by_id = |g: &&GpuPart| g.ids.iter().any(|i| i == pci_id);
    let exact = |g: &&GpuPart| revision.is_some_and(|r| g.revisions.contains(&r));
    table
        .iter()
        .find(|g| by_id(g) && exact(g))
        .or_else(|| table.iter().find(|g| by_id(g) && g.revisions.is_empty()))
}

pub(crate) fn cuda_architecture(capability: &str) -> Option<&'static str> {
    gpus().architecture.iter().find(|a| a.capability == capability).map(|a| a.name.as_str())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Npus {
    npu: Vec<NpuPart>,
}

/// An NPU known by PCI id (and revision) or device-tree string.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NpuPart {
    pub ids: Vec<String>,
    /// PCI revisions; empty for any.
    #[serde(default)]
    pub revisions: Vec<u32>,
    pub vendor: String,
    pub name: String,
    pub generation: String,
    pub drivers: Vec<String>,
    #[serde(default)]
    pub int8_tops: Option<f64>,
    pub apis: Vec<crate::model::ComputeApi>,
    pub source: String,
}

pub(crate) fn npu(id: &str, revision: Option<u32>) -> Option<&'static NpuPart> {
    let by_id = |n: &&NpuPart| n.ids.iter().any(|i| i == id);
    let exact = |n: &&NpuPart| revision.is_some_and(|r| n.revisions.contains(&r));
    let table = &npus().npu;
    table
        .iter()
        .find(|n| by_id(n) && exact(n))
        .or_else(|| table.iter().find(|n| by_id(n) && n.revisions.is_empty()))
}

/// Platform drivers under which an NPU may sit, each once.
pub(crate) fn npu_drivers() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        npus().npu.iter().flat_map(|n| n.drivers.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_parses_and_every_row_has_a_source() {
        assert!(!cpus().x86.is_empty() && !cpus().arm.is_empty() && !cpus().arm_vendor.is_empty());
        assert!(socs().soc.iter().all(|s| !s.source.is_empty() && !s.vendor.is_empty()));
        assert!(gpus().pci.iter().all(|g| !g.source.is_empty()));
        assert!(npus().npu.iter().all(|n| !n.source.is_empty()));
    }

    #[test]
    fn no_two_rows_claim_the_same_part() {
        let mut seen = std::collections::BTreeSet::new();
        for g in &gpus().pci {
            let revisions: Vec<Option<u32>> = match &g.revisions[..] {
                [] => vec![None],
                some => some.iter().copied().map(Some).collect(),
            };
            for id in &g.ids {
                for r in &revisions {
                    assert!(seen.insert((id.clone(), *r)), "{id} {r:?}");
                }
            }
        }
    }

    #[test]
    fn revisions_tell_boards_of_one_id_apart() {
        assert_eq!(gpu("1002:744c", Some(0xc8)).unwrap().name, "Radeon RX 7900 XTX");
        assert!(gpu("1002:744c", Some(0x77)).unwrap().bandwidth_gbs.is_none());
    }
}

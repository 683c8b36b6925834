//! The published decode formulas of other advisors, for comparison on the same rows. Neither predicts prefill.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::observation::{Observation, Task};
use super::rows::RawRow;
use super::settings::Settings;

/// Their constants, with source, in the settings file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peers {
    llmfit_efficiency: f64,
    llmfit_cpu: f64,
    llmfit_default: Llmfit,
    whichllm_default: f64,
    whichllm_cpu: f64,
    whichllm_vendor: BTreeMap<String, f64>,
    whichllm_vendor_default: f64,
    whichllm_moe: MoeRead,
    quant: Vec<PeerQuant>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Llmfit {
    bytes: f64,
    speed: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoeRead {
    reference_gbs: f64,
    floor: f64,
    cap: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerQuant {
    prefixes: Vec<String>,
    llmfit: Llmfit,
    whichllm: f64,
}

/// Decode speeds by tool.
pub(super) fn predict(row: &RawRow, o: &Observation) -> Vec<(&'static str, f64)> {
    if o.task == Task::Prefill {
        return Vec::new();
    }
    let peers = &Settings::embedded().peers;
    let q = row.quant.to_ascii_lowercase();
    let known = peers.quant.iter().find(|k| k.prefixes.iter().any(|p| q.starts_with(p)));
    let llmfit = known.map_or(peers.llmfit_default, |k| k.llmfit);
    let whichllm = known.map_or(peers.whichllm_default, |k| k.whichllm);
    vec![("llmfit", peers.llmfit(llmfit, o)), ("whichllm", peers.whichllm(whichllm, o))]
}

impl Peers {
    fn llmfit(&self, q: Llmfit, o: &Observation) -> f64 {
        if o.backend == "cpu" {
            self.llmfit_cpu / o.billions * q.speed
        } else {
            o.bandwidth_gbs / (o.active_billions * q.bytes) * self.llmfit_efficiency
        }
    }

    fn whichllm(&self, efficiency: f64, o: &Observation) -> f64 {
        if o.backend == "cpu" {
            let speed = self.whichllm_cpu / o.active_billions.max(0.5);
            return (speed * efficiency / self.whichllm_default).max(0.3);
        }
        let vendor = self.whichllm_vendor.get(&o.vendor).unwrap_or(&self.whichllm_vendor_default);
        let moe = &self.whichllm_moe;
        let floor = (moe.floor * (o.bandwidth_gbs / moe.reference_gbs).max(1.0)).min(moe.cap);
        let ratio = o.active_billions / o.billions;
        let read = if ratio < 1.0 { ratio.max(floor) } else { 1.0 };
        o.bandwidth_gbs * 1e9 / (o.weight_bytes * read) * efficiency * vendor
    }
}

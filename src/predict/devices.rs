//! Published device specifications by id, as the public rows refer to them.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::model::ProcessorKind;
use crate::profile::Library;

const EMBEDDED: &str = include_str!("../../data/devices.csv");
const SUPPLEMENT: &str = include_str!("../../data/device_supplement.csv");

/// What the predictor takes from a specification.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DeviceSpec {
    pub vendor: String,
    pub class: String,
    pub gpu_kind: String,
    pub isa: Vec<String>,
    pub cores: Option<f64>,
    pub bandwidth_gbs: Option<f64>,
    pub gpu_bandwidth_gbs: Option<f64>,
    /// Memory of its own that a GPU has.
    pub card_gib: Option<f64>,
    pub fp32_tflops: Option<f64>,
    pub fp16_tflops: Option<f64>,
    pub matrix_tflops: Option<f64>,
    pub cpu_tflops: Option<f64>,
    /// Of the GPU, from the device's profile, as the CPU's rate is.
    pub architecture: String,
}

pub(super) type DeviceTable = HashMap<String, DeviceSpec>;

#[derive(Deserialize)]
struct Line {
    device_id: String,
    vendor: String,
    class: String,
    #[serde(rename = "cpu_cores(perf+eff)")]
    cores: String,
    isa_features: String,
    mem_bandwidth_gbs: String,
    gpu_kind: String,
    gpu_bandwidth_gbs: String,
    #[serde(rename = "gpu_mem_gb(or unified)")]
    gpu_memory_gb: String,
    gpu_fp16_tflops: String,
    gpu_fp32_tflops: String,
    gpu_fp16_tensor_tflops_derived: String,
}

/// Figures that follow from what a source names (a memory type, core counts, unit counts); each replaces the table's.
#[derive(Deserialize)]
struct Extra {
    device_id: String,
    bandwidth_gbs: Option<f64>,
    fp32_tflops: Option<f64>,
    matrix_tflops: Option<f64>,
    cores: Option<f64>,
}

/// The table in the binary.
pub(super) fn embedded() -> &'static DeviceTable {
    static TABLE: OnceLock<DeviceTable> = OnceLock::new();
    TABLE.get_or_init(|| parse(EMBEDDED.as_bytes()).expect("embedded devices, read by a test"))
}

/// Reads a table with the columns of `data/devices.csv` and completes it from the supplement.
pub(super) fn parse(bytes: &[u8]) -> Result<DeviceTable, csv::Error> {
    let mut table = DeviceTable::new();
    for line in csv::Reader::from_reader(bytes).deserialize() {
        let l: Line = line?;
        table.insert(
            l.device_id,
            DeviceSpec {
                vendor: l.vendor.to_ascii_lowercase(),
                class: l.class,
                gpu_kind: l.gpu_kind,
                isa: isa(&l.isa_features),
                cores: core_sum(&l.cores),
                bandwidth_gbs: number(&l.mem_bandwidth_gbs),
                gpu_bandwidth_gbs: number(&l.gpu_bandwidth_gbs),
                card_gib: number(&l.gpu_memory_gb),
                fp32_tflops: number(&l.gpu_fp32_tflops),
                fp16_tflops: number(&l.gpu_fp16_tflops),
                matrix_tflops: number(&l.gpu_fp16_tensor_tflops_derived),
                cpu_tflops: None,
                architecture: String::new(),
            },
        );
    }
    for line in csv::Reader::from_reader(SUPPLEMENT.as_bytes()).deserialize() {
        let e: Extra = line?;
        if let Some(d) = table.get_mut(&e.device_id) {
            d.bandwidth_gbs = e.bandwidth_gbs.or(d.bandwidth_gbs);
            d.fp32_tflops = e.fp32_tflops.or(d.fp32_tflops);
            d.matrix_tflops = e.matrix_tflops.or(d.matrix_tflops);
            d.cores = e.cores.or(d.cores);
        }
    }
    for profile in Library::new(None).all().expect("embedded profiles, read by a test") {
        let Some(d) = table.get_mut(&profile.id) else { continue };
        d.cpu_tflops = profile.cpu.as_ref().and_then(|c| c.fp32_tflops);
        let gpu = profile.processors.iter().find(|p| p.kind != ProcessorKind::Npu);
        d.architecture = gpu.map(|g| g.architecture.clone()).unwrap_or_default();
    }
    Ok(table)
}

/// A positive finite number at the start of a cell (`45-80 (sources disagree)` gives 45).
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let end = cell.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(cell.len());
    cell[..end].parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0)
}

/// `2+2+4` is 8 cores.
fn core_sum(cell: &str) -> Option<f64> {
    let sum: f64 = cell.split('+').filter_map(number).sum();
    (sum > 0.0).then_some(sum)
}

/// Only the extensions that change inference kernels.
fn isa(cell: &str) -> Vec<String> {
    let known =
        ["avx2", "avx512", "avx512vnni", "avxvnni", "avx512bf16", "dotprod", "i8mm", "neon", "sve"];
    let words = cell.to_ascii_lowercase();
    let mut found: Vec<String> = words
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| known.contains(w))
        .map(str::to_owned)
        .collect();
    found.dedup();
    found
}

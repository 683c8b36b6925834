//! What `--measure` found: real rates with their spread, kept with the fingerprint they belong to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::ProcessorKind;

/// A repeated measurement: the best repetition and how far the middle one lies below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rate {
    /// Best repetition: other programs only ever make it slower.
    pub best: f64,
    pub median: f64,
    /// (best - median) / best; a large one says that something interfered.
    pub spread: f64,
    pub repetitions: u32,
}

/// Bandwidth of one kernel at one working-set size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BandwidthPoint {
    /// `read`, `copy`, `triad`.
    pub kernel: String,
    /// Instruction set of the loop that was fastest.
    #[serde(default)]
    pub isa: String,
    pub threads: u32,
    /// Bytes touched by all threads together.
    pub bytes: u64,
    /// GB/s (10^9), counted as STREAM counts: bytes the kernel names, without write-allocate traffic.
    pub gbs: Rate,
}

/// Arithmetic rate of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComputePoint {
    /// `f32`, `int8_dot`, `bf16_dot`, `f16`.
    pub kind: String,
    /// Instruction set of the kernel that ran: `avx2+fma`, `avx512-vnni`, `neon`.
    pub kernel: String,
    pub threads: u32,
    /// TFLOP/s or TOP/s; a multiply-add counts as two.
    pub tera: Rate,
    /// What clock x units allow, where both are known.
    #[serde(default)]
    pub ceiling: Option<f64>,
}

impl Rate {
    /// Of repetitions, in any order; all zero where there are none.
    pub fn of(mut rates: Vec<f64>) -> Self {
        rates.sort_by(f64::total_cmp);
        let Some(&best) = rates.last() else { return Rate::default() };
        let median = rates[rates.len() / 2];
        let spread = if best > 0.0 { (best - median) / best } else { 0.0 };
        Rate { best, median, spread, repetitions: rates.len() as u32 }
    }
}

/// What a framework gets out of a GPU or NPU on a wide 16-bit decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AcceleratorPoint {
    pub framework: String,
    /// The framework's id of the device.
    pub device: String,
    pub name: String,
    pub kind: ProcessorKind,
    /// Weights read while decoding, GB/s (10^9).
    pub read_gbs: Option<Rate>,
    /// Prompt processing in TFLOP/s; a multiply-add counts as two, attention is not counted.
    pub f16_tflops: Option<Rate>,
    /// Directory of the run's record, which holds the samples.
    pub run: String,
    /// Why there is no rate, empty otherwise.
    pub problem: String,
}

/// All measurements of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Measured {
    /// RFC 3339, UTC.
    pub when: String,
    /// Version of edge-advisor that measured.
    pub version: String,
    pub fingerprint: String,
    pub bandwidth: Vec<BandwidthPoint>,
    pub compute: Vec<ComputePoint>,
    pub accelerators: Vec<AcceleratorPoint>,
    /// Sequential read of a file that is not in the page cache, GB/s; `None` where the cache could not be dropped.
    pub disk_gbs: Option<Rate>,
    /// Core clock under this load in GHz, from a chain of dependent additions.
    pub clock_ghz: Option<Rate>,
    /// CPUs that other programs kept busy meanwhile, where the host tells.
    pub foreign_cpus: Option<f64>,
    /// What made a number doubtful: load, throttling, a ceiling that was passed.
    pub notes: Vec<String>,
}

/// Foreign load, in CPUs, above which rates are lower bounds.
const BUSY: f64 = 0.25;

impl Measured {
    /// False where other programs took part of what was measured: the rates are then lower bounds.
    pub fn quiet(&self) -> bool {
        self.foreign_cpus.is_none_or(|f| f <= BUSY)
    }

    /// Best RAM rate of a kernel: the largest working set, over all thread counts.
    pub fn ram_gbs(&self, kernel: &str) -> Option<&BandwidthPoint> {
        let largest =
            self.bandwidth.iter().filter(|p| p.kernel == kernel).map(|p| p.bytes).max()?;
        self.bandwidth
            .iter()
            .filter(|p| p.kernel == kernel && p.bytes == largest)
            .max_by(|a, b| a.gbs.best.total_cmp(&b.gbs.best))
    }

    /// Best RAM rate of any kernel, GB/s: what disturbs one only ever makes it slower, and all share one memory.
    pub fn best_ram_gbs(&self) -> Option<f64> {
        let kernels: BTreeSet<&str> = self.bandwidth.iter().map(|p| p.kernel.as_str()).collect();
        let best = kernels.into_iter().filter_map(|k| Some(self.ram_gbs(k)?.gbs.best));
        best.max_by(f64::total_cmp)
    }

    /// Best rate of a kind of arithmetic.
    pub fn tera(&self, kind: &str) -> Option<&ComputePoint> {
        let all = self.compute.iter().filter(|p| p.kind == kind);
        all.max_by(|a, b| a.tera.best.total_cmp(&b.tera.best))
    }
}

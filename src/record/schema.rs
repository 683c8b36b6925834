//! The on-disk schema. Old versions stay readable; a newer one is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{
    Case, CaseOutcome, Cooldown, Device, EnergyFacts, Finding, FindingKind, HeatPoint, HostState,
    Metric, Protocol, Variant,
};
use crate::suite::Suite;

/// Version written by this build.
pub const SCHEMA_VERSION: u32 = 1;

/// How this binary was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    pub version: String,
    /// `release` or `debug`.
    pub profile: String,
    pub target: String,
    /// Target features compiled in unconditionally; more is chosen at run time.
    pub compiled_isa: Vec<String>,
}

impl BuildInfo {
    /// This very binary.
    pub fn current() -> Self {
        macro_rules! compiled {
            ($($feature:literal)*) => {
                [$(($feature, cfg!(target_feature = $feature))),*]
            };
        }
        let features = compiled!("sse2" "sse4.2" "avx" "avx2" "fma" "f16c" "avx512f" "avx512vnni" "neon" "dotprod" "i8mm");
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            compiled_isa: features
                .iter()
                .filter(|(_, on)| *on)
                .map(|(f, _)| (*f).to_owned())
                .collect(),
        }
    }
}

/// First line of a record: everything that holds for all its cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub schema_version: u32,
    /// `YYYYMMDD-HHMMSS-<suite>-<6 hex>`.
    pub run_id: String,
    /// RFC 3339, UTC.
    pub created: String,
    pub build: BuildInfo,
    /// The command line as given.
    pub command: Vec<String>,
    pub suite: String,
    /// Seed of the case order and of every resampling.
    pub seed: u64,
    /// True for `--quick` runs: said so in every report.
    pub quick: bool,
    pub protocol: Protocol,
    pub device: Device,
    /// The whole probe report, for readers; code uses `device`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub probe: serde_json::Value,
    /// Free labels (`git=abc123`, `side=head`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The suite as it was run, so that the run can be resumed and repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Suite>,
}

/// One metric's raw values within one process run. Summaries are always derived from these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub metric: Metric,
    /// Warm-up values: kept, labelled, never counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "lossless")]
    pub warmup: Vec<f64>,
    #[serde(with = "lossless")]
    pub samples: Vec<f64>,
}

/// What an opened session says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionFacts {
    /// Library or engine version that really ran.
    pub version: String,
    /// Kernel set that ran (`avx2`, `avx512-vnni`, `scalar`), as the engine reports or we know it.
    pub kernel: String,
    /// What was measured: `library`, `tool`, `server`.
    pub path: String,
    /// Operators or layers per device, e.g. `cpu: 211`.
    pub placement: BTreeMap<String, u64>,
    pub weight_bytes: Option<u64>,
    /// Share of the weights that one decoded token reads: active experts only, one row of an input embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_share: Option<f64>,
    pub kv_cache_bytes: Option<u64>,
    pub compute_buffer_bytes: Option<u64>,
    pub device_memory_bytes: Option<u64>,
    /// Settings in force that change results (`INFERENCE_PRECISION_HINT=bf16`).
    pub settings: BTreeMap<String, String>,
    /// Processes of the engine beside the worker, to be counted into memory and CPU time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub child_pids: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// One case in one process run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    pub case: Case,
    /// Which repetition of the case: each is a process of its own, the unit of comparison.
    #[serde(default)]
    pub run: u32,
    /// Position in the executed order.
    pub order: u32,
    /// The file that was opened; `None` where none could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    #[serde(flatten)]
    pub outcome: CaseOutcome,
    #[serde(default)]
    pub series: Vec<Series>,
    #[serde(default)]
    pub session: SessionFacts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    pub started: String,
    pub wall_s: f64,
    #[serde(default)]
    pub host_before: HostState,
    #[serde(default)]
    pub host_after: HostState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Cooldown>,
    /// The start and the end of the measured part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heat: Vec<HeatPoint>,
    /// Raw points of the sustained measurement, where one was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sustained: Vec<HeatPoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyFacts>,
    /// Last lines the worker wrote to stderr, kept where the case did not complete.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
}

impl CaseRecord {
    /// The first process run of a case, with nothing measured yet.
    pub fn new(case: Case, started: String) -> Self {
        Self {
            case,
            run: 0,
            order: 0,
            variant: None,
            outcome: CaseOutcome::Completed,
            series: Vec::new(),
            session: SessionFacts::default(),
            findings: Vec::new(),
            started,
            wall_s: 0.0,
            host_before: HostState::default(),
            host_after: HostState::default(),
            cooldown: None,
            heat: Vec::new(),
            sustained: Vec::new(),
            energy: None,
            stderr_tail: String::new(),
        }
    }

    pub fn series(&self, metric: Metric) -> Option<&Series> {
        self.series.iter().find(|s| s.metric == metric)
    }

    /// True where a simulator stood in for the processor.
    pub fn is_simulated(&self) -> bool {
        self.has(FindingKind::Simulated)
    }

    /// True where the case or its engine found that.
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().chain(&self.session.findings).any(|f| f.kind == kind)
    }

    /// A simulator's answers count; its times and memory do not, whoever recorded them.
    pub(crate) fn drop_simulated_speed(&mut self) {
        if self.is_simulated() {
            self.series.retain(|s| s.metric.is_quality());
            self.sustained.clear();
            self.energy = None;
        }
    }

    /// The run's counted samples of a metric, empty where it was not measured.
    pub fn samples(&self, metric: Metric) -> &[f64] {
        self.series(metric).map_or(&[], |s| s.samples.as_slice())
    }
}

/// Last line of a run that ended in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    pub finished: String,
    /// True where the user stopped the run.
    #[serde(default)]
    pub interrupted: bool,
    /// Host noise before and after the run, as a fraction (see `probe::host_noise`).
    #[serde(default)]
    pub noise_before: Option<f64>,
    #[serde(default)]
    pub noise_after: Option<f64>,
}

/// JSON has no NaN or infinity: they are written as `null` and read back as NaN, never dropped.
mod lossless {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(v: &[f64], s: S) -> Result<S::Ok, S::Error> {
        v.iter().map(|x| x.is_finite().then_some(*x)).collect::<Vec<_>>().serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
        let v = Vec::<Option<f64>>::deserialize(d)?;
        Ok(v.into_iter().map(|x| x.unwrap_or(f64::NAN)).collect())
    }
}

//! What a report shows, as plain data. Every renderer reads this and nothing else, and the JSON report is it.

use std::collections::BTreeMap;

use serde::Serialize;

/// Name and version of the JSON report's schema (`docs/schemas/report.schema.json`).
pub const REPORT_SCHEMA: &str = "edge-advisor.report/1";

/// A whole report, derived from one or more records.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct View {
    pub schema: String,
    pub title: String,
    /// Three sentences: what is best here, how the field's claims fared, how far to trust it.
    pub verdict: Vec<String>,
    /// One entry a record, or a device where records were merged.
    pub runs: Vec<RunView>,
    /// One row a framework x quantization, in table order; frameworks with no case here come last.
    pub headline: Vec<HeadlineRow>,
    pub cases: Vec<CaseView>,
    pub quantizations: Vec<QuantRow>,
    pub findings: Vec<FindingView>,
    /// Differences between runs or devices; empty for a single one.
    pub side_by_side: Vec<SideRow>,
    pub frameworks: Vec<FrameworkView>,
    /// Requirement titles, in the order of [`FrameworkView::ratings`].
    pub requirements: Vec<String>,
    pub platforms: Vec<PlatformView>,
    pub sustained: Vec<SustainedCurve>,
    /// Where the claims and ratings come from.
    pub claims_source: String,
    /// Whole-report warnings: cut-off records, quick runs, biased quality references.
    pub notes: Vec<String>,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct Estimate {
    pub value: f64,
    /// Absent where there is one value only.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// One record's circumstances.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct RunView {
    /// Short name, unique in the report.
    pub name: String,
    pub run_ids: Vec<String>,
    pub created: String,
    pub finished: Option<String>,
    pub suite: String,
    /// The command line, quoted for a shell.
    pub command: String,
    /// Decimal, as text: it may exceed what JSON numbers hold exactly.
    pub seed: String,
    pub quick: bool,
    pub interrupted: bool,
    /// True where the record has no end or lost its last line.
    pub cut_off: bool,
    pub protocol: ProtocolView,
    pub build: BuildView,
    pub device: DeviceView,
    pub labels: BTreeMap<String, String>,
    /// Coefficient of variation of a fixed workload before and after the run.
    pub noise: [Option<f64>; 2],
    /// Cases per outcome word.
    pub outcomes: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct ProtocolView {
    pub warmup: [u32; 2],
    pub samples: [u32; 2],
    pub seconds: [f64; 2],
    pub deadline_s: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct BuildView {
    pub version: String,
    pub profile: String,
    pub target: String,
    pub compiled_isa: Vec<String>,
}

/// The device card.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct DeviceView {
    /// The fingerprint.
    pub id: String,
    pub name: String,
    /// Label and value, in order, each with its source in words where it has one.
    pub facts: Vec<DeviceFact>,
    pub roofs: Vec<Roof>,
    pub problems: Vec<String>,
}

/// The limits of one processor, as far as they are known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct Roof {
    pub processor: String,
    pub bandwidth_gbs: f64,
    /// Label (`fp32`, `fp16`, `int8`) and 10^9 operations a second, lowest first.
    pub peaks: Vec<(String, f64)>,
    /// Where the figures come from, in words.
    pub source: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct DeviceFact {
    pub label: String,
    pub value: String,
    /// `measured`, `reported by ..`, `inferred by ..`, `published: ..`, `given`; empty where mixed.
    pub source: String,
}

/// How a measured value compares with the field's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Chip {
    /// The interval meets the claimed range.
    Within,
    /// The whole interval lies below it.
    Below,
    /// The whole interval lies above it.
    Above,
    NotMeasured,
    /// The field claims nothing for this precision.
    NoClaim,
}

impl Chip {
    pub fn word(self) -> &'static str {
        match self {
            Chip::Within => "within claim",
            Chip::Below => "below claim",
            Chip::Above => "above claim",
            Chip::NotMeasured => "not measured",
            Chip::NoClaim => "no claim",
        }
    }
}

/// A measured value beside what is claimed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct Judged {
    pub measured: Option<Estimate>,
    /// Low and high of the claim.
    pub claim: Option<[f64; 2]>,
    pub chip: Chip,
    /// Why it was not measured or not judged.
    pub why: String,
}

/// One row of the headline table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct HeadlineRow {
    /// Index into [`View::runs`]; `None` for a framework with no case.
    pub run: Option<usize>,
    /// Index into [`View::cases`] of the case shown.
    pub case: Option<usize>,
    pub backend: String,
    pub framework: String,
    /// Empty for a framework with no case.
    pub quantization: String,
    /// What else sets the row apart from its neighbours: device, threads, options.
    pub apart: Vec<String>,
    /// Model and run, where the report has several.
    pub scope: Vec<String>,
    pub model: String,
    pub device: String,
    pub workload: String,
    pub peak_bytes: Option<Estimate>,
    /// Percent less than the same framework's 16-bit baseline.
    pub memory_less: Judged,
    /// Percent less than its 32-bit baseline, where one ran.
    pub memory_less_than_32: Option<f64>,
    /// Text of a claim that is not a percentage (`~4 GB`).
    pub memory_claim_text: String,
    /// Speed-up of decode (of one inference for a graph) against the same framework's 16-bit baseline.
    pub decode: Judged,
    pub prefill: Judged,
    /// Decode in tok/s, or inferences a second.
    pub speed: Option<Estimate>,
    pub speed_unit: String,
    /// What the speed-ups are relative to: `F16`, `F32`; empty where nothing.
    pub baseline: String,
    /// Energy and sustained speed in words, where they were measured.
    pub beside: Vec<String>,
    /// Quality in words: `top-1 94.1 %, KLD 0.0136`, or why there is none.
    pub quality: String,
    pub use_case: String,
    /// Set where the case did not complete.
    pub problem: String,
}

/// One case, its process runs taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct CaseView {
    /// Index into [`View::runs`].
    pub run: usize,
    pub id: String,
    pub model: String,
    pub precision: String,
    pub precision_class: String,
    pub backend: String,
    pub framework: String,
    pub device: String,
    /// Id of the device's processor it ran on, empty where that is not known.
    pub processor: String,
    pub workload: String,
    pub threads: u32,
    /// `k=v` pairs, sorted.
    pub options: Vec<String>,
    pub outcome: String,
    pub reason: String,
    /// Completed process runs out of all.
    pub runs_completed: usize,
    pub runs_total: usize,
    pub variant: Option<VariantView>,
    pub metrics: Vec<MetricView>,
    /// Id of the 16-bit (or 32-bit) case that ratios refer to.
    pub baseline: Option<String>,
    pub baseline_precision: String,
    pub speedups: Vec<Speedup>,
    pub memory: Option<MemoryView>,
    pub roofline: Vec<RooflinePoint>,
    pub energy: Option<EnergyView>,
    pub engine: EngineView,
    /// The engine ran for its answers alone: no claim about speed is judged by it.
    pub functional_reference: bool,
    /// Worker's last words, where the case did not complete.
    pub stderr_tail: String,
}

/// A ratio against the baseline, above one where better.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct Speedup {
    pub metric: String,
    pub ratio: Estimate,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct VariantView {
    pub size_bytes: u64,
    pub bits_per_weight: f64,
    /// Type, tensors, bytes; largest first.
    pub types: Vec<TypeView>,
    pub made_by: String,
    /// Storage type most of the source's weights had.
    pub source_type: String,
    /// True where the source was itself quantized: quality is relative to that file, not to the original.
    pub source_quantized: bool,
    pub source_sha256: String,
    pub fallbacks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct TypeView {
    pub dtype: String,
    pub tensors: u64,
    pub bytes: u64,
}

/// A metric's summary over a case's completed process runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct MetricView {
    pub metric: String,
    pub unit: String,
    /// Counted samples over all process runs.
    pub n: usize,
    pub runs: usize,
    /// Samples that were NaN or infinite: left out of the summary.
    pub not_finite: usize,
    pub median: Estimate,
    /// What the interval covers: `between runs`, `within one run`, or empty where there is none.
    pub interval: String,
    pub min: f64,
    pub p25: f64,
    pub p75: f64,
    pub max: f64,
    /// With at least 64 samples.
    pub p90: Option<f64>,
    /// With at least 662 samples.
    pub p99: Option<f64>,
    /// Coefficient of variation of the samples.
    pub cv: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct MemoryView {
    /// Peak resident memory of the worker plus device memory, bytes.
    pub peak: Estimate,
    pub weights: Option<f64>,
    pub kv_cache: Option<f64>,
    pub compute_buffers: Option<f64>,
    /// Peak less the parts above; absent where they add up to more than the peak (mapped files).
    pub other: Option<f64>,
    pub less_than_16_percent: Option<f64>,
    pub less_than_32_percent: Option<f64>,
}

/// Where a case lies under the device's roofline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct RooflinePoint {
    /// `decode` or `prefill`.
    pub phase: String,
    /// Operations a byte of weights read.
    pub intensity: f64,
    /// Attained rate, 10^9 operations a second.
    pub gflops: f64,
}

/// What really ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct EngineView {
    pub version: String,
    pub kernel: String,
    pub path: String,
    pub placement: BTreeMap<String, u64>,
    pub settings: BTreeMap<String, String>,
}

/// One row of the per-quantization table: a file, whatever ran it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct QuantRow {
    pub model: String,
    pub precision: String,
    pub precision_class: String,
    /// Frameworks that opened it.
    pub frameworks: Vec<String>,
    pub variant: VariantView,
    pub nominal_bits: f64,
    /// Percent smaller than 16 bits a weight.
    pub smaller_percent: f64,
    /// The field's claim for it, percent.
    pub claim_percent: Option<f64>,
    pub use_case: String,
}

/// A finding and the cases it applies to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct FindingView {
    pub kind: String,
    pub invalidates: bool,
    pub detail: String,
    pub hint: String,
    /// Indices into [`View::cases`].
    pub cases: Vec<usize>,
}

/// One case x metric across runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct SideRow {
    pub case: String,
    pub metric: String,
    pub unit: String,
    /// One entry a run, in the order of [`View::runs`].
    pub values: Vec<Option<Estimate>>,
    /// Each run's improvement over the first that has a value; above one is better.
    pub ratios: Vec<Option<f64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct FrameworkView {
    pub id: String,
    pub name: String,
    /// Completed cases of all in this report.
    pub completed: usize,
    pub cases: usize,
    /// The claim in words, empty where there is none.
    pub claim: String,
    pub use_case: String,
    /// One rating a requirement, in the order of [`View::requirements`].
    pub ratings: Vec<String>,
    pub hints: Vec<String>,
    /// Engine versions that ran.
    pub versions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct PlatformView {
    pub title: String,
    pub primary: String,
    pub secondary: String,
    pub correction: String,
    /// Names of the runs whose device is one.
    pub here: Vec<String>,
}

/// Where energy figures come from, or why there are none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct EnergyView {
    /// Counters read; empty where none could be.
    pub source: String,
    /// What they cover.
    pub scope: String,
    /// Power of the idle machine that was subtracted.
    pub idle_w: Option<f64>,
    /// Mean power while measuring, the idle share included.
    pub load_w: Option<f64>,
    pub missing: String,
    pub hint: String,
}

/// Speed over time of a long case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct SustainedCurve {
    /// Index into [`View::cases`].
    pub case: usize,
    /// Seconds, and tokens or inferences a second.
    pub points: Vec<[f64; 2]>,
    /// Seconds and degrees Celsius, where the host tells.
    pub temperature: Vec<[f64; 2]>,
    /// Seconds and MHz.
    pub clock: Vec<[f64; 2]>,
    pub unit: String,
    /// Absent where there are too few points.
    pub plateau: Option<PlateauView>,
}

/// The level that a sustained speed settles at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(deny_unknown_fields))]
pub struct PlateauView {
    /// Median of the first tenth of the points.
    pub start: f64,
    /// Median of the last third.
    pub level: f64,
    /// When it was reached, in seconds.
    pub from_s: f64,
    /// False where speed still drifted at the end.
    pub settled: bool,
}

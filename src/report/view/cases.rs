//! Process runs taken together into cases, and each case's summaries and ratios.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::model::{
    Case, CaseOutcome, EnergyFacts, FindingKind, HeatPoint, Metric, Precision, PrecisionClass,
    Workload,
};
use crate::record::{CaseRecord, RunRecord};

use super::estimate;
use super::frameworks::FIELD;
use super::scope::Scope;
use super::types::{
    CaseView, EnergyView, EngineView, Estimate, MemoryView, MetricView, PlateauView, RooflinePoint,
    Speedup, SustainedCurve, TypeView, VariantView,
};
use crate::report::text;
use crate::stats;

/// Measured generation that makes a case's samples a sustained-speed curve, in seconds.
const SUSTAINED_SECONDS: f64 = 60.0;
const SUSTAINED_POINTS: usize = 160;

/// All process runs of one case in one scope.
pub(crate) struct Group<'a> {
    pub scope: usize,
    pub case: &'a Case,
    pub records: Vec<&'a CaseRecord>,
    /// Summaries of what was measured, in [`Metric::ALL`] order.
    pub metrics: Vec<(Metric, MetricView)>,
    seed: u64,
}

impl<'a> Group<'a> {
    /// The process runs whose numbers count: completed ones, or invalid ones where none completed.
    fn usable(&self) -> Vec<&'a CaseRecord> {
        let of = |want: fn(&CaseOutcome) -> bool| -> Vec<&'a CaseRecord> {
            self.records.iter().copied().filter(|r| want(&r.outcome)).collect()
        };
        let completed = of(CaseOutcome::is_completed);
        if completed.is_empty() {
            of(|o| matches!(o, CaseOutcome::Invalid { .. }))
        } else {
            completed
        }
    }

    pub(crate) fn completed(&self) -> bool {
        self.records.iter().any(|r| r.outcome.is_completed())
    }

    pub(crate) fn metric(&self, metric: Metric) -> Option<&MetricView> {
        self.metrics.iter().find(|(m, _)| *m == metric).map(|(_, v)| v)
    }

    fn median(&self, metric: Metric) -> Option<&Estimate> {
        self.metric(metric).map(|m| &m.median)
    }

    /// Records come oldest first; returns how many were left out.
    fn keep_newest_engine(&mut self) -> usize {
        let version = |r: &&CaseRecord| r.session.version.clone();
        let told = self.records.iter().filter(|r| !r.session.version.is_empty());
        let Some(newest) = told.map(version).next_back() else { return 0 };
        let before = self.records.len();
        self.records.retain(|r| r.session.version.is_empty() || r.session.version == newest);
        before - self.records.len()
    }

    fn summarize(&mut self) {
        let one = |&metric: &Metric| {
            let usable = self.usable();
            let samples = usable.iter().flat_map(|r| r.samples(metric));
            let not_finite = samples.filter(|x| !x.is_finite()).count();
            let view = estimate::summary(metric, &self.samples(metric), not_finite, self.seed)?;
            Some((metric, view))
        };
        self.metrics = Metric::ALL.iter().filter_map(one).collect();
    }

    /// Finite samples of a metric, one vector a usable process run.
    fn samples(&self, metric: Metric) -> Vec<Vec<f64>> {
        let finite = |r: &&CaseRecord| -> Vec<f64> {
            r.samples(metric).iter().copied().filter(|x| x.is_finite()).collect()
        };
        self.usable().iter().map(finite).filter(|v| !v.is_empty()).collect()
    }

    /// The process run whose circumstances are shown.
    pub(crate) fn shown(&self) -> &'a CaseRecord {
        self.usable().first().copied().unwrap_or(self.records[0])
    }
}

/// Cases of all scopes in report order: scope, model, framework, device, workload, precision.
///
/// Process runs of an engine version older than the newest of their case are left out; how many comes second.
pub(crate) fn group<'a>(scopes: &[Scope<'a>]) -> (Vec<Group<'a>>, usize) {
    let mut groups: BTreeMap<(usize, String), Group<'a>> = BTreeMap::new();
    for (scope, s) in scopes.iter().enumerate() {
        for run in &s.records {
            for record in &run.cases {
                groups
                    .entry((scope, record.case.id()))
                    .or_insert_with(|| Group {
                        scope,
                        case: &record.case,
                        records: Vec::new(),
                        metrics: Vec::new(),
                        seed: run.header.seed,
                    })
                    .records
                    .push(record);
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    let outdated = groups.iter_mut().map(Group::keep_newest_engine).sum();
    groups.par_iter_mut().for_each(Group::summarize);
    let order = FIELD.order(groups.iter().map(|g| g.case.backend.as_str()));
    let place = |id: &str| order.iter().position(|o| *o == id);
    groups.sort_by_cached_key(|g| {
        let c = g.case;
        let precision = Precision::ALL.iter().position(|p| *p == c.precision);
        let workload = match c.workload {
            Workload::Generate { prompt, decode, depth } => (0, depth, prompt, decode),
            Workload::Infer { batch, length } => (1, 0, batch, length),
        };
        let model = c.model.clone();
        (g.scope, model, place(&c.backend), c.device.clone(), workload, precision, c.id())
    });
    (groups, outdated)
}

/// The 16-bit case of the same everything else, or failing that the 32-bit one; completed only.
pub(crate) struct Baselines<'g, 'a> {
    by_key: BTreeMap<String, Vec<&'g Group<'a>>>,
}

impl<'g, 'a> Baselines<'g, 'a> {
    pub(crate) fn new(groups: &'g [Group<'a>]) -> Self {
        let mut by_key: BTreeMap<String, Vec<&Group>> = BTreeMap::new();
        for g in groups.iter().filter(|g| g.completed()) {
            if matches!(g.case.precision.class(), PrecisionClass::Half | PrecisionClass::Full) {
                by_key.entry(Self::key(g)).or_default().push(g);
            }
        }
        Self { by_key }
    }

    fn key(g: &Group) -> String {
        // Any one precision stands for all: what remains is everything but the precision.
        let case = Case { precision: Precision::F32, ..g.case.clone() };
        format!("{}\n{}", g.scope, case.id())
    }

    fn find(&self, g: &Group, wanted: &[Precision]) -> Option<&'g Group<'a>> {
        let candidates = self.by_key.get(&Self::key(g))?;
        wanted.iter().find_map(|p| candidates.iter().find(|c| c.case.precision == *p)).copied()
    }

    pub(crate) fn half_or_full(&self, g: &Group) -> Option<&'g Group<'a>> {
        self.find(g, &[Precision::F16, Precision::BF16, Precision::F32])
    }

    fn full(&self, g: &Group) -> Option<&'g Group<'a>> {
        self.find(g, &[Precision::F32])
    }
}

pub(crate) fn case_view(g: &Group, baselines: &Baselines, scope: &Scope) -> CaseView {
    let shown = g.shown();
    let completed = g.records.iter().filter(|r| r.outcome.is_completed()).count();
    // A failure among completed repetitions is still told.
    let told = g.records.iter().find(|r| !r.outcome.is_completed()).unwrap_or(&shown);
    let baseline = if completed > 0 { baselines.half_or_full(g) } else { None };
    let variant = g.records.iter().find_map(|r| r.variant.as_ref());
    let framework = FIELD.framework(&g.case.backend);
    CaseView {
        run: g.scope,
        id: text::plain(&g.case.id()),
        model: text::plain(&g.case.model),
        precision: g.case.precision.name().into(),
        precision_class: class_name(g.case.precision.class()).into(),
        backend: text::plain(&g.case.backend),
        framework: text::plain(&framework.name),
        device: text::plain(&g.case.device),
        processor: scope.processor_of(&g.case.device).map_or(String::new(), |p| text::plain(&p.id)),
        workload: g.case.workload.key(),
        threads: g.case.threads,
        options: g.case.options.iter().map(|(k, v)| text::plain(&format!("{k}={v}"))).collect(),
        outcome: if completed > 0 { "completed" } else { told.outcome.word() }.into(),
        reason: text::plain(&told.outcome.reason()),
        runs_completed: completed,
        runs_total: g.records.len(),
        variant: variant.map(variant_view),
        baseline: baseline.map(|b| text::plain(&b.case.id())),
        baseline_precision: baseline.map_or("", |b| b.case.precision.name()).into(),
        speedups: baseline.map_or_else(Vec::new, |b| speedups(g, b)),
        memory: (completed > 0).then(|| memory_view(g, baselines)).flatten(),
        roofline: if completed > 0 { roofline(g) } else { Vec::new() },
        metrics: g.metrics.iter().map(|(_, v)| v.clone()).collect(),
        energy: shown.energy.as_ref().map(energy_view),
        engine: EngineView {
            version: text::plain(&shown.session.version),
            kernel: text::plain(&shown.session.kernel),
            path: text::plain(&shown.session.path),
            placement: plain_keys(&shown.session.placement, |n| *n),
            settings: plain_keys(&shown.session.settings, |v| text::plain(v)),
        },
        functional_reference: shown.has(FindingKind::FunctionalReference),
        stderr_tail: text::plain_lines(&told.stderr_tail),
    }
}

fn plain_keys<V, W>(map: &BTreeMap<String, V>, value: impl Fn(&V) -> W) -> BTreeMap<String, W> {
    map.iter().map(|(k, v)| (text::plain(k), value(v))).collect()
}

pub(crate) fn class_name(class: PrecisionClass) -> &'static str {
    match class {
        PrecisionClass::UltraLow => "ultra-low (1-2 bit)",
        PrecisionClass::Low => "low (3-4 bit)",
        PrecisionClass::Medium => "medium (5-8 bit)",
        PrecisionClass::Half => "16-bit",
        PrecisionClass::Full => "32-bit",
    }
}

fn variant_view(v: &crate::model::Variant) -> VariantView {
    VariantView {
        size_bytes: v.size_bytes,
        bits_per_weight: v.bits_per_weight,
        types: v
            .types
            .iter()
            .map(|t| TypeView { dtype: text::plain(&t.dtype), tensors: t.tensors, bytes: t.bytes })
            .collect(),
        made_by: text::plain(&v.made_by),
        source_type: text::plain(&v.source_type),
        source_quantized: v.source_is_quantized(),
        source_sha256: text::plain(&v.source_sha256),
        fallbacks: v.fallbacks.iter().map(|f| text::plain(f)).collect(),
    }
}

/// Improvement over the baseline for each speed metric both have; the baseline itself has none.
fn speedups(g: &Group, base: &Group) -> Vec<Speedup> {
    if g.case.precision == base.case.precision {
        return Vec::new();
    }
    const SPEEDS: [Metric; 5] = [
        Metric::DecodeTokS,
        Metric::PrefillTokS,
        Metric::TtftNs,
        Metric::LatencyNs,
        Metric::ThroughputPerS,
    ];
    let one = |metric: Metric| {
        let ratio = estimate::improvement(metric, g.median(metric)?, base.median(metric)?)?;
        Some(Speedup { metric: metric.key().into(), ratio })
    };
    SPEEDS.into_iter().filter_map(one).collect()
}

/// Worker's peak resident memory plus what it holds on an accelerator.
fn peak(g: &Group) -> Option<Estimate> {
    let rss = g.median(Metric::PeakRssBytes)?;
    let device = part(g, Metric::DeviceMemoryBytes).unwrap_or(0.0);
    let shift = |x: f64| x + device;
    Some(Estimate { value: shift(rss.value), low: rss.low.map(shift), high: rss.high.map(shift) })
}

/// A part of memory: measured where there is a series, else as the session told it.
fn part(g: &Group, metric: Metric) -> Option<f64> {
    let session = &g.shown().session;
    let told = match metric {
        Metric::WeightBytes => session.weight_bytes,
        Metric::KvCacheBytes => session.kv_cache_bytes,
        Metric::ComputeBufferBytes => session.compute_buffer_bytes,
        Metric::DeviceMemoryBytes => session.device_memory_bytes,
        _ => None,
    };
    g.median(metric).map(|e| e.value).or(told.map(|b| b as f64))
}

fn memory_view(g: &Group, baselines: &Baselines) -> Option<MemoryView> {
    let total = peak(g)?;
    let less_than = |base: Option<&Group>| {
        let base = base.filter(|b| b.case.precision != g.case.precision)?;
        let base = peak(base)?.value;
        (base > 0.0).then(|| (1.0 - total.value / base) * 100.0)
    };
    let [weights, kv_cache, compute_buffers] =
        [Metric::WeightBytes, Metric::KvCacheBytes, Metric::ComputeBufferBytes].map(|m| part(g, m));
    let known: f64 = [weights, kv_cache, compute_buffers].into_iter().flatten().sum();
    let half = baselines.half_or_full(g).filter(|b| b.case.precision != Precision::F32);
    Some(MemoryView {
        other: (known <= total.value).then_some(total.value - known),
        less_than_16_percent: less_than(half),
        less_than_32_percent: less_than(baselines.full(g)),
        peak: total,
        weights,
        kv_cache,
        compute_buffers,
    })
}

/// Two operations a parameter and token. A token reads its share of the file; so does a prompt, at least.
fn roofline(g: &Group) -> Vec<RooflinePoint> {
    let Some(variant) = g.records.iter().find_map(|r| r.variant.as_ref()) else {
        return Vec::new();
    };
    let Workload::Generate { prompt, .. } = g.case.workload else { return Vec::new() };
    if variant.size_bytes == 0 || variant.bits_per_weight.is_nan() || variant.bits_per_weight <= 0.0
    {
        return Vec::new();
    }
    let share = g.records.iter().find_map(|r| r.session.read_share).unwrap_or(1.0);
    let bytes = variant.size_bytes as f64 * share;
    let operations = 2.0 * bytes * 8.0 / variant.bits_per_weight;
    let phases =
        [("decode", Metric::DecodeTokS, 1.0), ("prefill", Metric::PrefillTokS, prompt.into())];
    let point = |(phase, metric, tokens): (&str, Metric, f64)| {
        let speed = g.median(metric)?.value;
        (speed > 0.0 && tokens > 0.0).then(|| RooflinePoint {
            phase: phase.into(),
            intensity: operations * tokens / bytes,
            gflops: operations * speed / 1e9,
        })
    };
    phases.into_iter().filter_map(point).collect()
}

fn energy_view(e: &EnergyFacts) -> EnergyView {
    EnergyView {
        source: text::plain(&e.source),
        scope: text::plain(&e.scope),
        idle_w: e.idle_w,
        load_w: (e.total_s > 0.0).then(|| e.total_j / e.total_s),
        missing: text::plain(&e.missing),
        hint: text::plain(&e.hint),
    }
}

/// Speed over time: the sustained measurement, or the samples of a case that generated for at least a minute.
pub(crate) fn sustained(index: usize, g: &Group) -> Option<SustainedCurve> {
    let Some(record) = g.usable().into_iter().find(|r| !r.sustained.is_empty()) else {
        return long_samples(index, g);
    };
    let points: Vec<[f64; 2]> =
        record.sustained.iter().filter_map(|p| Some([p.seconds, p.speed?])).collect();
    let of = |get: fn(&HeatPoint) -> Option<f64>| {
        let all = record.sustained.iter().filter_map(|p| Some([p.seconds, get(p)?]));
        thinned(all.collect())
    };
    let unit = match g.case.workload {
        Workload::Generate { .. } => "tok/s",
        Workload::Infer { .. } => "1/s",
    };
    let (temperature, clock) = (of(|p| p.temperature_c), of(|p| p.clock_mhz));
    Some(curve(index, points, unit, temperature, clock))
}

fn curve(
    case: usize,
    points: Vec<[f64; 2]>,
    unit: &str,
    temperature: Vec<[f64; 2]>,
    clock: Vec<[f64; 2]>,
) -> SustainedCurve {
    let speeds: Vec<f64> = points.iter().map(|p| p[1]).collect();
    let plateau = stats::plateau(&speeds).map(|p| PlateauView {
        start: p.start,
        level: p.level,
        from_s: points[p.from][0],
        settled: p.settled,
    });
    let points = thinned(points);
    SustainedCurve { case, points, temperature, clock, unit: unit.into(), plateau }
}

/// Every so-manieth point: what a plot can show.
fn thinned(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    let step = points.len().div_ceil(SUSTAINED_POINTS).max(1);
    points.into_iter().step_by(step).collect()
}

fn long_samples(index: usize, g: &Group) -> Option<SustainedCurve> {
    let Workload::Generate { decode, .. } = g.case.workload else { return None };
    let runs = g.samples(Metric::DecodeTokS);
    let samples = runs.iter().max_by_key(|r| r.len())?;
    let mut time = 0.0;
    let mut points = Vec::with_capacity(samples.len());
    for &speed in samples.iter().filter(|s| **s > 0.0) {
        time += f64::from(decode) / speed;
        points.push([time, speed]);
    }
    if time < SUSTAINED_SECONDS {
        return None;
    }
    Some(curve(index, points, "tok/s", Vec::new(), Vec::new()))
}

/// Outcome words of a run's cases, counted.
pub(crate) fn outcomes(cases: &[CaseView], scope: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for c in cases.iter().filter(|c| c.run == scope) {
        *counts.entry(c.outcome.clone()).or_insert(0) += 1;
    }
    counts
}

/// True where a record says it did not end in order.
pub(crate) fn cut_off(run: &RunRecord) -> bool {
    run.truncated || run.end.is_none()
}

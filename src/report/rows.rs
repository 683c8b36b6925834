//! The report as tidy rows: one a case x metric; a case with no metric has one row that says why.

use super::view::{CaseView, Estimate, MetricView, View};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// As the record has it: each format disarms it in its own way.
    Text(String),
    Count(Option<u64>),
    /// Never NaN or infinite.
    Number(Option<f64>),
}

impl Cell {
    fn text(s: impl Into<String>) -> Self {
        Cell::Text(s.into())
    }

    fn number(x: Option<f64>) -> Self {
        Cell::Number(x.filter(|x| x.is_finite()))
    }
}

/// Column names, in order; documented in docs/report.md.
pub const COLUMNS: [&str; 42] = [
    "run",
    "run_id",
    "device_id",
    "device_name",
    "case_id",
    "model",
    "framework",
    "backend",
    "precision",
    "precision_class",
    "device",
    "processor",
    "workload",
    "threads",
    "options",
    "outcome",
    "reason",
    "metric",
    "unit",
    "n",
    "runs",
    "median",
    "ci_low",
    "ci_high",
    "interval",
    "min",
    "p25",
    "p75",
    "p90",
    "p99",
    "max",
    "cv",
    "baseline_precision",
    "improvement",
    "improvement_low",
    "improvement_high",
    "size_bytes",
    "bits_per_weight",
    "source_type",
    "engine_version",
    "kernel",
    "measured_path",
];

/// All rows; a column holds the same kind of cell in each.
pub(super) fn rows(view: &View) -> impl Iterator<Item = [Cell; COLUMNS.len()]> {
    view.cases.iter().flat_map(move |case| {
        let metrics: Vec<Option<&MetricView>> = match case.metrics.as_slice() {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        metrics.into_iter().map(move |m| row(view, case, m))
    })
}

fn row(view: &View, c: &CaseView, m: Option<&MetricView>) -> [Cell; COLUMNS.len()] {
    let run = &view.runs[c.run];
    let speedup = m.and_then(|m| c.speedups.iter().find(|s| s.metric == m.metric));
    let variant = c.variant.as_ref();
    let of = |get: fn(&MetricView) -> Option<f64>| Cell::number(m.and_then(get));
    let name = |get: fn(&MetricView) -> &str| Cell::text(m.map_or("", get));
    let [median, ci_low, ci_high] = ends(m.map(|m| &m.median));
    let [improvement, improvement_low, improvement_high] = ends(speedup.map(|s| &s.ratio));
    [
        Cell::text(&run.name),
        Cell::text(run.run_ids.join(" ")),
        Cell::text(&run.device.id),
        Cell::text(&run.device.name),
        Cell::text(&c.id),
        Cell::text(&c.model),
        Cell::text(&c.framework),
        Cell::text(&c.backend),
        Cell::text(&c.precision),
        Cell::text(&c.precision_class),
        Cell::text(&c.device),
        Cell::text(&c.processor),
        Cell::text(&c.workload),
        Cell::Count(Some(c.threads.into())),
        Cell::text(c.options.join(" ")),
        Cell::text(&c.outcome),
        Cell::text(&c.reason),
        name(|m| &m.metric),
        name(|m| &m.unit),
        Cell::Count(Some(m.map_or(0, |m| m.n as u64))),
        Cell::Count(Some(m.map_or(c.runs_completed, |m| m.runs) as u64)),
        median,
        ci_low,
        ci_high,
        name(|m| &m.interval),
        of(|m| Some(m.min)),
        of(|m| Some(m.p25)),
        of(|m| Some(m.p75)),
        of(|m| m.p90),
        of(|m| m.p99),
        of(|m| Some(m.max)),
        of(|m| m.cv),
        Cell::text(&c.baseline_precision),
        improvement,
        improvement_low,
        improvement_high,
        Cell::Count(variant.map(|v| v.size_bytes)),
        Cell::number(variant.map(|v| v.bits_per_weight)),
        Cell::text(variant.map_or("", |v| &v.source_type)),
        Cell::text(&c.engine.version),
        Cell::text(&c.engine.kernel),
        Cell::text(&c.engine.path),
    ]
}

fn ends(e: Option<&Estimate>) -> [Cell; 3] {
    [e.map(|e| e.value), e.and_then(|e| e.low), e.and_then(|e| e.high)].map(Cell::number)
}

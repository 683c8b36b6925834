//! Tidy CSV: one row a case x metric; a case with no metric has one row that says why.

use super::text::csv_text;
use super::view::{CaseView, Estimate, MetricView, View};

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

/// The report's rows as CSV with a header line. Text is disarmed against formula injection.
pub fn render(view: &View) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let all = std::iter::once(COLUMNS.map(str::to_owned).to_vec()).chain(rows(view));
    for row in all {
        writer.write_record(&row).expect("every row has the same columns and goes to memory");
    }
    let bytes = writer.into_inner().expect("memory takes every write");
    String::from_utf8(bytes).expect("all cells are text")
}

fn rows(view: &View) -> impl Iterator<Item = Vec<String>> {
    view.cases.iter().flat_map(move |case| {
        let metrics: Vec<Option<&MetricView>> = match case.metrics.as_slice() {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        metrics.into_iter().map(move |m| row(view, case, m))
    })
}

fn row(view: &View, c: &CaseView, m: Option<&MetricView>) -> Vec<String> {
    let run = &view.runs[c.run];
    let speedup = m.and_then(|m| c.speedups.iter().find(|s| s.metric == m.metric));
    let variant = c.variant.as_ref();
    let ends = |e: Option<&Estimate>| {
        [e.map(|e| e.value), e.and_then(|e| e.low), e.and_then(|e| e.high)].map(number)
    };
    let mut row = vec![
        csv_text(&run.name),
        csv_text(&run.run_ids.join(" ")),
        csv_text(&run.device.id),
        csv_text(&run.device.name),
        csv_text(&c.id),
        csv_text(&c.model),
        csv_text(&c.framework),
        csv_text(&c.backend),
        c.precision.clone(),
        c.precision_class.clone(),
        csv_text(&c.device),
        csv_text(&c.processor),
        c.workload.clone(),
        c.threads.to_string(),
        csv_text(&c.options.join(" ")),
        c.outcome.clone(),
        csv_text(&c.reason),
        m.map_or(String::new(), |m| m.metric.clone()),
        m.map_or(String::new(), |m| m.unit.clone()),
        m.map_or("0".into(), |m| m.n.to_string()),
        m.map_or(c.runs_completed, |m| m.runs).to_string(),
    ];
    row.extend(ends(m.map(|m| &m.median)));
    row.push(m.map_or(String::new(), |m| m.interval.clone()));
    row.extend(
        [
            m.map(|m| m.min),
            m.map(|m| m.p25),
            m.map(|m| m.p75),
            m.and_then(|m| m.p90),
            m.and_then(|m| m.p99),
            m.map(|m| m.max),
            m.and_then(|m| m.cv),
        ]
        .map(number),
    );
    row.push(c.baseline_precision.clone());
    row.extend(ends(speedup.map(|s| &s.ratio)));
    row.extend([
        variant.map_or(String::new(), |v| v.size_bytes.to_string()),
        number(variant.map(|v| v.bits_per_weight)),
        variant.map_or(String::new(), |v| csv_text(&v.source_type)),
        csv_text(&c.engine.version),
        csv_text(&c.engine.kernel),
        csv_text(&c.engine.path),
    ]);
    row
}

/// Shortest text that reads back as the same number; empty where there is none.
fn number(x: Option<f64>) -> String {
    x.filter(|x| x.is_finite()).map_or(String::new(), |x| x.to_string())
}

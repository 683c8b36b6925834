//! Horizontal bars: speeds with intervals, the prefill/decode split, the memory breakdown, latency boxes.

use super::canvas::{Anchor, Canvas, Ink, Scale, svg, text_width, tick_text};
use super::panel::{MAX_ROWS, Panel, label};
use crate::model::Metric;
use crate::report::text::{bytes, duration_ns, significant};
use crate::report::view::{CaseView, MetricView, metric};

const ROW: f64 = 19.0;
const HEAD: f64 = 24.0;
const TOP: f64 = 12.0;

/// One bar's row.
struct Row {
    framework: usize,
    framework_name: String,
    label: String,
    /// Lengths of stacked parts; one part for a plain bar.
    parts: Vec<(f64, Ink)>,
    interval: Option<(f64, f64)>,
    /// Minimum, quartiles, maximum: drawn as a box in place of the bar.
    box_of: Option<[f64; 5]>,
    value: String,
}

impl Row {
    fn new(panel: &Panel, case: &CaseView, value: String) -> Self {
        Self {
            framework: panel.ink(case),
            framework_name: case.framework.clone(),
            label: label(panel, case),
            parts: Vec::new(),
            interval: None,
            box_of: None,
            value,
        }
    }

    fn end(&self) -> f64 {
        let bar: f64 = self.parts.iter().map(|p| p.0).sum();
        let ends = [bar, self.interval.map_or(0.0, |i| i.1), self.box_of.map_or(0.0, |b| b[4])];
        ends.into_iter().fold(0.0, f64::max)
    }
}

/// The legend of stacked parts.
type Legend<'a> = &'a [(&'a str, Ink)];

/// A metric as bars with intervals; `None` where no case has it.
pub(crate) fn speed(panel: &Panel, of: Metric, width: i32) -> Option<String> {
    let rows = panel.cases.iter().filter_map(|c| {
        let m = metric(c, of)?;
        let mut row = Row::new(panel, c, significant(m.median.value));
        row.parts = vec![(m.median.value, Ink::Framework(row.framework))];
        row.interval = m.median.low.zip(m.median.high);
        Some(row)
    });
    chart(rows, width, of.unit().symbol(), &[], tick_text)
}

/// Seconds a request spends on its prompt and on its answer.
pub(crate) fn split(panel: &Panel, width: i32) -> Option<String> {
    let rows = panel.cases.iter().filter_map(|c| {
        let (prompt, decode) = tokens(&c.workload)?;
        let speed = |m| metric(c, m).map(|m| m.median.value).filter(|v| *v > 0.0);
        let read = prompt / speed(Metric::PrefillTokS)?;
        let write = decode / speed(Metric::DecodeTokS)?;
        let mut row = Row::new(panel, c, duration_ns((read + write) * 1e9));
        row.parts = vec![(read, Ink::Part(0)), (write, Ink::Part(1))];
        Some(row)
    });
    let legend = [("prompt (prefill)", Ink::Part(0)), ("answer (decode)", Ink::Part(1))];
    chart(rows, width, "s", &legend, tick_text)
}

/// `pp512+tg128` as numbers.
fn tokens(workload: &str) -> Option<(f64, f64)> {
    let (prompt, rest) = workload.strip_prefix("pp")?.split_once("+tg")?;
    let decode = rest.split('@').next()?;
    Some((prompt.parse().ok()?, decode.parse().ok()?))
}

/// Peak memory by part.
pub(crate) fn memory(panel: &Panel, width: i32) -> Option<String> {
    let rows = panel.cases.iter().filter_map(|c| {
        let m = c.memory.as_ref()?;
        let mut row = Row::new(panel, c, bytes(m.peak.value));
        let known = [m.weights, m.kv_cache, m.compute_buffers];
        row.parts = if let Some(other) = m.other {
            let known = known.into_iter().enumerate();
            let known = known.filter_map(|(i, p)| Some((p?, Ink::Part(i))));
            known.chain([(other, Ink::Part(3))]).collect()
        } else {
            // Mapped files make the parts add up to more than the peak: only the peak is sure.
            vec![(m.peak.value, Ink::Part(3))]
        };
        Some(row)
    });
    let legend = [
        ("weights", Ink::Part(0)),
        ("KV cache", Ink::Part(1)),
        ("compute buffers", Ink::Part(2)),
        ("runtime and rest", Ink::Part(3)),
    ];
    chart(rows, width, "", &legend, bytes)
}

/// Spread of the samples: whiskers to the extremes, box between the quartiles, line at the median.
pub(crate) fn latency(panel: &Panel, width: i32) -> Option<String> {
    let rows = panel.cases.iter().filter_map(|c| {
        // Decode speed turned into time a token; a graph's latency as it is.
        let (m, ns): (&MetricView, fn(f64) -> f64) = match metric(c, Metric::DecodeTokS) {
            Some(m) => (m, |tok_s| 1e9 / tok_s),
            None => (metric(c, Metric::LatencyNs)?, |ns| ns),
        };
        let mut five = [m.min, m.p25, m.median.value, m.p75, m.max].map(ns);
        five.sort_by(f64::total_cmp);
        let finite = five.iter().all(|v| v.is_finite());
        let mut row = Row::new(panel, c, duration_ns(five[2]));
        row.box_of = Some(five);
        finite.then_some(row)
    });
    chart(rows, width, "", &[], duration_ns)
}

fn chart(
    rows: impl Iterator<Item = Row>,
    width: i32,
    unit: &str,
    legend: Legend,
    tick: impl Fn(f64) -> String,
) -> Option<String> {
    let rows: Vec<Row> = rows.take(MAX_ROWS).collect();
    let max = rows.iter().map(Row::end).fold(0.0, f64::max);
    if rows.is_empty() || max.is_nan() || max <= 0.0 {
        return None;
    }
    let groups = rows.chunk_by(|a, b| a.framework == b.framework).count();
    let legend_height = legend_rows(legend, width) as f64 * ROW;
    let height = TOP + legend_height + groups as f64 * HEAD + rows.len() as f64 * ROW + 30.0;
    let widest =
        |pick: fn(&Row) -> &str| rows.iter().map(|r| text_width(pick(r))).fold(0.0, f64::max);
    let left = widest(|r| &r.label).min(f64::from(width) * 0.42) + 14.0;
    let right = f64::from(width) - widest(|r| &r.value) - 14.0;
    let scale = Scale::from_zero(max, left, right);
    Some(svg(width, height as i32, |c| {
        draw_legend(c, legend, width);
        let top = TOP + legend_height;
        axis(c, scale, top, height - 26.0, unit, &tick);
        let mut y = top;
        for group in rows.chunk_by(|a, b| a.framework == b.framework) {
            c.mark((10.0, y + HEAD / 2.0), 4.5, group[0].framework);
            c.text((20.0, y + HEAD / 2.0), &group[0].framework_name, Ink::Text, Anchor::Left);
            y += HEAD;
            for row in group {
                draw_row(c, row, scale, y, left);
                y += ROW;
            }
        }
    }))
}

fn draw_row(c: &Canvas, row: &Row, scale: Scale, y: f64, left: f64) {
    let middle = y + ROW / 2.0;
    c.text((left - 8.0, middle), &row.label, Ink::Text, Anchor::Right);
    let mut start = 0.0;
    for (length, ink) in &row.parts {
        let end = start + length;
        c.bar((scale.at(start), y + 3.0), (scale.at(end), y + ROW - 3.0), *ink);
        start = end;
    }
    if let Some((low, high)) = row.interval {
        let (a, b) = (scale.at(low), scale.at(high));
        c.line((a, middle), (b, middle), Ink::Text, 2);
        for x in [a, b] {
            c.line((x, middle - 4.0), (x, middle + 4.0), Ink::Text, 1);
        }
    }
    if let Some([min, q1, median, q3, max]) = row.box_of {
        let ink = Ink::Framework(row.framework);
        c.line((scale.at(min), middle), (scale.at(max), middle), ink, 2);
        let half = ROW / 2.0 - 3.0;
        // Never thinner than can be seen.
        let (a, b) = (scale.at(q1) - 1.0, scale.at(q3) + 1.0);
        c.bar((a, middle - half), (b, middle + half), ink);
        let x = scale.at(median);
        c.line((x, middle - half - 1.0), (x, middle + half + 1.0), Ink::Text, 2);
    }
    c.text((scale.at(row.end()) + 7.0, middle), &row.value, Ink::Text, Anchor::Left);
}

fn axis(
    c: &Canvas,
    scale: Scale,
    top: f64,
    bottom: f64,
    unit: &str,
    tick: &impl Fn(f64) -> String,
) {
    let space = scale.at(scale.high()) - scale.at(scale.low());
    let ticks = scale.ticks((space / 80.0).clamp(2.0, 8.0) as usize);
    for (i, t) in ticks.iter().enumerate() {
        let x = scale.at(*t);
        c.line((x, top), (x, bottom), Ink::Grid, 1);
        let unit = if i + 1 == ticks.len() && !unit.is_empty() {
            format!("{} {unit}", tick(*t))
        } else {
            tick(*t)
        };
        c.text((x, bottom + 12.0), &unit, Ink::Muted, Anchor::Middle);
    }
}

/// Where each legend entry starts, wrapped to the width.
fn legend_places(legend: Legend, width: i32) -> Vec<(f64, usize)> {
    let (mut x, mut line) = (8.0, 0);
    let mut places = Vec::new();
    for (text, _) in legend {
        let needed = text_width(text) + 34.0;
        if x > 8.0 && x + needed > f64::from(width) {
            (x, line) = (8.0, line + 1);
        }
        places.push((x, line));
        x += needed;
    }
    places
}

fn legend_rows(legend: Legend, width: i32) -> usize {
    legend_places(legend, width).last().map_or(0, |p| p.1 + 1)
}

fn draw_legend(c: &Canvas, legend: Legend, width: i32) {
    for ((text, ink), (x, line)) in legend.iter().zip(legend_places(legend, width)) {
        let y = TOP + line as f64 * ROW;
        c.bar((x, y - 5.0), (x + 12.0, y + 6.0), *ink);
        c.text((x + 18.0, y), text, Ink::Text, Anchor::Left);
    }
}

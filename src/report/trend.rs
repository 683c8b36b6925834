//! A metric over the history: lines for a terminal, small panels as SVG, steps marked. Advisory, never a verdict.

use std::fmt::Write;

use plotters::prelude::*;

use super::text::{plain, shorten, value};
use crate::record::history::Trend;

/// Newest points shown in a terminal.
const SHOWN: usize = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A sparkline and the last values of each trend, 80 columns wide.
pub fn text(trends: &[Trend]) -> String {
    let mut out = String::new();
    for trend in trends {
        let unit = trend.metric.unit();
        let _ = writeln!(out, "{}", shorten(&plain(&trend.case), 80));
        let device = shorten(&plain(&trend.device_name), 40);
        let _ = writeln!(out, "  {} on {device}, {} runs", trend.metric, trend.points.len());
        let last = &trend.points[trend.points.len().saturating_sub(SHOWN)..];
        let values: Vec<f64> = last.iter().map(|p| p.value).collect();
        let _ = writeln!(out, "  {}", sparkline(&values));
        let mut before = None;
        for point in &trend.points {
            if let (true, Some(before)) = (point.step, before) {
                let change = (point.value / before - 1.0) * 100.0;
                let run = shorten(&plain(&point.run_id), 34);
                let (from, to) = (value(unit, before), value(unit, point.value));
                let _ = writeln!(out, "  step at {run}: {from} -> {to} ({change:+.1} %)");
            }
            before = Some(point.value);
        }
        if let Some(newest) = trend.points.last() {
            let _ = writeln!(out, "  newest {}\n", value(unit, newest.value));
        }
    }
    out
}

fn sparkline(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |v: f64| if high > low { (v - low) / (high - low) * 7.0 } else { 3.0 };
    values.iter().map(|v| BARS[(level(*v).round() as usize).min(7)]).collect()
}

/// Most panels in one drawing.
const MAX_PANELS: usize = 24;
const PANEL: (u32, u32) = (900, 260);
const LINE: RGBColor = RGBColor(0, 114, 178);
const STEP: RGBColor = RGBColor(213, 94, 0);

/// One panel a trend, runs from left to right.
pub fn svg(trends: &[Trend]) -> Result<String, String> {
    let shown = &trends[..trends.len().min(MAX_PANELS)];
    let mut out = String::new();
    {
        let size = (PANEL.0, PANEL.1 * shown.len() as u32);
        let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
        root.fill(&WHITE).map_err(|e| e.to_string())?;
        for (area, trend) in root.split_evenly((shown.len(), 1)).iter().zip(shown) {
            panel(area, trend).map_err(|e| e.to_string())?;
        }
        root.present().map_err(|e| e.to_string())?;
    }
    Ok(out)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, trend: &Trend) -> Result<(), Box<dyn std::error::Error>> {
    let values: Vec<f64> = trend.points.iter().map(|p| p.value).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !low.is_finite() || !high.is_finite() {
        return Err("a trend without finite values cannot be drawn".into());
    }
    // Room for a step of a tenth at least, so that a flat line looks flat.
    let room = ((high - low) * 0.1).max(high.abs() * 0.05).max(f64::MIN_POSITIVE);
    let caption = format!("{} · {}", shorten(&plain(&trend.case), 78), trend.metric);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 14))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(86)
        .build_cartesian_2d(-0.5..values.len() as f64 - 0.5, low - room..high + room)?;
    let unit = trend.metric.unit();
    let day = |x: &f64| -> String {
        let point = trend.points.get(x.round() as usize).filter(|_| x.fract() == 0.0);
        point.map_or(String::new(), |p| p.created.chars().take(10).collect())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(6)
        .y_labels(5)
        .x_label_formatter(&day)
        .y_label_formatter(&|y| value(unit, *y))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (i, _) in trend.points.iter().enumerate().filter(|(_, p)| p.step) {
        let x = i as f64 - 0.5;
        let ends = [(x, low - room), (x, high + room)];
        chart.draw_series([PathElement::new(ends, STEP.stroke_width(2))])?;
    }
    let line = values.iter().enumerate().map(|(i, v)| (i as f64, *v));
    chart.draw_series(LineSeries::new(line.clone(), LINE.stroke_width(1)))?;
    chart.draw_series(line.map(|at| Circle::new(at, 3, LINE.filled())))?;
    Ok(())
}

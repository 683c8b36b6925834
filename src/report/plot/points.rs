//! Plots of points: quality against speed with its Pareto front, the roofline, sustained speed.

use super::canvas::{Anchor, Axes, Canvas, Ink, Scale, svg, text_width};
use super::labels::{Rect, Wanted, place};
use super::panel::{Panel, label};
use crate::model::Metric;
use crate::report::text::{shorten, significant};
use crate::report::view::{CaseView, Roof, SustainedCurve, View, metric};

/// Points drawn at most; labels tried at most.
const MAX_POINTS: usize = 240;
const MAX_LABELS: usize = 60;

/// What a Pareto plot has on its vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    Top1,
    Cosine,
    /// Nothing was measured: bits a weight stand there, and are called so.
    BitsPerWeight,
}

impl Quality {
    pub(crate) fn of(panel: &Panel) -> Self {
        let has = |m: Metric| panel.cases.iter().filter(|c| metric(c, m).is_some()).count() > 1;
        if has(Metric::Top1Agreement) {
            Quality::Top1
        } else if has(Metric::CosineToReference) {
            Quality::Cosine
        } else {
            Quality::BitsPerWeight
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Quality::Top1 => "same top token as the reference, %",
            Quality::Cosine => "cosine to the reference, %",
            Quality::BitsPerWeight => "bits a weight (quality not measured)",
        }
    }

    pub(crate) fn value(self, c: &CaseView) -> Option<f64> {
        match self {
            Quality::Top1 => metric(c, Metric::Top1Agreement).map(|m| m.median.value * 100.0),
            Quality::Cosine => metric(c, Metric::CosineToReference).map(|m| m.median.value * 100.0),
            Quality::BitsPerWeight => c.variant.as_ref().map(|v| v.bits_per_weight),
        }
    }
}

/// Decode in tok/s, or inferences a second.
pub(crate) fn speed(c: &CaseView) -> Option<f64> {
    let m = metric(c, Metric::DecodeTokS).or_else(|| metric(c, Metric::ThroughputPerS))?;
    Some(m.median.value)
}

/// Cases no other case beats in both speed and quality, fastest last.
pub(crate) fn front<'a>(panel: &Panel<'a>, quality: Quality) -> Vec<&'a CaseView> {
    let mut points: Vec<(f64, f64, &CaseView)> =
        panel.cases.iter().filter_map(|c| Some((speed(c)?, quality.value(c)?, *c))).collect();
    points.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    let mut front = Vec::new();
    for (_, q, case) in points {
        if q > best {
            best = q;
            front.push(case);
        }
    }
    front.reverse();
    front
}

/// Quality against speed, file size as area, the front as a line.
pub(crate) fn pareto(panel: &Panel, width: i32) -> Option<String> {
    let quality = Quality::of(panel);
    let front = front(panel, quality);
    let on_front = |c: &CaseView| front.iter().any(|f| std::ptr::eq(*f, c));
    let mut shown: Vec<&CaseView> = panel
        .cases
        .iter()
        .copied()
        .filter(|c| speed(c).is_some() && quality.value(c).is_some())
        .collect();
    // The front is labelled first.
    shown.sort_by_key(|c| !on_front(c));
    shown.truncate(MAX_POINTS);
    if shown.len() < 2 {
        return None;
    }
    let x_of = |c: &CaseView| speed(c).unwrap_or(0.0);
    let y_of = |c: &CaseView| quality.value(c).unwrap_or(0.0);
    let largest = shown.iter().map(|c| size(c)).fold(1.0, f64::max);
    let radius = |c: &CaseView| 3.5 + 9.5 * (size(c) / largest).sqrt();
    let (height, legend) = (if width > 500 { 430 } else { 360 }, legend_height(panel, width));
    Some(svg(width, height + legend as i32, |c| {
        draw_legend(c, panel, width);
        let max_x = shown.iter().map(|c| x_of(c)).fold(0.0, f64::max);
        let (low, high) = range(shown.iter().map(|c| y_of(c)));
        let bottom = f64::from(height) + legend - 46.0;
        let axes = Axes {
            canvas: c,
            x: Scale::from_zero(max_x * 1.08, 44.0, f64::from(width) - 14.0),
            y: Scale::linear(low, high, bottom, legend + 34.0),
        };
        axes.draw("generation (decode), tok/s", quality.title());
        let line: Vec<(f64, f64)> = front.iter().map(|c| axes.at(x_of(c), y_of(c))).collect();
        if line.len() > 1 {
            c.path(&line, Ink::Muted, 1);
        }
        for case in shown.iter().rev() {
            c.mark(axes.at(x_of(case), y_of(case)), radius(case), panel.ink(case));
        }
        let texts: Vec<String> = shown.iter().map(|c| label(panel, c)).collect();
        let wanted: Vec<Wanted> = shown
            .iter()
            .zip(&texts)
            .map(|(c, text)| Wanted { at: axes.at(x_of(c), y_of(c)), radius: radius(c), text })
            .collect();
        draw_labels(c, &wanted, &[], axes_bounds(&axes));
    }))
}

fn size(c: &CaseView) -> f64 {
    c.variant.as_ref().map_or(1.0, |v| v.size_bytes as f64)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}

fn axes_bounds(axes: &Axes) -> Rect {
    Rect {
        left: axes.x.at(axes.x.low()) + 2.0,
        right: axes.x.at(axes.x.high()) + 12.0,
        top: axes.y.at(axes.y.high()) - 8.0,
        bottom: axes.y.at(axes.y.low()) - 2.0,
    }
}

fn draw_labels(c: &Canvas, wanted: &[Wanted], taken: &[Rect], bounds: Rect) {
    let places = place(&wanted[..wanted.len().min(MAX_LABELS)], taken, bounds);
    for (w, at) in wanted.iter().zip(places) {
        if let Some(at) = at {
            c.text(at, w.text, Ink::Text, Anchor::Left);
        }
    }
}

const LEGEND_ROW: f64 = 20.0;

fn legend_places(panel: &Panel, width: i32) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (12.0, 12.0);
    let mut places = Vec::new();
    for (_, name) in panel.legend() {
        let needed = text_width(name) + 36.0;
        if x > 12.0 && x + needed > f64::from(width) {
            (x, y) = (12.0, y + LEGEND_ROW);
        }
        places.push((x, y));
        x += needed;
    }
    places
}

fn legend_height(panel: &Panel, width: i32) -> f64 {
    legend_places(panel, width).last().map_or(0.0, |p| p.1 + LEGEND_ROW / 2.0)
}

fn draw_legend(c: &Canvas, panel: &Panel, width: i32) {
    for ((ink, name), (x, y)) in panel.legend().into_iter().zip(legend_places(panel, width)) {
        c.mark((x, y), 5.0, ink);
        c.text((x + 11.0, y), name, Ink::Text, Anchor::Left);
    }
}

/// Attained rate against operations a byte, under the processor's limits.
pub(crate) fn roofline(panel: &Panel, roof: &Roof, width: i32) -> Option<String> {
    let mine = |c: &&&CaseView| c.processor == roof.processor;
    let points: Vec<(&CaseView, &str, f64, f64)> = panel
        .cases
        .iter()
        .filter(mine)
        .flat_map(|c| c.roofline.iter().map(|p| (*c, p.phase.as_str(), p.intensity, p.gflops)))
        .take(MAX_POINTS)
        .collect();
    if points.is_empty() {
        return None;
    }
    let (height, legend) = (if width > 500 { 420 } else { 360 }, legend_height(panel, width));
    let peak = roof.peaks.last().map(|p| p.1);
    let (x_low, x_high) = range(points.iter().map(|p| p.2));
    let (y_low, y_high) = range(points.iter().map(|p| p.3));
    let y_top = peak.unwrap_or(y_high).max(y_high);
    Some(svg(width, height + legend as i32, |c| {
        draw_legend(c, panel, width);
        let bottom = f64::from(height) + legend - 46.0;
        let axes = Axes {
            canvas: c,
            x: Scale::log(x_low.min(1.0), x_high, 50.0, f64::from(width) - 14.0),
            y: Scale::log(y_low, y_top, bottom, legend + 34.0),
        };
        axes.draw("operations a byte of weights", "10^9 operations a second");
        let taken = draw_roof(c, &axes, roof);
        for (case, phase, intensity, gflops) in &points {
            let size = if *phase == "decode" { 5.0 } else { 3.5 };
            c.mark(axes.at(*intensity, *gflops), size, panel.ink(case));
        }
        let texts: Vec<String> = points.iter().map(|(c, ..)| label(panel, c)).collect();
        let wanted: Vec<Wanted> = points
            .iter()
            .zip(&texts)
            .map(|((_, _, x, y), text)| Wanted { at: axes.at(*x, *y), radius: 5.0, text })
            .collect();
        draw_labels(c, &wanted, &taken, axes_bounds(&axes));
    }))
}

/// Draws the limits with their names; the places the names take.
fn draw_roof(c: &Canvas, axes: &Axes, roof: &Roof) -> Vec<Rect> {
    let (left, right) = (axes.x.low(), axes.x.high());
    let top = axes.y.high();
    let slope_end = roof.peaks.last().map_or(top, |p| p.1).min(top);
    let end = (slope_end / roof.bandwidth_gbs).clamp(left, right);
    // The slope enters from the left edge or from the bottom one.
    let start = left.max(axes.y.low() / roof.bandwidth_gbs).min(end);
    let on_slope = |x: f64| axes.at(x, (x * roof.bandwidth_gbs).clamp(axes.y.low(), top));
    c.path(&[on_slope(start), on_slope(end)], Ink::Text, 2);
    let mut names: Vec<((f64, f64), String)> = Vec::new();
    for (name, peak) in roof.peaks.iter().filter(|p| p.1 <= top) {
        let from = (peak / roof.bandwidth_gbs).clamp(left, right);
        c.line(axes.at(from, *peak), axes.at(right, *peak), Ink::Text, 1);
        let at = axes.at(right, *peak);
        names.push(((at.0, at.1 - 9.0), format!("{name} peak")));
    }
    let text = format!("{} GB/s", significant(roof.bandwidth_gbs));
    // Left of the slope's middle, further up where the axis is too near.
    let needed = axes.x.at(left) + text_width(&text) + 10.0;
    let along = |part: f64| on_slope(start * (end / start).powf(part));
    let at = [0.5, 0.6, 0.7, 0.8, 0.9].map(along).into_iter().find(|at| at.0 >= needed);
    if let Some(at) = at {
        names.push(((at.0 - 8.0, at.1 - 12.0), text));
    }
    for (at, name) in &names {
        c.text(*at, name, Ink::Muted, Anchor::Right);
    }
    let rect = |((x, y), name): &((f64, f64), String)| Rect {
        left: x - text_width(name),
        top: y - 8.0,
        right: *x,
        bottom: y + 8.0,
    };
    names.iter().map(rect).collect()
}

/// Height of the temperature and of the clock below the speed.
const STRIP: f64 = 130.0;

/// Speed over time with its plateau, one line a case; temperature and clock below where the host told them.
pub(crate) fn sustained(view: &View, curves: &[&SustainedCurve], width: i32) -> Option<String> {
    const LINES: usize = 6;
    let curves: Vec<&SustainedCurve> =
        curves.iter().copied().filter(|c| c.points.len() > 1).take(LINES).collect();
    let all = || curves.iter().flat_map(|c| c.points.iter());
    let (time, speed) = (range(all().map(|p| p[0])).1, range(all().map(|p| p[1])).1);
    if curves.is_empty() || !(time > 0.0 && speed > 0.0) {
        return None;
    }
    type Part = fn(&SustainedCurve) -> &[[f64; 2]];
    let strips: [(&str, Part); 2] = [("°C", |c| &c.temperature), ("MHz", |c| &c.clock)];
    let shown: Vec<_> =
        strips.into_iter().filter(|(_, of)| curves.iter().any(|c| of(c).len() > 1)).collect();
    let legend = 16.0 + LEGEND_ROW * curves.len() as f64;
    let main = 300.0 + legend;
    Some(svg(width, (main + STRIP * shown.len() as f64) as i32, |c| {
        let x = || Scale::from_zero(time, 44.0, f64::from(width) - 14.0);
        let y = Scale::from_zero(speed, main - 46.0, legend + 30.0);
        let axes = Axes { canvas: c, x: x(), y };
        axes.draw(if shown.is_empty() { "seconds" } else { "" }, &curves[0].unit);
        let line = |axes: &Axes, points: &[[f64; 2]], n: usize| {
            let points: Vec<(f64, f64)> = points.iter().map(|p| axes.at(p[0], p[1])).collect();
            c.path(&points, Ink::Framework(n), 2);
        };
        for (n, curve) in curves.iter().enumerate() {
            line(&axes, &curve.points, n);
            if let (Some(p), Some(end)) = (&curve.plateau, curve.points.last()) {
                c.line(axes.at(p.from_s, p.level), axes.at(end[0], p.level), Ink::Text, 1);
            }
            let case = &view.cases[curve.case];
            let y = 12.0 + LEGEND_ROW * n as f64;
            c.line((8.0, y), (28.0, y), Ink::Framework(n), 3);
            let kept = curve.plateau.as_ref().map(|p| p.level / p.start * 100.0);
            let kept = kept.map_or(String::new(), |k| format!(", {k:.0} % kept"));
            let mut parts = vec![case.framework.as_str(), &case.precision];
            parts.extend(case.options.iter().map(String::as_str));
            let text = format!("{} ({}){kept}", parts.join(" "), case.workload);
            let text = shorten(&text, ((f64::from(width) - 50.0) / text_width("x")) as usize);
            c.text((36.0, y), &text, Ink::Text, Anchor::Left);
        }
        for (k, (unit, of)) in shown.iter().enumerate() {
            let (low, high) = range(curves.iter().flat_map(|c| of(c)).map(|p| p[1]));
            // A steady value is a line in the middle.
            let room = ((high - low) * 0.1).max(high.abs() * 0.02).max(1.0);
            let top = main + STRIP * k as f64;
            let y = Scale::linear(low - room, high + room, top + STRIP - 46.0, top + 20.0);
            let axes = Axes { canvas: c, x: x(), y };
            axes.draw(if k + 1 == shown.len() { "seconds" } else { "" }, unit);
            for (n, curve) in curves.iter().enumerate().filter(|(_, c)| of(c).len() > 1) {
                line(&axes, of(curve), n);
            }
        }
    }))
}

//! A drawing surface over plotters' SVG backend: colours as CSS variables, text, scales, axes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of a character relative to the font size, for a sans-serif face; errs on the wide side.
const CHARACTER: f64 = 0.6;
pub(crate) const FONT: i32 = 12;

/// A colour of the page's theme; the number of a framework or of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Text,
    Muted,
    Grid,
    Paper,
    Framework(usize),
    Part(usize),
}

/// Frameworks beyond this share the last colour.
pub(crate) const FRAMEWORK_INKS: usize = 7;
const PART_INKS: usize = 4;

impl Ink {
    /// A colour that no one uses, replaced by its CSS variable once the SVG is written.
    fn stand_in(self) -> RGBColor {
        match self {
            Ink::Text => RGBColor(1, 0, 0),
            Ink::Muted => RGBColor(1, 0, 1),
            Ink::Grid => RGBColor(1, 0, 2),
            Ink::Paper => RGBColor(1, 0, 3),
            Ink::Framework(n) => RGBColor(2, 0, n.min(FRAMEWORK_INKS - 1) as u8),
            Ink::Part(n) => RGBColor(3, 0, n.min(PART_INKS - 1) as u8),
        }
    }

    fn all() -> impl Iterator<Item = (Ink, String)> {
        let plain = [
            (Ink::Text, "ink".to_owned()),
            (Ink::Muted, "muted".to_owned()),
            (Ink::Grid, "grid".to_owned()),
            (Ink::Paper, "paper".to_owned()),
        ];
        let frameworks = (0..FRAMEWORK_INKS).map(|n| (Ink::Framework(n), format!("f{n}")));
        let parts = (0..PART_INKS).map(|n| (Ink::Part(n), format!("p{n}")));
        plain.into_iter().chain(frameworks).chain(parts)
    }
}

/// Where a text hangs on its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws in pixels from the top left.
pub(crate) struct Canvas<'a> {
    area: Area<'a>,
}

/// An SVG of that size. Drawing to memory cannot fail.
pub(crate) fn svg(width: i32, height: i32, paint: impl FnOnce(&Canvas)) -> String {
    let mut text = String::new();
    {
        let size = (width.max(1) as u32, height.max(1) as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let canvas = Canvas { area };
        paint(&canvas);
        done(canvas.area.present());
    }
    for (ink, name) in Ink::all() {
        let RGBColor(r, g, b) = ink.stand_in();
        text = text.replace(&format!("\"#{r:02X}{g:02X}{b:02X}\""), &format!("\"var(--{name})\""));
    }
    // Line ends inside text elements would show as spaces; full opacity is the default.
    text.replace(">\n", ">").replace("\n</text>", "</text>").replace(" opacity=\"1\"", "")
}

impl Canvas<'_> {
    pub(crate) fn line(&self, from: (f64, f64), to: (f64, f64), ink: Ink, width: u32) {
        self.path(&[from, to], ink, width);
    }

    pub(crate) fn path(&self, points: &[(f64, f64)], ink: Ink, width: u32) {
        let style = ink.stand_in().stroke_width(width);
        done(
            self.area.draw(&PathElement::new(points.iter().map(pixel).collect::<Vec<_>>(), style)),
        );
    }

    pub(crate) fn bar(&self, from: (f64, f64), to: (f64, f64), ink: Ink) {
        done(self.area.draw(&Rectangle::new([pixel(&from), pixel(&to)], ink.stand_in().filled())));
    }

    /// A framework's mark: shape and colour both tell which, `size` is its radius.
    pub(crate) fn mark(&self, at: (f64, f64), size: f64, framework: usize) {
        let style = Ink::Framework(framework).stand_in().filled();
        let (x, y) = at;
        let polygon = |points: &[(f64, f64)]| {
            let points = points.iter().map(|(dx, dy)| pixel(&(x + dx * size, y + dy * size)));
            done(self.area.draw(&Polygon::new(points.collect::<Vec<_>>(), style)));
        };
        const ARM: f64 = 0.42;
        match framework {
            0 => done(self.area.draw(&Circle::new(pixel(&at), size.round() as i32, style))),
            1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            2 => polygon(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
            3 => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
            4 => polygon(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)]),
            5 => polygon(&[
                (-ARM, -1.1),
                (ARM, -1.1),
                (ARM, -ARM),
                (1.1, -ARM),
                (1.1, ARM),
                (ARM, ARM),
                (ARM, 1.1),
                (-ARM, 1.1),
                (-ARM, ARM),
                (-1.1, ARM),
                (-1.1, -ARM),
                (-ARM, -ARM),
            ]),
            _ => polygon(&[
                (-0.5, -1.0),
                (0.5, -1.0),
                (1.1, 0.0),
                (0.5, 1.0),
                (-0.5, 1.0),
                (-1.1, 0.0),
            ]),
        }
    }

    /// Text centred on its line.
    pub(crate) fn text(&self, at: (f64, f64), text: &str, ink: Ink, anchor: Anchor) {
        let horizontal = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let color = ink.stand_in();
        let style = TextStyle::from(("sans-serif", f64::from(FONT) * 1.24).into_font())
            .color(&color)
            .pos(Pos::new(horizontal, VPos::Center));
        done(self.area.draw(&Text::new(text.to_owned(), pixel(&at), style)));
    }
}

fn done<E: std::fmt::Debug>(result: Result<(), E>) {
    result.expect("an SVG in memory takes every element");
}

fn pixel(point: &(f64, f64)) -> (i32, i32) {
    (point.0.round() as i32, point.1.round() as i32)
}

pub(crate) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * f64::from(FONT) * CHARACTER
}

/// Maps values to pixels, linearly or by logarithm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// From zero to a round number at or above `max`.
    pub(crate) fn from_zero(max: f64, from: f64, to: f64) -> Self {
        let step = nice_step(max / 4.0);
        let high = (max / step).ceil().max(1.0) * step;
        Self { low: 0.0, high, log: false, from, to }
    }

    /// Linear from `low` to `high`, a little wider.
    pub(crate) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let pad = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-9);
        Self { low: low - pad, high: high + pad, log: false, from, to }
    }

    /// By logarithm over positive values, a little wider.
    pub(crate) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low: low / 1.5, high: high * 1.5, log: true, from, to }
    }

    pub(crate) fn at(&self, x: f64) -> f64 {
        let place = |v: f64| if self.log { v.max(1e-300).ln() } else { v };
        let (low, high) = (place(self.low), place(self.high));
        self.from + (place(x) - low) / (high - low) * (self.to - self.from)
    }

    pub(crate) fn low(&self) -> f64 {
        self.low
    }

    pub(crate) fn high(&self) -> f64 {
        self.high
    }

    /// At most about `wanted` round values inside the range.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<f64> {
        if self.log {
            let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
            let mantissas: &[f64] = if last - first < 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let all: Vec<f64> = (first - 1..=last)
                .flat_map(|e| mantissas.iter().map(move |m| m * 10f64.powi(e)))
                .filter(|v| *v >= self.low && *v <= self.high)
                .collect();
            let every = all.len().div_ceil(wanted.max(1)).max(1);
            return all.into_iter().step_by(every).collect();
        }
        let step = nice_step((self.high - self.low) / wanted.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil() as i64;
        (first..first + 64)
            .map(|i| i as f64 * step)
            .take_while(|v| *v <= self.high + step * 1e-9)
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at or above `x`.
fn nice_step(x: f64) -> f64 {
    let x = if x.is_finite() && x > 0.0 { x } else { 1.0 };
    let power = 10f64.powf(x.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= x * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// `0.5`, `20`, `1500`: no trailing zeros.
pub(crate) fn tick_text(x: f64) -> String {
    let text = crate::report::text::significant(x);
    if !text.contains('.') || text.contains('e') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Frame of a plot: where its axes lie.
pub(crate) struct Axes<'c, 'a> {
    pub canvas: &'c Canvas<'a>,
    pub x: Scale,
    pub y: Scale,
}

impl Axes<'_, '_> {
    /// Grid, tick labels and titles. The y title stands above the axis, so that it needs no rotation.
    pub(crate) fn draw(&self, x_title: &str, y_title: &str) {
        let (left, right) = (self.x.at(self.x.low()), self.x.at(self.x.high()));
        let (bottom, top) = (self.y.at(self.y.low()), self.y.at(self.y.high()));
        for tick in self.y.ticks(((bottom - top) / 44.0) as usize) {
            let y = self.y.at(tick);
            self.canvas.line((left, y), (right, y), Ink::Grid, 1);
            self.canvas.text((left - 6.0, y), &tick_text(tick), Ink::Muted, Anchor::Right);
        }
        for tick in self.x.ticks(((right - left) / 72.0) as usize) {
            let x = self.x.at(tick);
            self.canvas.line((x, bottom), (x, top), Ink::Grid, 1);
            self.canvas.text((x, bottom + 13.0), &tick_text(tick), Ink::Muted, Anchor::Middle);
        }
        self.canvas.line((left, bottom), (right, bottom), Ink::Muted, 1);
        self.canvas.text((right, bottom + 31.0), x_title, Ink::Text, Anchor::Right);
        self.canvas.text((8.0, top - 16.0), y_title, Ink::Text, Anchor::Left);
    }

    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stand_in_colour_becomes_a_variable() {
        let text = svg(100, 50, |c| {
            for (i, (ink, _)) in Ink::all().enumerate() {
                c.bar((i as f64, 0.0), (i as f64 + 1.0, 5.0), ink);
            }
            c.text((5.0, 5.0), "<b>&", Ink::Text, Anchor::Left);
        });
        assert!(!text.contains("\"#"), "{text}");
        assert!(text.contains("var(--f6)") && text.contains("var(--p3)"));
        assert!(text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"));
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::from_zero(138.0, 0.0, 100.0).ticks(4), [0.0, 50.0, 100.0, 150.0]);
        for t in Scale::log(0.7, 900.0, 0.0, 100.0).ticks(5) {
            assert!((0.4..=1400.0).contains(&t));
        }
        assert_eq!(tick_text(0.50), "0.5");
        assert_eq!(tick_text(20.0), "20");
    }
}

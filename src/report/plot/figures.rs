//! The list of figures of a report, each with its words, drawn for a wide and for a narrow page.

use super::bars;
use super::panel::{MAX_ROWS, Panel, panels};
use super::points::{self, Quality};
use crate::model::Metric;
use crate::report::text::{duration_ns, significant};
use crate::report::view::{CaseView, View, metric};

const WIDE: i32 = 860;
const NARROW: i32 = 358;

/// A plot with its title and the sentence that says what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub id: String,
    pub title: String,
    /// Stands below the plot and for it where it cannot be seen.
    pub text: String,
    pub wide_svg: String,
    pub narrow_svg: String,
}

/// All figures, and how many models or runs have plots left out.
pub fn figures(view: &View) -> (Vec<Figure>, usize) {
    let (panels, left_out) = panels(view);
    let mut figures = Vec::new();
    for (n, panel) in panels.iter().enumerate() {
        let several = panels.len() > 1;
        let mut add =
            |id: &str, title: &str, text: String, draw: &dyn Fn(i32) -> Option<String>| {
                let (Some(wide_svg), Some(narrow_svg)) = (draw(WIDE), draw(NARROW)) else { return };
                let title =
                    if several { format!("{title}: {}", panel.title) } else { title.into() };
                figures.push(Figure { id: format!("{id}-{n}"), title, text, wide_svg, narrow_svg });
            };
        panel_figures(view, panel, &mut add);
    }
    (figures, left_out)
}

type Add<'f> = dyn FnMut(&str, &str, String, &dyn Fn(i32) -> Option<String>) + 'f;

fn panel_figures(view: &View, panel: &Panel, add: &mut Add) {
    let quality = Quality::of(panel);
    let title = match quality {
        Quality::BitsPerWeight => "Bits a weight against speed",
        _ => "Quality against speed",
    };
    add("pareto", title, pareto_words(panel, quality), &|w| points::pareto(panel, w));
    let speeds = [
        ("decode", "Generation speed (decode)", Metric::DecodeTokS),
        ("prefill", "Prompt speed (prefill)", Metric::PrefillTokS),
        ("throughput", "Throughput", Metric::ThroughputPerS),
    ];
    for (id, title, m) in speeds {
        add(id, title, speed_words(panel, m), &|w| bars::speed(panel, m, w));
    }
    add("split", "Where a request's time goes", split_words(panel), &|w| bars::split(panel, w));
    add("memory", "Peak memory by part", memory_words(panel), &|w| bars::memory(panel, w));
    for roof in &view.runs[panel.run].device.roofs {
        let text = format!(
            "Roofline of {}: memory bandwidth {} GB/s ({}){}. Large marks are decode, small ones prefill. \
             Two operations a parameter and token; a token of decode reads the whole file, a prompt reads it once \
             (true of dense models). A mark near the slope is bound by memory bandwidth, near a peak by compute.",
            roof.processor,
            significant(roof.bandwidth_gbs),
            roof.source,
            if roof.peaks.is_empty() { "; no compute peak is known" } else { "" },
        );
        add("roofline", "Roofline", text, &|w| points::roofline(panel, roof, w));
    }
    add("latency", "Spread of latency", latency_words(panel), &|w| bars::latency(panel, w));
    let mine: Vec<_> = view
        .sustained
        .iter()
        .filter(|s| panel.cases.iter().any(|c| std::ptr::eq(*c, &view.cases[s.case])))
        .collect();
    let text = sustained_words(view, &mine);
    add("sustained", "Sustained speed", text, &|w| points::sustained(view, &mine, w));
}

/// `Shown are 48 of 60 cases.` where not all fit.
fn cut(panel: &Panel) -> String {
    match panel.cases.len() {
        n if n > MAX_ROWS => format!(" Shown are {MAX_ROWS} of {n} cases; the table has all."),
        _ => String::new(),
    }
}

fn name(c: &CaseView) -> String {
    format!("{} {}", c.framework, c.precision)
}

/// The cases with the smallest and the largest value.
fn extremes<'a>(
    panel: &Panel<'a>,
    value: impl Fn(&CaseView) -> Option<f64>,
) -> Option<[(&'a CaseView, f64); 2]> {
    let mut values: Vec<(&CaseView, f64)> =
        panel.cases.iter().filter_map(|c| Some((*c, value(c)?))).collect();
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some([*values.first()?, *values.last()?])
}

fn pareto_words(panel: &Panel, quality: Quality) -> String {
    let front: Vec<String> = points::front(panel, quality).iter().map(|c| name(c)).collect();
    let source = panel.cases.iter().filter_map(|c| c.variant.as_ref()).find(|v| v.source_quantized);
    let bias = match (quality, source) {
        (Quality::BitsPerWeight, _) | (_, None) => String::new(),
        (_, Some(v)) => format!(" Quality is relative to a {} source.", v.source_type),
    };
    format!(
        "{} against generation speed; a mark's area is the file's size. On the front, where nothing else is both \
         faster and better: {}.{bias}",
        match quality {
            Quality::Top1 => "How often the variant picks the reference's token",
            Quality::Cosine => "Cosine to the reference's output",
            Quality::BitsPerWeight => "Quality was not measured, so bits a weight are shown",
        },
        front.join(", ")
    )
}

fn speed_words(panel: &Panel, m: Metric) -> String {
    let value = |c: &CaseView| metric(c, m).map(|v| v.median.value);
    let Some([(slow, low), (fast, high)]) = extremes(panel, value) else { return String::new() };
    let unit = m.unit().symbol();
    format!(
        "From {} {unit} ({}) to {} {unit} ({}). Whiskers are 95 % intervals of the median.{}",
        significant(low),
        name(slow),
        significant(high),
        name(fast),
        cut(panel)
    )
}

fn split_words(panel: &Panel) -> String {
    let workload = panel.cases.first().map_or("", |c| c.workload.as_str());
    format!("Seconds a request of {workload} takes, from the median speeds.{}", cut(panel))
}

fn memory_words(panel: &Panel) -> String {
    let value = |c: &CaseView| c.memory.as_ref().map(|m| m.peak.value);
    let Some([(least, low), (most, high)]) = extremes(panel, value) else { return String::new() };
    format!(
        "Peak memory from {} ({}) to {} ({}). One colour where mapped files make the parts add up to more than \
         the peak.{}",
        crate::report::text::bytes(low),
        name(least),
        crate::report::text::bytes(high),
        name(most),
        cut(panel)
    )
}

fn latency_words(panel: &Panel) -> String {
    let value = |c: &CaseView| {
        let m = metric(c, Metric::DecodeTokS).or_else(|| metric(c, Metric::LatencyNs))?;
        m.cv
    };
    let steadiest = match extremes(panel, value) {
        Some([(steady, low), (unsteady, high)]) => format!(
            " Steadiest is {} (coefficient of variation {:.1} %), least steady {} ({:.1} %).",
            name(steady),
            low * 100.0,
            name(unsteady),
            high * 100.0
        ),
        None => String::new(),
    };
    format!(
        "Time a token (or an inference) over all counted samples: line at the median, box between the quartiles, \
         whiskers to the extremes.{steadiest}{}",
        cut(panel)
    )
}

fn sustained_words(view: &View, curves: &[&crate::report::view::SustainedCurve]) -> String {
    let one = |s: &&&crate::report::view::SustainedCurve| {
        let (plateau, last) = (s.plateau.as_ref()?, s.points.last()?);
        let name = name(&view.cases[s.case]);
        let (level, unit) = (significant(plateau.level), &s.unit);
        let kept = plateau.level / plateau.start * 100.0;
        let [from, time] = [plateau.from_s, last[0]].map(|s| duration_ns(s * 1e9));
        Some(match plateau.settled {
            true => {
                format!("{name} holds {level} {unit}, {kept:.0} % of its start, from {from} on")
            }
            false => format!(
                "{name} is at {level} {unit}, {kept:.0} % of its start, after {time} and still changing"
            ),
        })
    };
    let kept: Vec<String> = curves.iter().take(6).filter_map(|c| one(&c)).collect();
    format!(
        "Speed over time: {}. A thin line marks each plateau: the median of the last third, against the median of the \
         first tenth.",
        kept.join("; ")
    )
}

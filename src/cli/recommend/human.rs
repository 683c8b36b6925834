//! The answer for a person: 80 columns, every number with its interval and where it comes from.

use std::fmt::Write;

use super::setup::Setup;
use crate::advise::{CatalogueChoice, Choice, Comfort, FrameworkState, Quality, Recommendation};
use crate::predict::Estimate;
use crate::report::paragraph;

const WIDTH: usize = 80;
/// Groups of refused candidates that are shown.
const SHOWN: usize = 4;

pub fn render(r: &Recommendation, setup: &Setup, explain: bool) -> String {
    let mut t = String::new();
    let title = setup.model.as_ref().map_or(r.model.as_str(), |m| m.title.as_str());
    let _ = writeln!(t, "{}", clip(&clean(title), WIDTH));
    t.push_str(&device_line(r, setup));
    t.push('\n');
    answer(&mut t, r);
    alternatives(&mut t, r);
    changes(&mut t, r);
    if explain {
        t.push('\n');
        t.push_str(&trace(r));
    } else {
        let _ = writeln!(
            t,
            "\n{} ways to run it were weighed; --explain shows each step.",
            r.considered
        );
    }
    t
}

/// The catalogue's answer: the table of models, then the pick in full.
pub fn catalogue(
    r: &Recommendation,
    fits: &[CatalogueChoice],
    setup: &Setup,
    comfort: Comfort,
    explain: bool,
) -> String {
    let mut t = String::new();
    t.push_str(&device_line(r, setup));
    let _ = writeln!(t, "\nBest model here: {}", clean(&r.model));
    let Comfort { decode_tok_s, ttft_s } = comfort;
    let goal = format!("{decode_tok_s} tok/s, first token within {ttft_s} s");
    let first = &fits[0];
    let of = "of the catalogue";
    let _ = match &first.choice.candidate {
        c if c.decode_tok_s.is_some() && first.slowness > 1.0 => {
            writeln!(t, "slower than comfortable ({goal});\nthe one {of} that comes nearest\n")
        }
        c if c.decode_tok_s.is_some() => writeln!(t, "the most capable {of} for {goal}\n"),
        c if c.latency_s.is_some() => writeln!(t, "the most capable {of} that fits\n"),
        _ => writeln!(t, "the most capable {of} that fits; its speed is not known\n"),
    };
    answer(&mut t, r);
    let _ = writeln!(
        t,
        "\nOther sizes\n  {:<26}{:>7}  {:<25}{:>7} {:>9}",
        "model", "params", "run as", "tok/s", "memory"
    );
    for c in spread(fits) {
        let k = &c.choice.candidate;
        let run = format!("{} {}", k.framework_name, k.precision);
        let _ = writeln!(
            t,
            "  {:<26}{:>7}  {:<25}{:>7} {:>9}",
            clip(&clean(&c.model), 25),
            count(c.parameters),
            clip(&run, 24),
            k.decode_tok_s.as_ref().map_or("-".into(), |d| number(d.value)),
            k.memory_bytes.as_ref().map_or("-".into(), |m| bytes(m.value)),
        );
    }
    let _ = writeln!(
        t,
        "\n{} models of the catalogue fit. `recommend NAME` explains any of them.",
        fits.len()
    );
    if explain {
        t.push('\n');
        t.push_str(&trace(r));
    }
    t
}

/// Six models over the range of sizes, the pick left out: what a person would choose among.
fn spread(fits: &[CatalogueChoice]) -> Vec<&CatalogueChoice> {
    let mut rest: Vec<&CatalogueChoice> = fits.iter().skip(1).collect();
    rest.sort_by(|a, b| b.capability.total_cmp(&a.capability));
    let mut out: Vec<&CatalogueChoice> = Vec::new();
    for c in rest {
        if out.last().is_none_or(|l| c.capability < l.capability * 0.7) {
            out.push(c);
        }
    }
    let skip = out.len().saturating_sub(6);
    // Far larger models than the pick are slow here: keep two of them.
    let larger = out.iter().filter(|c| c.capability > fits[0].capability).count();
    out.into_iter().skip(skip.min(larger.saturating_sub(2))).take(6).collect()
}

fn device_line(r: &Recommendation, setup: &Setup) -> String {
    let d = &setup.device;
    let mut parts = vec![clean(&r.device_name)];
    if let Some(gpu) = d.processors.iter().find(|p| p.memory_bytes.is_some()) {
        let m = gpu.memory_bytes.as_ref().map_or(0, |m| m.value);
        parts.push(format!("{} {}", clean(&gpu.name), bytes(m as f64)));
    }
    parts.push(format!("{} threads", d.cpu.threads));
    parts.push(format!("{} to use", bytes(d.limits.memory_available_bytes as f64)));
    let mut t = wrap(&format!("on {}", parts.join(", ")), 0);
    let notes = d
        .problems
        .iter()
        .filter(|_| !setup.live)
        .map(|p| format!("{} ({})", clean(&p.what), clean(&p.hint)));
    for note in notes.take(2) {
        t.push_str(&wrap(&format!("note: {note}"), 0));
    }
    if let Some(m) = setup.profile.as_ref().filter(|m| !m.exact) {
        t.push_str(&wrap(&format!("note: approximately profile {}: {}", m.id, clean(&m.why)), 0));
    }
    t
}

fn answer(t: &mut String, r: &Recommendation) {
    let Some(pick) = &r.pick else { return };
    let c = &pick.candidate;
    let _ = writeln!(t, "  Run it with   {}", c.label());
    numbers(t, pick, r.context);
    if let Some(o) = &r.overruled {
        field(t, "evidence", o);
    }
    if let Some(b) = &r.bottleneck {
        field(t, "limited by", b);
    }
    if let Some(k) = &r.confidence {
        field(t, "confidence", &format!("{}: {}", k.level, k.why));
    }
    for a in &r.advice {
        field(t, "mind", a);
    }
    commands(t, pick);
    if let Some(now) = &r.ready_now {
        let speed = now
            .candidate
            .decode_tok_s
            .as_ref()
            .map_or(String::new(), |d| format!(", {} tok/s", number(d.value)));
        let _ = writeln!(t, "\n  With what is here now: {}{speed}", now.candidate.label());
        command_line(t, &now.commands.run);
    }
}

fn numbers(t: &mut String, pick: &Choice, context: u64) {
    let c = &pick.candidate;
    if let Some(d) = &c.decode_tok_s {
        field(t, "decode", &with_interval(d, "tok/s", number));
    }
    match (&c.ttft_s, &c.prefill_tok_s) {
        (Some(x), p) => {
            let prefill = p
                .as_ref()
                .map_or(String::new(), |p| format!("; prefill {} tok/s", number(p.value)));
            field(t, "first token", &format!("{}{prefill}", with_interval(x, "s", seconds)));
        }
        (None, Some(p)) => field(t, "prefill", &with_interval(p, "tok/s", number)),
        _ => {}
    }
    if let Some(l) = c.latency_s.as_ref().filter(|_| c.decode_tok_s.is_none()) {
        field(t, "inference", &with_interval(l, "s", seconds));
    }
    if let Some(why) = &c.no_speed {
        field(t, "speed", &format!("not known: {why}"));
    }
    if let Some(m) = &c.memory_bytes {
        let limit = c.memory_limit_bytes as f64;
        let kv = if c.kv_bytes > 0 {
            format!(", {} of it for {context} tokens of context", bytes(c.kv_bytes as f64))
        } else {
            String::new()
        };
        field(t, "memory", &format!("{} of {}{kv}", bytes(m.value), bytes(limit)));
    }
    if let Some(q) = &c.quality {
        field(t, "quality", &quality(q));
    }
    if let Some(warm) = &c.load_s {
        let cold = c.load_cold_s.as_ref();
        let cold = cold.map_or(String::new(), |l| format!(", {} s from disk", seconds(l.value)));
        field(t, "load", &format!("{}{cold}", with_interval(warm, "s", seconds)));
    }
    if let Some(e) = &c.energy_j_per_token {
        field(t, "energy", &with_interval(e, "J a token", number));
    }
}

fn quality(q: &Quality) -> String {
    if q.kept >= 99.95 && q.basis.contains("reference") {
        return "100 %: the reference".to_owned();
    }
    let tag = q.basis.split(':').next().unwrap_or_default();
    format!("{:.1} % of 16-bit kept ({:.1} to {:.1}, {tag})", q.kept, q.low, q.high)
}

fn commands(t: &mut String, pick: &Choice) {
    let c = &pick.candidate;
    if !pick.commands.install.is_empty() {
        let state = match &c.state {
            FrameworkState::NotInstalled { .. } => "not installed here",
            _ => "if it is not there yet",
        };
        let _ = writeln!(t, "\n  Install {} ({state})", c.framework_name);
        command_line(t, &pick.commands.install);
        if let FrameworkState::NotInstalled { hint } = &c.state
            && !hint.is_empty()
            && c.bench
        {
            let _ = writeln!(t, "  to measure it with edge-advisor");
            command_line(t, &clean(hint));
        }
    }
    if !pick.commands.run.is_empty() {
        let _ = writeln!(t, "\n  Start");
        command_line(t, &pick.commands.run);
    }
}

/// A command, broken at spaces with a trailing backslash so that it can be pasted.
fn command_line(t: &mut String, command: &str) {
    let (command, remark) = command.split_once("  # ").unwrap_or((command, ""));
    let mut line = String::new();
    for word in command.split(' ') {
        if !line.is_empty() && 6 + line.chars().count() + word.chars().count() > WIDTH - 2 {
            let _ = writeln!(t, "    {line} \\");
            line = String::from("  ");
        } else if !line.is_empty() && !line.ends_with("  ") {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(t, "    {line}");
    if !remark.is_empty() {
        t.push_str(&wrap(&format!("({remark})"), 4));
    }
}

fn alternatives(t: &mut String, r: &Recommendation) {
    if r.runners_up.is_empty() {
        return;
    }
    let _ = writeln!(t, "\nInstead of it");
    for alt in &r.runners_up {
        let c = &alt.choice.candidate;
        let speed = c
            .decode_tok_s
            .as_ref()
            .map_or(String::new(), |d| format!("  {} tok/s", number(d.value)));
        let _ = writeln!(t, "  {}{speed}", c.label());
        t.push_str(&wrap(&alt.verdict(), 6));
    }
}

fn changes(t: &mut String, r: &Recommendation) {
    if !r.sensitivity.is_empty() {
        let _ = writeln!(t, "\nWhat would change the answer");
        for s in &r.sensitivity {
            t.push_str(&wrap(&format!("{}: {}", s.if_, s.then), 2));
        }
    }
    if !r.refused.is_empty() {
        let _ = writeln!(t, "\nNot possible");
        // Near misses first: they are what a small change would allow.
        let mut refused: Vec<_> = r.refused.iter().collect();
        let miss = |x: &crate::advise::Refused| match x.reasons.iter().map(|r| r.over).sum::<f64>()
        {
            0.0 => f64::MAX,
            over => over,
        };
        refused.sort_by(|a, b| miss(a).total_cmp(&miss(b)));
        for x in refused.iter().take(SHOWN) {
            let why = x.reasons.first().map_or("", |r| r.why.as_str());
            let list = x.precisions.join(" ");
            t.push_str(&wrap(&format!("{} on {} {list}: {why}", x.framework, x.place), 2));
        }
        if refused.len() > SHOWN {
            let more = refused.len() - SHOWN;
            let _ = writeln!(t, "  and {more} more groups (--format json lists them)");
        }
    }
}

/// The path through the tree, step by step.
pub fn trace(r: &Recommendation) -> String {
    let mut t = String::from("How it was decided\n");
    let mut stage = "";
    for (i, s) in r.trace.iter().enumerate() {
        if s.stage != stage {
            stage = &s.stage;
            let _ = writeln!(t, " {stage}");
        }
        let _ = writeln!(t, "  {:>2}. {} [{}]", i + 1, s.title, s.id);
        t.push_str(&wrap(&format!("because {}", s.facts.join(", ")), 6));
        if !s.effects.is_empty() {
            t.push_str(&wrap(&format!("so {}", s.effects.join("; ")), 6));
        }
        t.push_str(&wrap(&format!("{} ({})", s.reason, s.source), 6));
    }
    let _ = writeln!(t, " limits");
    let out: usize = r.refused.iter().map(|x| x.precisions.len()).sum();
    let _ = writeln!(
        t,
        "      {} candidates, {out} refused, {} left",
        r.considered,
        r.considered - out
    );
    if let Some(p) = &r.pick {
        let _ = writeln!(
            t,
            " weights of the pick ({} objective, utility {:.3})",
            r.objective, p.candidate.utility
        );
        for (stage, rule, w) in &p.candidate.weights {
            let _ = writeln!(t, "      {w:+.2} {rule} ({stage})");
        }
        let c = &p.candidate;
        for (name, e) in [
            ("decode", &c.decode_tok_s),
            ("prefill", &c.prefill_tok_s),
            ("memory", &c.memory_bytes),
            ("load", &c.load_s),
            ("load from disk", &c.load_cold_s),
            ("energy", &c.energy_j_per_token),
        ] {
            if let Some(e) = e {
                t.push_str(&wrap(&format!("{name}: {} ({})", e.basis, e.rung.tag()), 6));
            }
        }
        if let Some(q) = &p.candidate.quality {
            t.push_str(&wrap(&format!("quality: {}", q.basis), 6));
        }
    }
    t
}

/// "Nothing fits": the cause with the nearest miss, and what to relax.
pub fn nothing(r: &Recommendation) -> (String, String) {
    let cause = format!(
        "nothing runs {} on {} within these limits",
        clean(&r.model),
        clean(&r.device_name)
    );
    match &r.closest {
        Some((c, relax)) => {
            let why: Vec<&str> = c.candidate.rejections.iter().map(|x| x.why.as_str()).collect();
            (
                format!("{cause}\nclosest: {}: {}", c.candidate.label(), why.join("; ")),
                format!("it would take {relax}"),
            )
        }
        None => {
            let why = r.refused.first().and_then(|x| Some((x, x.reasons.first()?)));
            match why {
                Some((x, reason)) => (
                    format!("{cause}\n{} on {}: {}", x.framework, x.place, reason.why),
                    "relax the constraints, or choose another model".to_owned(),
                ),
                None => (cause, "no framework reaches a processor of this device".to_owned()),
            }
        }
    }
}

fn field(t: &mut String, name: &str, text: &str) {
    let lines = wrap(&clean(text), 16);
    let _ = write!(t, "    {name:<12}{}", lines.get(16..).unwrap_or(&lines));
}

fn with_interval(e: &Estimate, unit: &str, show: fn(f64) -> String) -> String {
    format!("{} {unit} ({} to {}, {})", show(e.value), show(e.low), show(e.high), e.rung.tag())
}

pub fn number(v: f64) -> String {
    match v {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn seconds(v: f64) -> String {
    if v < 0.1 { format!("{v:.3}") } else { format!("{v:.2}") }
}

pub fn bytes(v: f64) -> String {
    const GIB: f64 = (1u64 << 30) as f64;
    if v >= GIB { format!("{:.1} GiB", v / GIB) } else { format!("{:.0} MiB", v * 1024.0 / GIB) }
}

pub fn count(n: u64) -> String {
    match n as f64 / 1e9 {
        b if b >= 10.0 => format!("{b:.0}B"),
        b if b >= 1.0 => format!("{b:.1}B"),
        b => format!("{:.0}M", b * 1000.0),
    }
}

/// Untrusted names without control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn clip(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['~']).collect()
}

/// Words filled to the width, every line indented, ending with a line feed.
fn wrap(text: &str, indent: usize) -> String {
    paragraph(&" ".repeat(indent), text, WIDTH)
}

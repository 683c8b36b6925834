//! The answer as Markdown, for a pull request or a wiki.

use std::fmt::Write;

use super::human::{bytes, count, number};
use crate::advise::{Candidate, CatalogueChoice, Recommendation};

pub fn render(r: &Recommendation, explain: bool) -> String {
    let mut t = format!("## {} on {}\n\n", cell(&r.model), cell(&r.device_name));
    let Some(pick) = &r.pick else {
        t.push_str("Nothing runs it within these limits.\n");
        if let Some((c, relax)) = &r.closest {
            let _ =
                writeln!(t, "\nClosest: {}. It would take {relax}.", cell(&c.candidate.label()));
        }
        return t;
    };
    t.push_str("| | run as | decode tok/s | prefill tok/s | memory | quality kept | |\n|---|---|---|---|---|---|---|\n");
    row(&mut t, "**pick**", &pick.candidate, "");
    for alt in &r.runners_up {
        row(&mut t, "", &alt.choice.candidate, &alt.verdict());
    }
    for (name, text) in [("Evidence", &r.overruled), ("Limited by", &r.bottleneck)] {
        if let Some(text) = text {
            let _ = writeln!(t, "\n{name}: {text}.");
        }
    }
    if let Some(c) = &r.confidence {
        let _ = writeln!(t, "\nConfidence: {} ({}).", c.level, c.why);
    }
    let commands: Vec<&str> = [&pick.commands.install, &pick.commands.run]
        .into_iter()
        .map(String::as_str)
        .filter(|c| !c.is_empty())
        .collect();
    if !commands.is_empty() {
        let _ = writeln!(t, "\n```sh\n{}\n```", commands.join("\n"));
    }
    if !r.sensitivity.is_empty() {
        t.push_str("\nWhat would change the answer:\n\n");
        for s in &r.sensitivity {
            let _ = writeln!(t, "- {}: {}", s.if_, s.then);
        }
    }
    if explain {
        t.push_str("\nHow it was decided:\n\n");
        for s in &r.trace {
            let _ = writeln!(
                t,
                "1. **{}** `{}` ({}): {}",
                s.title,
                s.id,
                cell(&s.facts.join(", ")),
                s.reason
            );
        }
    }
    t
}

pub fn catalogue(fits: &[CatalogueChoice]) -> String {
    let mut t = String::from(
        "| model | parameters | run as | decode tok/s | memory | quality kept |\n|---|---|---|---|---|---|\n",
    );
    for f in fits {
        let c = &f.choice.candidate;
        let _ = writeln!(
            t,
            "| {} | {} | {} | {} | {} | {} |",
            cell(&f.model),
            count(f.parameters),
            cell(&c.label()),
            decode(c),
            memory(c),
            quality(c)
        );
    }
    t.push('\n');
    t
}

fn row(t: &mut String, mark: &str, c: &Candidate, why: &str) {
    let prefill = c.prefill_tok_s.as_ref().map_or("-".to_owned(), |p| number(p.value));
    let _ = writeln!(
        t,
        "| {mark} | {} | {} | {prefill} | {} | {} | {} |",
        cell(&c.label()),
        decode(c),
        memory(c),
        quality(c),
        cell(why)
    );
}

fn decode(c: &Candidate) -> String {
    c.decode_tok_s.as_ref().map_or("-".to_owned(), |d| {
        format!("{} ({} to {}, {})", number(d.value), number(d.low), number(d.high), d.rung.tag())
    })
}

fn memory(c: &Candidate) -> String {
    c.memory_bytes.as_ref().map_or("-".to_owned(), |m| bytes(m.value))
}

fn quality(c: &Candidate) -> String {
    c.quality.as_ref().map_or("-".to_owned(), |q| format!("{:.1} %", q.kept))
}

/// Text that cannot break a table or smuggle markup.
fn cell(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .collect::<String>()
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

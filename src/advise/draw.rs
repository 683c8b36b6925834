//! The tree drawn: as text, Mermaid, SVG, and as the document docs/decision-tree.md. A walk highlights its path.

use std::fmt::Write;

use super::rules::{Effect, Node, Rules, Stage, Test, Walk};

fn fired(walk: Option<&Walk>, node: &Node) -> bool {
    walk.is_some_and(|w| w.fired(&node.id))
}

fn depth(stage: &Stage, node: &Node) -> usize {
    node.parent
        .as_ref()
        .and_then(|p| stage.nodes.iter().find(|n| n.id == *p))
        .map_or(0, |p| 1 + depth(stage, p))
}

/// Nodes of a stage, children right after their parents.
fn in_order(stage: &Stage) -> Vec<&Node> {
    fn push<'a>(stage: &'a Stage, parent: Option<&str>, out: &mut Vec<&'a Node>) {
        for n in stage.nodes.iter().filter(|n| n.parent.as_deref() == parent) {
            out.push(n);
            push(stage, Some(&n.id), out);
        }
    }
    let mut out = Vec::new();
    push(stage, None, &mut out);
    out
}

/// A plain-text outline; `*` marks the path.
pub fn text(rules: &Rules, walk: Option<&Walk>) -> String {
    let mut out = String::new();
    for stage in &rules.stages {
        let _ = writeln!(out, "{}: {}", stage.stage, stage.question);
        for n in in_order(stage) {
            let mark = if fired(walk, n) { "*" } else { " " };
            let indent = "   ".repeat(depth(stage, n));
            let _ = writeln!(out, " {mark} {indent}{} [{}]", n.title, n.id);
        }
    }
    out
}

/// A Mermaid flowchart.
pub fn mermaid(rules: &Rules, walk: Option<&Walk>) -> String {
    let mut out = String::from("flowchart LR\n");
    let id = |s: &str| s.replace('.', "_");
    for (i, stage) in rules.stages.iter().enumerate() {
        let _ = writeln!(out, "  s{i}([\"{}: {}\"])", stage.stage, label(&stage.question));
        if i > 0 {
            let _ = writeln!(out, "  s{} ==> s{i}", i - 1);
        }
        for n in in_order(stage) {
            let from = n.parent.as_deref().map_or_else(|| format!("s{i}"), id);
            let _ = writeln!(out, "  {from} --> {}[\"{}\"]", id(&n.id), label(&n.title));
            if fired(walk, n) {
                let _ = writeln!(out, "  class {} taken", id(&n.id));
            }
        }
    }
    out.push_str("  classDef taken fill:#d5ecdd,stroke:#1a7f45,stroke-width:3px\n");
    out
}

fn label(text: &str) -> String {
    text.replace('"', "'")
}

const BOX_WIDTH: usize = 300;
const ROW: usize = 30;
const GAP: usize = 28;
const HEAD: usize = 56;

/// A picture: one column a stage, two stages beside each other, the path in green with its line.
pub fn svg(rules: &Rules, walk: Option<&Walk>) -> String {
    // Three columns of two stages each keep the picture near 4:3.
    let columns: Vec<Vec<&Stage>> = balance(&rules.stages, 3);
    let height_of = |s: &Stage| HEAD + s.nodes.len() * ROW + GAP;
    let height =
        columns.iter().map(|c| c.iter().map(|s| height_of(s)).sum::<usize>()).max().unwrap_or(0)
            + 70;
    let width = columns.len() * (BOX_WIDTH + 2 * GAP) + GAP;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>Decision tree</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{GAP}\" y=\"30\" font-size=\"18\" font-weight=\"600\" fill=\"#1f2328\">How edge-advisor decides</text>\n"
    );
    let note = if walk.is_some() { "green: the path taken" } else { "read down, then right" };
    let _ = writeln!(out, "<text x=\"{GAP}\" y=\"48\" fill=\"#59636e\">{note}</text>");
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut body = String::new();
    let mut number = 0;
    for (i, column) in columns.iter().enumerate() {
        let x = GAP + i * (BOX_WIDTH + 2 * GAP);
        let mut y = 64;
        for stage in column {
            number += 1;
            draw_stage(&mut body, stage, number, walk, (x, y), &mut path);
            y += height_of(stage);
        }
    }
    let points: Vec<String> = path.iter().map(|(x, y)| format!("{x},{y}")).collect();
    if points.len() > 1 {
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1a7f45\" stroke-width=\"2\" stroke-opacity=\"0.45\"/>",
            points.join(" ")
        );
    }
    out.push_str(&body);
    out.push_str("</svg>\n");
    out
}

fn draw_stage(
    out: &mut String,
    stage: &Stage,
    number: usize,
    walk: Option<&Walk>,
    (x, top): (usize, usize),
    path: &mut Vec<(usize, usize)>,
) {
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{}\" font-size=\"14\" font-weight=\"600\" fill=\"#1f2328\">{number}. {}</text>",
        top + 18,
        escape(&stage.stage)
    );
    let question: String = stage.question.split(" (").next().unwrap_or_default().to_owned();
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{}\" font-size=\"11\" fill=\"#59636e\">{}</text>",
        top + 34,
        escape(&question)
    );
    for (row, n) in in_order(stage).into_iter().enumerate() {
        let taken = fired(walk, n);
        let indent = depth(stage, n) * 20;
        let y = top + HEAD - 10 + row * ROW;
        let (fill, stroke, wide) =
            if taken { ("#d5ecdd", "#1a7f45", 2) } else { ("#f6f8fa", "#d1d9e0", 1) };
        let bx = x + indent;
        if taken {
            path.push((bx, y + 12));
        }
        let _ = writeln!(
            out,
            "<g><title>{}: {}</title><rect x=\"{bx}\" y=\"{y}\" width=\"{}\" height=\"24\" rx=\"6\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{wide}\"/><text x=\"{}\" y=\"{}\" fill=\"#1f2328\">{}</text></g>",
            escape(&n.id),
            escape(&n.reason),
            BOX_WIDTH - indent,
            bx + 8,
            y + 16,
            escape(&n.title)
        );
    }
}

/// Stages in order, split into columns of about equal height.
fn balance(stages: &[Stage], columns: usize) -> Vec<Vec<&Stage>> {
    let rows: usize = stages.iter().map(|s| s.nodes.len() + 3).sum();
    let target = rows.div_ceil(columns);
    let mut out: Vec<Vec<&Stage>> = vec![Vec::new()];
    let mut used = 0;
    for s in stages {
        if used + s.nodes.len() / 2 > target && out.len() < columns {
            out.push(Vec::new());
            used = 0;
        }
        used += s.nodes.len() + 3;
        if let Some(last) = out.last_mut() {
            last.push(s);
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// docs/decision-tree.md, written by `edge-advisor advise tree --format markdown`.
pub fn document(rules: &Rules) -> String {
    let mut out = String::from(
        "# The decision tree\n\nWritten by `edge-advisor advise tree --format markdown` from `profiles/rules/*.toml`; a test keeps it current.\n\n\
         `recommend` walks these stages in order. A node fires where its parent fired and all its tests hold; an unknown\n\
         fact fires nothing. Weights are in log units of speed: 0.10 is worth about ten percent of speed. Hard limits\n\
         (memory, storage, speed, first token, quality, context) reject with the number that failed. What was measured\n\
         on the device replaces the weights of the stages hardware, model, framework and precision.\n",
    );
    for (i, stage) in rules.stages.iter().enumerate() {
        let _ = writeln!(out, "\n## {}. {}\n\n{}\n", i + 1, stage.stage, stage.question);
        for n in in_order(stage) {
            let indent = "  ".repeat(depth(stage, n));
            let tests: Vec<String> = n.when.iter().map(Test::describe).collect();
            let effects: Vec<String> = n.effects.iter().map(Effect::describe).collect();
            let _ =
                writeln!(out, "{indent}- **{}** `{}`: if {}", n.title, n.id, tests.join(" and "));
            if !effects.is_empty() {
                let _ = writeln!(out, "{indent}  - {}", effects.join("; "));
            }
            if let Some(a) = &n.advice {
                let _ = writeln!(out, "{indent}  - says: {a}");
            }
            let _ = writeln!(out, "{indent}  - because {} ({})", n.reason, n.source);
        }
    }
    out
}

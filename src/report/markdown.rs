//! Markdown that fits a GitHub comment, with all untrusted text escaped.

use super::cells;
use super::text::{bytes, count, markdown as md, shorten, significant};
use super::view::{CaseView, HeadlineRow, View};

/// GitHub refuses comments of 65,536 characters and more; the rest is for what a bot puts around it.
pub const MAX_CHARS: usize = 60_000;

/// Verdict, headline table, cases not measured, findings, circumstances.
pub fn render(view: &View) -> String {
    let mut out = Limited { text: String::new() };
    out.push(&format!("## {}\n\n", md(&view.title)));
    for sentence in &view.verdict {
        out.push(&format!("{}\n", md(sentence)));
    }
    // Written before the tables, so that it is never what gets cut.
    for note in &view.notes {
        out.push(&format!("\n> {}\n", md(note)));
    }
    headline(view, &mut out);
    side_by_side(view, &mut out);
    not_measured(view, &mut out);
    findings(view, &mut out);
    circumstances(view, &mut out);
    out.text
}

/// Text that stops growing at [`MAX_CHARS`].
struct Limited {
    text: String,
}

impl Limited {
    /// False where it did not fit. Bytes are counted: never fewer than characters.
    fn push(&mut self, s: &str) -> bool {
        let fits = self.text.len() + s.len() <= MAX_CHARS;
        if fits {
            self.text.push_str(s);
        }
        fits
    }

    /// Rows up to a share of the limit, then how many are missing.
    fn rows(&mut self, rows: impl Iterator<Item = String>, share: f64) {
        let limit = ((MAX_CHARS as f64) * share) as usize;
        let mut left_out = 0;
        for row in rows {
            if left_out > 0 || self.text.len() + row.len() > limit || !self.push(&row) {
                left_out += 1;
            }
        }
        if left_out > 0 {
            let rows = count(left_out, "more row");
            self.push(&format!("\n_{rows} in the HTML, CSV and JSON reports._\n"));
        }
    }
}

fn headline(view: &View, out: &mut Limited) {
    out.push(
        "\n| Framework | Quantization | Memory usage | Speed improvement | Quality | Use case |\n",
    );
    out.push("|---|---|---|---|---|---|\n");
    out.rows(view.headline.iter().map(headline_row), 0.6);
}

fn headline_row(row: &HeadlineRow) -> String {
    let framework = cells::framework(row).iter().map(|p| md(p)).collect::<Vec<_>>().join("<br>");
    let quantization = md(&cells::quantization(row));
    if !row.problem.is_empty() {
        let claim = row.decode.claim.map(|c| format!("claim {}", cells::claimed_speed(c)));
        return format!(
            "| {framework} | {quantization} | not measured | {} | not measured | {} |\n",
            claim.unwrap_or_default(),
            md(&shorten(&row.problem, 160))
        );
    }
    let mut memory = vec![cells::memory(row)];
    memory.push(cells::verdict(&row.memory_less, cells::claimed_memory));
    let graph = row.speed_unit != "tok/s";
    let mut speed = Vec::new();
    if let Some(s) = &row.speed {
        speed.push(format!("{} {}", significant(s.value), row.speed_unit));
    }
    let phases = [("decode ", &row.decode), ("prefill ", &row.prefill)];
    for (name, judged) in phases.into_iter().take(if graph { 1 } else { 2 }) {
        let name = if graph { "" } else { name };
        speed.push(format!("{name}{}", cells::speedup(row, judged)));
        speed.push(cells::verdict(judged, cells::claimed_speed));
    }
    speed.extend(row.beside.iter().cloned());
    let lines = |parts: Vec<String>| {
        parts.iter().filter(|p| !p.is_empty()).map(|p| md(p)).collect::<Vec<_>>().join("<br>")
    };
    format!(
        "| {framework} | {quantization} | {} | {} | {} | {} |\n",
        lines(memory),
        lines(speed),
        md(&row.quality),
        md(&row.use_case)
    )
}

fn side_by_side(view: &View, out: &mut Limited) {
    if view.side_by_side.is_empty() {
        return;
    }
    let names: Vec<String> = view.runs.iter().map(|r| md(&r.name)).collect();
    out.push(&format!("\n### Side by side\n\n| Case | Metric | {} |\n", names.join(" | ")));
    out.push(&format!("|---|---|{}\n", "---|".repeat(names.len())));
    let row = |r: &super::view::SideRow| {
        let cell = |(value, ratio): (&Option<super::view::Estimate>, &Option<f64>)| match value {
            None => "–".to_owned(),
            Some(v) => {
                let ratio = ratio.map_or(String::new(), |x| format!(" ({}x)", significant(x)));
                format!("{}{ratio}", super::cells::metric_value(&r.metric, v.value))
            }
        };
        let cells: Vec<String> = r.values.iter().zip(&r.ratios).map(cell).collect();
        format!("| {} | {} | {} |\n", md(&r.case), md(&r.metric), cells.join(" | "))
    };
    out.rows(view.side_by_side.iter().map(row), 0.75);
}

fn not_measured(view: &View, out: &mut Limited) {
    let missing: Vec<&CaseView> = view.cases.iter().filter(|c| c.outcome != "completed").collect();
    if missing.is_empty() {
        return;
    }
    out.push("\n<details><summary>Cases not measured and why</summary>\n\n");
    out.push("| Case | Outcome | Why |\n|---|---|---|\n");
    let row = |c: &&CaseView| {
        format!("| {} | {} | {} |\n", md(&c.id), md(&c.outcome), md(&shorten(&c.reason, 200)))
    };
    out.rows(missing.iter().map(row), 0.85);
    out.push("\n</details>\n");
}

fn findings(view: &View, out: &mut Limited) {
    if view.findings.is_empty() {
        return;
    }
    out.push("\n<details><summary>Validity findings</summary>\n\n");
    let row = |f: &super::view::FindingView| {
        let weight = if f.invalidates { "**invalid**" } else { "note" };
        let cases = count(f.cases.len(), "case");
        format!("- {weight} {}: {} ({cases})\n", md(&f.kind), md(&shorten(&f.detail, 300)))
    };
    out.rows(view.findings.iter().map(row), 0.93);
    out.push("\n</details>\n");
}

fn circumstances(view: &View, out: &mut Limited) {
    out.push("\n<details><summary>Device and method</summary>\n\n");
    for run in &view.runs {
        let memory = run.device.facts.iter().find(|f| f.label == "Memory it may use");
        let memory = memory.map_or(String::new(), |f| format!(", {}", f.value));
        out.push(&format!(
            "- {}: device {} ({}){}; run {}; seed {}; edge-advisor {} ({}); command {}\n",
            md(&run.name),
            md(&run.device.id),
            md(&run.device.name),
            md(&memory),
            md(&run.run_ids.join(", ")),
            run.seed,
            md(&run.build.version),
            md(&run.build.profile),
            md(&shorten(&run.command, 300))
        ));
    }
    let largest = view.cases.iter().filter_map(|c| c.memory.as_ref()).map(|m| m.peak.value);
    let largest = largest.fold(0.0, f64::max);
    if largest > 0.0 {
        out.push(&format!("- largest peak memory of a case: {}\n", bytes(largest)));
    }
    out.push(&format!("- claims: {}\n\n</details>\n", md(&view.claims_source)));
}

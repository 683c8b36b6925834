//! The headline table for a terminal, 80 columns wide.

use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::cells;
use super::text::{self, paragraph, wrap};
use super::view::{HeadlineRow, View};

/// Width of each column; with four separators the widest line has 80 characters.
const WIDTHS: [usize; 5] = [13, 12, 14, 17, 20];

/// Verdict, headline table, notes. Plain text without control characters.
pub fn render(view: &View) -> String {
    let mut out = String::new();
    for sentence in &view.verdict {
        out.push_str(&paragraph("", sentence, 80));
    }
    out.push('\n');
    let mut builder = Builder::default();
    builder.push_record([
        "Framework",
        "Quantization",
        "Memory usage",
        "Speed improvement",
        "Use case",
    ]);
    for row in &view.headline {
        let cells = record(row).into_iter().zip(WIDTHS);
        builder.push_record(cells.map(|(cell, width)| wrap_lines(&cell, width)));
    }
    let mut table = builder.build();
    table.with(Style::psql()).with(Padding::zero());
    for line in table.to_string().lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for note in &view.notes {
        out.push_str(&paragraph("", &format!("note: {note}"), 80));
    }
    out
}

fn record(row: &HeadlineRow) -> [String; 5] {
    let framework = cells::framework(row).join("\n");
    let mut quantization = cells::quantization(row);
    if !row.problem.is_empty() {
        let why = text::shorten(&row.problem, 90);
        let speed = row.decode.claim.map(cells::claimed_speed);
        let claim = speed.map_or(String::new(), |s| format!("claim {s}"));
        return [framework, quantization, "not measured".into(), claim, why];
    }
    // No speed without its quality; what it is relative to stands in a note below the table.
    let quality = row.quality.split(" (").next().unwrap_or_default();
    let quality = if quality == "not measured" { "quality not measured" } else { quality };
    quality.split(", ").for_each(|part| push_line(&mut quantization, part));
    let mut memory = cells::memory(row);
    push_line(&mut memory, &cells::verdict(&row.memory_less, cells::claimed_memory));
    let mut speed = String::new();
    if let Some(s) = &row.speed {
        speed.push_str(&format!("{} {}", text::significant(s.value), row.speed_unit));
    }
    let graph = row.speed_unit != "tok/s";
    let name = if graph { "" } else { "decode " };
    push_line(&mut speed, &format!("{name}{}", cells::speedup(row, &row.decode)));
    push_line(&mut speed, &cells::verdict(&row.decode, cells::claimed_speed));
    if !graph && row.prefill.measured.is_some() {
        push_line(&mut speed, &format!("prefill {}", cells::speedup(row, &row.prefill)));
        push_line(&mut speed, &cells::verdict(&row.prefill, cells::claimed_speed));
    }
    row.beside.iter().for_each(|line| push_line(&mut speed, line));
    [framework, quantization, memory, speed, row.use_case.clone()]
}

fn push_line(text: &mut String, line: &str) {
    if !line.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

/// Each line on its own, so that meant line ends stay.
fn wrap_lines(text: &str, width: usize) -> String {
    text.lines().flat_map(|line| wrap(line, width)).collect::<Vec<_>>().join("\n")
}

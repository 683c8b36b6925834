//! The headline table for a terminal, 80 columns wide.

use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::cells;
use super::text;
use super::view::{HeadlineRow, View};

/// Width of each column; with four separators the widest line has 80 characters.
const WIDTHS: [usize; 5] = [13, 12, 14, 17, 20];

/// Verdict, headline table, notes. Plain text without control characters.
pub fn render(view: &View) -> String {
    let mut out = String::new();
    for sentence in &view.verdict {
        out.push_str(&wrap(sentence, 80));
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
        out.push_str(&wrap(&format!("note: {note}"), 80));
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
    let wrapped: String = text.lines().map(|line| wrap(line, width)).collect();
    wrapped.trim_end().to_owned()
}

/// Breaks at spaces, and within a word that is wider than the line. Every line ends with a line feed.
fn wrap(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (i, piece) in letters.chunks(width).enumerate() {
            if column > 0 && (i > 0 || column + 1 + piece.len() > width) {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.extend(piece);
            column += piece.len();
        }
    }
    out.push('\n');
    out
}

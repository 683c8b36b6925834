//! Tidy CSV of the report's rows.

use super::rows::{COLUMNS, Cell, rows};
use super::text::csv_text;
use super::view::View;

/// The report's rows as CSV with a header line. Text is disarmed against formula injection.
pub fn render(view: &View) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fits = "every row has the same columns and goes to memory";
    writer.write_record(COLUMNS).expect(fits);
    for row in rows(view) {
        writer.write_record(row.map(cell)).expect(fits);
    }
    let bytes = writer.into_inner().expect("memory takes every write");
    String::from_utf8(bytes).expect("all cells are text")
}

/// Numbers as the shortest text that reads back as the same; empty where there is none.
fn cell(cell: Cell) -> String {
    match cell {
        Cell::Text(s) => csv_text(&s),
        Cell::Count(n) => n.map_or(String::new(), |n| n.to_string()),
        Cell::Number(x) => x.map_or(String::new(), |x| x.to_string()),
    }
}

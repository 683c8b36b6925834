//! The view itself as JSON; its schema is `docs/schemas/report.schema.json`.

use super::view::View;

/// One JSON document. Numbers that are not finite are `null`.
pub fn render(view: &View) -> String {
    let mut text = serde_json::to_string(view).expect("a view has text keys only");
    text.push('\n');
    text
}

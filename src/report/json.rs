//! The view itself as JSON; its schema is `docs/schemas/report.schema.json`.

use super::view::View;

/// One JSON document. Numbers that are not finite are `null`.
pub fn render(view: &View) -> String {
    let mut text = serde_json::to_string(view).expect("a view has text keys only");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas/report.schema.json");

    #[test]
    fn the_published_schema_is_the_one_of_the_view() {
        let schema = schemars::schema_for!(View);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(PATH, &text).unwrap();
        }
        let published = std::fs::read_to_string(PATH).unwrap();
        assert!(published == text, "stale: run this test with UPDATE_SCHEMAS=1 and commit");
    }
}

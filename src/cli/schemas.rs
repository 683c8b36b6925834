//! The schemas of what commands print with `--format json`, in `docs/schemas`, are those of the types.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};

use crate::advise::Recommendation;
use crate::compare::Comparison;
use crate::model::{Metric, Precision};
use crate::predict::Evaluation;
use crate::probe::ProbeReport;
use crate::report::View;

impl JsonSchema for Precision {
    fn schema_name() -> Cow<'static, str> {
        "Precision".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Precision::ALL.iter().map(|p| p.name()).collect();
        json_schema!({ "description": "A weight precision.", "enum": names })
    }
}

impl JsonSchema for Metric {
    fn schema_name() -> Cow<'static, str> {
        "Metric".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let keys: Vec<&str> = Metric::ALL.iter().map(|m| m.key()).collect();
        json_schema!({ "description": "A measured quantity, by its key.", "enum": keys })
    }
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let published = [
        ("comparison", schema_for!(Comparison)),
        ("evaluation", schema_for!(Evaluation)),
        ("fingerprint", schema_for!(ProbeReport)),
        ("recommendation", schema_for!(Recommendation)),
        ("report", schema_for!(View)),
    ];
    for (name, schema) in published {
        let path = format!("{}/docs/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(old == text, "{name}: stale, run this test with UPDATE_SCHEMAS=1 and commit");
    }
}

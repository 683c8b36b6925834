//! The part of JSON Schema that our schemas use; a keyword it does not know is a failure.

use serde_json::{Map, Value};

/// Holds a value against `docs/schemas/NAME.schema.json`.
pub fn follows(name: &str, value: &Value) {
    let path = format!("{}/docs/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if let Err(e) = check(&schema, &schema, value, "$") {
        panic!("{name}: {e}");
    }
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return ensure(schema == &Value::Bool(true), || format!("{at}: not allowed"));
    };
    rules.iter().try_for_each(|(keyword, rule)| one(root, rules, keyword, rule, value, at))
}

fn one(
    root: &Value,
    rules: &Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let list = || rule.as_array().unwrap();
    let items = || value.as_array().into_iter().flatten().enumerate();
    match keyword {
        "$ref" => {
            let name = rule.as_str().unwrap().trim_start_matches('#');
            check(root, root.pointer(name).unwrap(), value, at)
        }
        "type" => ensure(is_type(rule, value), || format!("{at}: {value} is not {rule}")),
        "properties" => rule.as_object().unwrap().iter().try_for_each(|(name, sub)| {
            let field = value.get(name);
            field.map_or(Ok(()), |v| check(root, sub, v, &format!("{at}.{name}")))
        }),
        "required" => list().iter().try_for_each(|name| {
            let name = name.as_str().unwrap();
            ensure(value.get(name).is_some(), || format!("{at}: no {name}"))
        }),
        "additionalProperties" => extra(root, rules, rule, value, at),
        "items" => items().try_for_each(|(i, v)| check(root, rule, v, &format!("{at}[{i}]"))),
        "prefixItems" => items()
            .zip(list())
            .try_for_each(|((i, v), sub)| check(root, sub, v, &format!("{at}[{i}]"))),
        "anyOf" | "oneOf" => {
            let tried: Vec<_> = list().iter().map(|sub| check(root, sub, value, at)).collect();
            let fits = tried.iter().any(Result::is_ok);
            ensure(fits, || format!("{at}: fits none of these: {tried:?}"))
        }
        "enum" => ensure(list().contains(value), || format!("{at}: {value} is not of {rule}")),
        "const" => ensure(rule == value, || format!("{at}: {value} is not {rule}")),
        "minimum" => {
            let low = rule.as_f64().unwrap();
            ensure(value.as_f64().is_none_or(|v| v >= low), || format!("{at}: {value}"))
        }
        "minItems" | "maxItems" => {
            let n = value.as_array().map(|v| v.len() as u64);
            let bound = rule.as_u64().unwrap();
            let fits = |n: u64| if keyword == "minItems" { n >= bound } else { n <= bound };
            ensure(n.is_none_or(fits), || format!("{at}: {n:?} items"))
        }
        "$schema" | "$defs" | "title" | "description" | "format" | "default" => Ok(()),
        other => Err(format!("{at}: this check does not know `{other}`")),
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn extra(
    root: &Value,
    rules: &Map<String, Value>,
    rule: &Value,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    let known = rules.get("properties").and_then(Value::as_object);
    let unknown = |name: &String| known.is_none_or(|k| !k.contains_key(name));
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| unknown(name)).try_for_each(|(name, v)| match rule {
        Value::Bool(false) => Err(format!("{at}: unknown field {name}")),
        sub => check(root, sub, v, &format!("{at}.{name}")),
    })
}

fn is_type(rule: &Value, value: &Value) -> bool {
    let one = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unknown type {other}"),
    };
    match rule {
        Value::String(name) => one(name),
        names => names.as_array().unwrap().iter().any(|n| one(n.as_str().unwrap())),
    }
}

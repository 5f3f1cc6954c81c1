//! Whether a JSON value is what a schema of the description says: types, fields, words.

use serde_json::Value as Json;
use serde_norway::Value;

/// Where a value breaks its schema, one line each.
pub fn faults(spec: &Value, schema: &Value, value: &Json) -> Vec<String> {
    let mut faults = Vec::new();
    check(spec, schema, value, "$", &mut faults);
    faults
}

fn check(spec: &Value, schema: &Value, value: &Json, at: &str, faults: &mut Vec<String>) {
    if let Some(path) = schema["$ref"].as_str() {
        let target = path.trim_start_matches("#/").split('/').fold(spec, |at, name| &at[name]);
        assert!(target.is_mapping(), "{path} leads nowhere");
        check(spec, target, value, at, faults);
    }
    if let Some(choices) = schema["anyOf"].as_sequence() {
        let fits = |choice: &&Value| self::faults(spec, choice, value).is_empty();
        if !choices.iter().any(|choice| fits(&choice)) {
            faults.push(format!("{at}: none of the choices fits"));
        }
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Sequence(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_of(value, name)) {
        faults.push(format!("{at}: is no {}", types.join(" or ")));
    }
    if let Some(words) = schema["enum"].as_sequence() {
        let word = serde_norway::to_value(value).expect("JSON is YAML");
        if !words.contains(&word) {
            faults.push(format!("{at}: {value} is none of the words"));
        }
    }
    match value {
        Json::Object(fields) => {
            let required = schema["required"].as_sequence().into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    faults.push(format!("{at}: has no {name}"));
                }
            }
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                let own = &schema["properties"][name.as_str()];
                match &schema["additionalProperties"] {
                    _ if !own.is_null() => check(spec, own, value, &at, faults),
                    Value::Bool(false) => faults.push(format!("{at}: is not described")),
                    other if other.is_mapping() => check(spec, other, value, &at, faults),
                    _ => {}
                }
            }
        }
        Json::Array(parts) if !schema["items"].is_null() => {
            for (index, part) in parts.iter().enumerate() {
                check(spec, &schema["items"], part, &format!("{at}[{index}]"), faults);
            }
        }
        _ => {}
    }
}

fn is_of(value: &Json, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a type that nobody described: {other}"),
    }
}

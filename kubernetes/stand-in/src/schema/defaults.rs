//! Filling in what a schema says of absent fields. A field that is null and must not be is absent.

use serde_json::Value;

pub(super) fn set(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !value.is_null() || may_be_null(of_field(schema, name)));
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = field.get("default").filter(|_| !fields.contains_key(name)) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields {
                set(of_field(schema, name), value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set(&schema["items"], item)),
        _ => {}
    }
}

fn of_field<'s>(schema: &'s Value, name: &str) -> &'s Value {
    let known = &schema["properties"][name];
    if known.is_null() { &schema["additionalProperties"] } else { known }
}

/// Nothing is said of fields that are kept unknown.
fn may_be_null(schema: &Value) -> bool {
    !schema.is_object() || schema["nullable"] == true
}

//! From a structural schema to a JSON schema. They are nearly the same: Kubernetes' is of draft 4 and says in words of
//! its own that a value may be null, or a number as well as a text.

use serde_json::{Value, json};

pub(super) fn to_json_schema(schema: &Value) -> Value {
    let mut converted = convert(schema);
    // Metadata is the API's; a schema may say something of names only, and hardly any does.
    if let Some(properties) = converted["properties"].as_object_mut() {
        properties.remove("metadata");
    }
    converted
}

fn convert(schema: &Value) -> Value {
    let Some(keywords) = schema.as_object() else { return schema.clone() };
    let mut converted = serde_json::Map::new();
    for (keyword, value) in keywords {
        let value = match keyword.as_str() {
            "properties" => {
                value.as_object().into_iter().flatten().map(|(name, field)| (name.clone(), convert(field))).collect()
            }
            "items" | "additionalProperties" | "not" => convert(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(convert).collect(),
            // Neither default nor description refuses anything, and the API's own words mean nothing elsewhere.
            "default" | "description" | "example" | "externalDocs" | "nullable" | "title" => continue,
            word if word.starts_with("x-kubernetes-") => continue,
            _ => value.clone(),
        };
        converted.insert(keyword.clone(), value);
    }
    if schema["x-kubernetes-int-or-string"] == true {
        converted.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if schema["nullable"] == true {
        allow_null(&mut converted);
    }
    Value::Object(converted)
}

fn allow_null(schema: &mut serde_json::Map<String, Value>) {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.take(), "null"]),
        None => {}
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

//! What a validator found, in the API's words.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use crate::resource::shape::step;
use crate::status::Cause;

/// One error is one cause, but for several absent fields.
pub(super) fn causes(error: &ValidationError<'_>) -> Vec<Cause> {
    let path = path(error.instance_path().as_str());
    let value: &Value = error.instance();
    let invalid = |why: &str| vec![Cause::invalid(path.as_str(), value, &format!("{path} in body {why}"))];
    match error.kind() {
        Kind::Required { property } => {
            vec![Cause::required(step(&path, property.as_str().unwrap_or_default()), "")]
        }
        Kind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            vec![Cause::not_supported(path.as_str(), value, options)]
        }
        Kind::Type { kind } => vec![of_type(&path, value, &names(kind))],
        Kind::Maximum { limit } => invalid(&format!("should be less than or equal to {limit}")),
        Kind::ExclusiveMaximum { limit } => invalid(&format!("should be less than {limit}")),
        Kind::Minimum { limit } => invalid(&format!("should be greater than or equal to {limit}")),
        Kind::ExclusiveMinimum { limit } => invalid(&format!("should be greater than {limit}")),
        Kind::MaxLength { limit } => vec![Cause::too_long(path, *limit)],
        Kind::MinLength { limit } => invalid(&format!("should be at least {limit} chars long")),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => vec![Cause::too_many(path, count(value), *limit)],
        Kind::MinItems { limit } => invalid(&format!("should have at least {limit} items")),
        Kind::MinProperties { limit } => invalid(&format!("should have at least {limit} properties")),
        Kind::Pattern { pattern } => invalid(&format!("should match '{pattern}'")),
        Kind::Format { format } => invalid(&format!("must be of type {format}: {value}")),
        _ => invalid(&format!("is not valid: {error}")),
    }
}

/// Items of keyed lists and of sets that are there twice.
pub(super) fn duplicates(schema: &Value, value: &Value, path: &str) -> Vec<Cause> {
    match value {
        Value::Object(fields) => {
            let known = |name: &str| &schema["properties"][name];
            fields.iter().flat_map(|(name, value)| duplicates(known(name), value, &step(path, name))).collect()
        }
        Value::Array(items) => {
            let identities: Vec<Value> = items.iter().map(|item| identity(schema, item)).collect();
            let mut causes = Vec::new();
            for (index, (item, identity)) in items.iter().zip(&identities).enumerate() {
                let place = format!("{path}[{index}]");
                causes.extend(duplicates(&schema["items"], item, &place));
                if !identity.is_null() && identities[..index].contains(identity) {
                    causes.push(Cause::duplicate(place, identity));
                }
            }
            causes
        }
        _ => Vec::new(),
    }
}

/// What makes an item of a list the same as another; null where the list may have it twice.
fn identity(schema: &Value, item: &Value) -> Value {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => item.clone(),
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
            Value::Object(keys.map(|key| (key.to_owned(), item[key].clone())).collect())
        }
        _ => Value::Null,
    }
}

fn count(value: &Value) -> usize {
    value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len)).unwrap_or_default()
}

fn of_type(path: &str, value: &Value, wanted: &str) -> Cause {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let why = format!("{path} in body must be of type {wanted}: \"{found}\"");
    Cause::of_type(path, &Value::from(found), &why)
}

fn names(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(","),
    }
}

/// From `/spec/rules/0/weight` to `spec.rules[0].weight`.
fn path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        match part.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) => path = step(&path, &part),
        }
    }
    path
}

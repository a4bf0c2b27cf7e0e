//! Removing what a schema does not know.

use serde_json::Value;

use super::is_own;
use crate::resource::shape::step;

/// Removes unknown fields and says which they were, as the API writes paths.
pub(super) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    below(schema, object, "", &mut removed);
    removed
}

fn below(schema: &Value, value: &mut Value, path: &str, removed: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                let kept = is_known(schema, name) || path.is_empty() && is_own(name);
                if !kept {
                    removed.push(step(path, name));
                }
                kept
            });
            for (name, value) in fields.iter_mut().filter(|(name, _)| !(path.is_empty() && is_own(name))) {
                let known = &schema["properties"][name];
                let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
                // Fields of fields that are kept unknown are kept, too.
                if schema.is_object() {
                    below(schema, value, &step(path, name), removed);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                below(&schema["items"], item, &format!("{path}[{index}]"), removed);
            }
        }
        _ => {}
    }
}

fn is_known(schema: &Value, name: &str) -> bool {
    let more = &schema["additionalProperties"];
    schema["x-kubernetes-preserve-unknown-fields"] == true
        || !schema["properties"][name].is_null()
        || more.is_object()
        || *more == true
}

//! Fields of two objects, compared as written.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path within the object, for example `timeouts.request`.
    pub field: String,
    /// What it was; null: not given.
    pub old: Value,
    /// What it is; null: not given.
    pub new: Value,
    /// Whether it decides where requests go.
    pub moves: bool,
}

impl FieldChange {
    /// The first part of the path: the field of the object itself.
    pub(super) fn root(&self) -> &str {
        self.field.split('.').next().unwrap_or_default()
    }
}

/// The fields that differ, in the order of their names. Lists are compared as a whole: an entry has no name by which it
/// could be found again.
pub(super) fn compare(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    collect("", old, new, &mut found);
    found
}

fn collect(path: &str, old: &Value, new: &Value, found: &mut Vec<FieldChange>) {
    if old == new {
        return;
    }
    let nothing = Map::new();
    let (old_map, new_map) = match (old, new) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Object(old), Value::Null) => (old, &nothing),
        (Value::Null, Value::Object(new)) => (&nothing, new),
        _ => {
            found.push(FieldChange { field: path.to_owned(), old: old.clone(), new: new.clone(), moves: false });
            return;
        }
    };
    let keys: BTreeSet<&String> = old_map.keys().chain(new_map.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(&path, old_map.get(key).unwrap_or(&Value::Null), new_map.get(key).unwrap_or(&Value::Null), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let old = json!({"a": {"b": 1, "c": null}, "list": [1, 2], "same": {"x": 1}});
        let new = json!({"a": {"b": 2, "c": {"d": 3}}, "list": [1], "same": {"x": 1}});
        let found: Vec<String> =
            compare(&old, &new).iter().map(|field| format!("{} {} {}", field.field, field.old, field.new)).collect();
        assert_eq!(found, ["a.b 1 2", "a.c.d null 3", "list [1,2] [1]"]);
    }

    #[test]
    fn nothing_and_an_empty_list_differ() {
        let found = compare(&json!({"upgrade": null}), &json!({"upgrade": []}));
        assert_eq!(found.len(), 1);
    }
}

//! Merging what somebody applies into what there is, and removing what they applied before and no longer do.

use serde_json::{Map, Value};

use super::field_set::{FieldSet, Path, item_step};
use crate::resource::shape::{Shape, Shapes, step};

/// Writes every field of `applied` into `live`.
pub(crate) fn merge(shapes: &Shapes, live: &mut Value, applied: &Value, names: &str) {
    match (shapes.of(names, applied), live, applied) {
        (Shape::Granular, live @ Value::Object(_), Value::Object(fields)) => merge_fields(shapes, live, fields, names),
        (shape @ (Shape::Keyed(_) | Shape::Set), Value::Array(items), Value::Array(applied)) => {
            for item in applied {
                let same = |other: &&mut Value| item_step(&shape, other) == item_step(&shape, item);
                match (items.iter_mut().find(same), item) {
                    (Some(known @ Value::Object(_)), Value::Object(fields)) => {
                        merge_fields(shapes, known, fields, names)
                    }
                    (Some(_), _) => {}
                    (None, item) => items.push(item.clone()),
                }
            }
        }
        (_, live, applied) => *live = applied.clone(),
    }
}

fn merge_fields(shapes: &Shapes, live: &mut Value, fields: &Map<String, Value>, names: &str) {
    for (name, field) in fields {
        if live[name].is_null() {
            live[name] = field.clone();
        } else {
            merge(shapes, &mut live[name], field, &step(names, name));
        }
    }
}

/// Removes the fields at these paths; an item before its fields, as without its keys it would not be found.
pub(crate) fn remove(shapes: &Shapes, object: &mut Value, fields: &FieldSet) {
    for path in &fields.0 {
        remove_one(shapes, object, path, "");
    }
}

/// A map or a list that becomes empty goes, too.
fn remove_one(shapes: &Shapes, value: &mut Value, path: &[String], names: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first.strip_prefix("f:"), value) {
        (Some(name), Value::Object(fields)) => {
            let Some(field) = fields.get_mut(name) else { return };
            remove_one(shapes, field, rest, &step(names, name));
            if rest.is_empty() || is_empty(field) {
                fields.remove(name);
            }
        }
        (None, list @ Value::Array(_)) => {
            let shape = shapes.of(names, list);
            let items = list.as_array_mut().expect("matched as a list");
            let Some(index) = items.iter().position(|item| item_step(&shape, item).as_ref() == Some(first)) else {
                return;
            };
            remove_one(shapes, &mut items[index], rest, names);
            if rest.is_empty() {
                items.remove(index);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Which of the fields somebody no longer applies are nobody else's, either.
pub(crate) fn abandoned<'s>(
    last: &FieldSet,
    now: &FieldSet,
    others: impl Iterator<Item = &'s FieldSet> + Clone,
) -> FieldSet {
    let kept = |path: &&Path| !now.reaches(path) && !others.clone().any(|other| other.reaches(path));
    FieldSet(last.0.iter().filter(kept).cloned().collect())
}

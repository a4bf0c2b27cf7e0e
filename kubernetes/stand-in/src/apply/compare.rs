//! What differs between two states of an object, field by field.

use serde_json::Value;

use super::field_set::{FieldSet, Path, item_step};
use crate::resource::shape::{Shape, Shapes, step};

/// Fields that differ.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Those that have another value, or are new.
    pub(crate) written: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Difference {
    pub(crate) fn between(shapes: &Shapes, old: &Value, new: &Value) -> Self {
        let mut difference = Self::default();
        difference.compare(shapes, old, new, &mut Vec::new(), "");
        difference
    }

    fn compare(&mut self, shapes: &Shapes, old: &Value, new: &Value, path: &mut Path, names: &str) {
        if old == new {
            return;
        }
        match (shapes.of(names, new), old, new) {
            (Shape::Granular, Value::Object(before), Value::Object(after)) => {
                for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
                    let names = step(names, name);
                    self.entry(shapes, before.get(name), after.get(name), path, format!("f:{name}"), &names);
                }
            }
            (shape @ (Shape::Keyed(_) | Shape::Set), Value::Array(before), Value::Array(after)) => {
                let find = |items: &[Value], wanted: &str| {
                    items.iter().find(|item| item_step(&shape, item).as_deref() == Some(wanted)).cloned()
                };
                let mut steps: Vec<String> =
                    before.iter().chain(after).filter_map(|item| item_step(&shape, item)).collect();
                steps.sort();
                steps.dedup();
                for item in steps {
                    let (before, after) = (find(before, &item), find(after, &item));
                    self.entry(shapes, before.as_ref(), after.as_ref(), path, item, names);
                }
            }
            _ => self.written.insert(path.clone()),
        }
    }

    fn entry(
        &mut self,
        shapes: &Shapes,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Path,
        entry: String,
        names: &str,
    ) {
        let is_item = !entry.starts_with("f:");
        path.push(entry);
        match (old, new) {
            // Within an item of a list it is its fields that differ.
            (Some(old), Some(new)) if is_item => self.compare_item(shapes, old, new, path, names),
            (Some(old), Some(new)) => self.compare(shapes, old, new, path, names),
            (None, Some(new)) => self.written.extend(below(shapes, new, path, names, is_item)),
            (Some(old), None) => self.removed.extend(below(shapes, old, path, names, is_item)),
            (None, None) => {}
        }
        path.pop();
    }

    fn compare_item(&mut self, shapes: &Shapes, old: &Value, new: &Value, path: &mut Path, names: &str) {
        let (Value::Object(before), Value::Object(after)) = (old, new) else { return };
        for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
            let names = step(names, name);
            self.entry(shapes, before.get(name), after.get(name), path, format!("f:{name}"), &names);
        }
    }
}

fn below(shapes: &Shapes, value: &Value, path: &Path, names: &str, is_item: bool) -> FieldSet {
    if is_item && !value.is_object() {
        return FieldSet([path.clone()].into());
    }
    FieldSet::all_below(shapes, value, path, names)
}

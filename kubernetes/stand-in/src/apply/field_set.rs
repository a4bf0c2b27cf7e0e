//! Sets of fields, as `managedFields` writes them (`FieldsV1`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::resource::shape::{Shape, Shapes, step};

/// The way to a field. Each step is written as `FieldsV1` does: `f:spec`, `k:{"type":"Ready"}`, `v:"a.example"`.
pub(crate) type Path = Vec<String>;

/// Fields, each by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet(pub(crate) BTreeSet<Path>);

impl FieldSet {
    /// What somebody who writes this value writes: its leaves, and the items of its lists.
    pub(crate) fn of(shapes: &Shapes, value: &Value) -> Self {
        let mut set = Self::default();
        walk(shapes, value, &mut Vec::new(), "", false, &mut set);
        set
    }

    /// Every field there is at and below a path, with the maps on the way.
    pub(crate) fn all_below(shapes: &Shapes, value: &Value, path: &Path, names: &str) -> Self {
        let mut set = Self::default();
        walk(shapes, value, &mut path.clone(), names, true, &mut set);
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has the field or one below it.
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        self.0.range(path.clone()..).next().is_some_and(|next| next.starts_with(path))
    }

    pub(crate) fn insert(&mut self, path: Path) {
        self.0.insert(path);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn remove_all(&mut self, other: &Self) {
        self.0.retain(|path| !other.0.contains(path));
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut root = Map::new();
        for path in &self.0 {
            let mut node = &mut root;
            for step in path {
                node = node.entry(step).or_insert_with(|| json!({})).as_object_mut().expect("only objects are put in");
            }
            node.insert(".".to_owned(), json!({}));
        }
        Value::Object(root.into_iter().map(|(step, node)| (step, without_lone_dots(node))).collect())
    }

    pub(crate) fn from_json(fields: &Value) -> Self {
        let mut set = Self::default();
        read(fields, &mut Vec::new(), &mut set);
        set
    }
}

/// A path as conflicts name it: `.spec.ports[port=80,protocol="TCP"].name`.
pub(crate) fn shown(path: &Path) -> String {
    path.iter().map(|step| shown_step(step)).collect()
}

/// The keys of an item, as a step; nothing where it lacks one.
pub(crate) fn item_step(shape: &Shape, item: &Value) -> Option<String> {
    match shape {
        Shape::Keyed(keys) => {
            // Absent where the API would have filled it in.
            let value = |key: &String| match (&item[key], key.as_str()) {
                (Value::Null, "protocol") => json!("TCP"),
                (value, _) => value.clone(),
            };
            let keys: Map<String, Value> = keys.iter().map(|key| (key.clone(), value(key))).collect();
            (!keys.values().any(Value::is_null)).then(|| format!("k:{}", Value::Object(keys)))
        }
        Shape::Set => Some(format!("v:{item}")),
        _ => None,
    }
}

fn walk(shapes: &Shapes, value: &Value, path: &mut Path, names: &str, maps: bool, set: &mut FieldSet) {
    match (shapes.of(names, value), value) {
        (Shape::Granular, Value::Object(fields)) if !fields.is_empty() => {
            if maps && !path.is_empty() && !shapes.is_always_there(names) {
                set.insert(path.clone());
            }
            for (name, field) in fields {
                path.push(format!("f:{name}"));
                walk(shapes, field, path, &step(names, name), maps, set);
                path.pop();
            }
        }
        (shape @ (Shape::Keyed(_) | Shape::Set), Value::Array(items)) if !items.is_empty() => {
            if maps {
                set.insert(path.clone());
            }
            for item in items {
                let Some(step) = item_step(&shape, item) else { continue };
                path.push(step);
                set.insert(path.clone());
                if item.is_object() {
                    walk(shapes, item, path, names, maps, set);
                }
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        _ => set.insert(path.clone()),
    }
}

fn without_lone_dots(node: Value) -> Value {
    let Value::Object(fields) = node else { return node };
    if fields.len() == 1 && fields.contains_key(".") {
        return json!({});
    }
    Value::Object(fields.into_iter().map(|(step, node)| (step, without_lone_dots(node))).collect())
}

fn read(node: &Value, path: &mut Path, set: &mut FieldSet) {
    let fields = node.as_object().into_iter().flatten();
    if node.as_object().is_some_and(Map::is_empty) && !path.is_empty() || node.get(".").is_some() {
        set.insert(path.clone());
    }
    for (step, below) in fields.filter(|(step, _)| *step != ".") {
        path.push(step.clone());
        read(below, path, set);
        path.pop();
    }
}

fn shown_step(step: &str) -> String {
    match step.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => step.to_owned(),
    }
}

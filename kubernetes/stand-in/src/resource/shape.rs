//! How the parts of an object are merged: lists as a whole, by the keys of their items, or as sets; maps field by
//! field or as a whole. Server-side apply and strategic merges look here.

use std::collections::BTreeMap;

use serde_json::Value;

/// How one list or map is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As a whole.
    Atomic,
    /// A map, field by field.
    Granular,
    /// A list of objects with these keys.
    Keyed(Vec<String>),
    /// A list of scalars.
    Set,
}

/// The shapes of a kind that are not the ordinary ones: granular maps, atomic lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shapes {
    /// By the names of the fields on the way, with dots; items of lists have no step of their own.
    by_path: BTreeMap<String, Shape>,
    /// Spec and status of built-in kinds are there always.
    builtin: bool,
}

impl Shapes {
    /// Of a kind that is built in.
    pub(crate) fn builtin(kind: &str) -> Self {
        let mut shapes = Self { builtin: true, ..Self::default() };
        for (kinds, path, keys) in KEYED {
            if *kinds == "*" || *kinds == kind {
                shapes.insert(path, Shape::Keyed(keys.iter().map(ToString::to_string).collect()));
            }
        }
        for (of, path) in SETS {
            if *of == "*" || *of == kind {
                shapes.insert(path, Shape::Set);
            }
        }
        for (of, path) in ATOMIC_MAPS {
            if *of == kind {
                shapes.insert(path, Shape::Atomic);
            }
        }
        shapes
    }

    /// Of a kind whose schema says it.
    pub(crate) fn of_schema(schema: &Value) -> Self {
        let mut shapes = Self::default();
        shapes.insert("metadata.ownerReferences", Shape::Keyed(vec!["uid".to_owned()]));
        shapes.insert("metadata.finalizers", Shape::Set);
        shapes.read(schema, "");
        shapes
    }

    /// Whether a map is there whoever writes; it is nobody's then.
    pub(crate) fn is_always_there(&self, path: &str) -> bool {
        path == "metadata" || self.builtin && matches!(path, "spec" | "status")
    }

    /// The shape of this value at this place.
    pub(crate) fn of(&self, path: &str, value: &Value) -> Shape {
        match (value, self.by_path.get(path)) {
            (Value::Object(_), Some(Shape::Atomic)) => Shape::Atomic,
            (Value::Object(_), _) => Shape::Granular,
            (Value::Array(_), Some(shape)) => shape.clone(),
            _ => Shape::Atomic,
        }
    }

    fn insert(&mut self, path: &str, shape: Shape) {
        self.by_path.insert(path.to_owned(), shape);
    }

    fn read(&mut self, schema: &Value, path: &str) {
        match (schema["x-kubernetes-list-type"].as_str(), schema["x-kubernetes-map-type"].as_str()) {
            (Some("map"), _) => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                self.insert(path, Shape::Keyed(keys.filter_map(Value::as_str).map(str::to_owned).collect()));
            }
            (Some("set"), _) => self.insert(path, Shape::Set),
            (_, Some("atomic")) => self.insert(path, Shape::Atomic),
            _ => {}
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            self.read(field, &step(path, name));
        }
        if schema["items"].is_object() {
            self.read_items(&schema["items"], path);
        }
    }

    /// The items' own type is no type of the list.
    fn read_items(&mut self, items: &Value, path: &str) {
        for (name, field) in items["properties"].as_object().into_iter().flatten() {
            self.read(field, &step(path, name));
        }
    }
}

/// The path of a field below another.
pub(crate) fn step(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Lists of objects, by kind, place and keys. What is not here is merged as a whole.
const KEYED: &[(&str, &str, &[&str])] = &[
    ("*", "metadata.ownerReferences", &["uid"]),
    ("*", "status.conditions", &["type"]),
    ("Service", "spec.ports", &["port", "protocol"]),
    ("Pod", "spec.containers", &["name"]),
    ("Pod", "spec.containers.env", &["name"]),
    ("Pod", "spec.containers.ports", &["containerPort", "protocol"]),
    ("Pod", "spec.containers.volumeMounts", &["mountPath"]),
    ("Pod", "spec.initContainers", &["name"]),
    ("Pod", "spec.volumes", &["name"]),
    ("Gateway", "spec.listeners", &["name"]),
    ("Gateway", "status.listeners", &["name"]),
    ("Gateway", "status.listeners.conditions", &["type"]),
];

const SETS: &[(&str, &str)] = &[("*", "metadata.finalizers"), ("EndpointSlice", "endpoints.addresses")];

const ATOMIC_MAPS: &[(&str, &str)] = &[("Service", "spec.selector"), ("Event", "involvedObject")];

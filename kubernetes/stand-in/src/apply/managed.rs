//! `managedFields`: who wrote which fields, by an apply or by any other write.

use serde_json::{Value, json};

use super::compare::Difference;
use super::field_set::{FieldSet, Path, shown};
use crate::clock;
use crate::resource::Resource;
use crate::resource::shape::Shapes;
use crate::status::{Cause, Failure};

/// Somebody who writes fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) applies: bool,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

/// What everybody has written of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managed(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    writer: Writer,
    time: String,
    fields: FieldSet,
}

impl Managed {
    pub(crate) fn of(object: &Value) -> Self {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        Self(entries.map(Entry::read).collect())
    }

    /// What this one has applied so far.
    pub(crate) fn fields_of(&self, writer: &Writer) -> FieldSet {
        self.0.iter().find(|entry| entry.writer == *writer).map(|entry| entry.fields.clone()).unwrap_or_default()
    }

    pub(crate) fn of_others(&self, writer: &Writer) -> impl Iterator<Item = &FieldSet> + Clone {
        self.0.iter().filter(move |entry| entry.writer != *writer).map(|entry| &entry.fields)
    }

    /// Who else wrote a field that is to change.
    pub(crate) fn check(&self, writer: &Writer, difference: &Difference) -> Result<(), Failure> {
        let others = self.0.iter().filter(|entry| entry.writer != *writer);
        let conflicts: Vec<(String, &Path)> = others
            .flat_map(|entry| entry.fields.0.intersection(&difference.written.0).map(|path| (entry.shown(), path)))
            .collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        let causes: Vec<Cause> =
            conflicts.iter().map(|(whose, path)| Cause::manager_conflict(shown(path), whose)).collect();
        Err(Failure::apply_conflict(sentence(&conflicts), &causes))
    }

    /// An apply: these fields are the writer's now, and nobody else's where they changed.
    pub(crate) fn apply(&mut self, writer: &Writer, fields: FieldSet, difference: &Difference) {
        self.take_from_others(writer, difference);
        self.set(writer, fields);
    }

    /// Any other write: what changed is the writer's.
    pub(crate) fn update(&mut self, writer: &Writer, difference: &Difference) {
        self.take_from_others(writer, difference);
        let mut fields = self.fields_of(writer);
        fields.remove_all(&difference.removed);
        fields.extend(difference.written.clone());
        self.set(writer, fields);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        // Applies first, then by time: the order of a server, which clients see in conflicts.
        entries.sort_by_key(|entry| (!entry.writer.applies, &entry.time, &entry.writer.name));
        entries.into_iter().map(Entry::to_json).collect()
    }

    fn take_from_others(&mut self, writer: &Writer, difference: &Difference) {
        for entry in self.0.iter_mut().filter(|entry| entry.writer != *writer) {
            entry.fields.remove_all(&difference.removed);
            entry.fields.remove_all(&difference.written);
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// The time is that of the last change of the set, not of the last write.
    fn set(&mut self, writer: &Writer, fields: FieldSet) {
        let known = self.0.iter_mut().find(|entry| entry.writer == *writer);
        match known {
            Some(entry) if entry.fields != fields => {
                entry.fields = fields;
                entry.time = clock::now();
            }
            Some(_) => {}
            None => self.0.push(Entry { writer: writer.clone(), time: clock::now(), fields }),
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }
}

impl Entry {
    fn read(entry: &Value) -> Self {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let writer = Writer {
            name: text("manager"),
            applies: entry["operation"] == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
        };
        Self { writer, time: text("time"), fields: FieldSet::from_json(&entry["fieldsV1"]) }
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.writer.name,
            "operation": if self.writer.applies { "Apply" } else { "Update" },
            "apiVersion": self.writer.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json(),
        });
        if !self.writer.subresource.is_empty() {
            entry["subresource"] = self.writer.subresource.clone().into();
        }
        entry
    }

    fn shown(&self) -> String {
        let Writer { name, applies, api_version, subresource } = &self.writer;
        let of = if subresource.is_empty() { String::new() } else { format!(" with subresource {subresource:?}") };
        match applies {
            true => format!("{name:?}{of}"),
            false => format!("{name:?}{of} using {api_version}"),
        }
    }
}

/// The object without what is nobody's: its identity, what the server writes, and the part the request cannot write.
pub(crate) fn ownable(resource: &Resource, object: &Value, subresource: &str) -> Value {
    let mut object = object.clone();
    let Some(fields) = object.as_object_mut() else { return object };
    fields.retain(|name, _| match name.as_str() {
        "apiVersion" | "kind" => false,
        "status" => !resource.status || subresource == "status",
        _ => subresource.is_empty(),
    });
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !SERVERS.contains(&name.as_str()));
        if metadata.is_empty() {
            fields.remove("metadata");
        }
    }
    object
}

/// What differs of the fields that can be somebody's.
pub(crate) fn difference(resource: &Resource, old: &Value, new: &Value, subresource: &str) -> Difference {
    let shapes: &Shapes = &resource.shapes;
    Difference::between(shapes, &ownable(resource, old, subresource), &ownable(resource, new, subresource))
}

fn sentence(conflicts: &[(String, &Path)]) -> String {
    if let [(whose, path)] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {whose}: {}", shown(path));
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = "";
    for (whose, path) in conflicts {
        if whose != last {
            lines.push(format!("conflicts with {whose}:"));
            last = whose;
        }
        lines.push(format!("- {}", shown(path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Fields of metadata that the server writes, or that say which object it is.
const SERVERS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

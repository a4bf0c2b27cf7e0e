//! The form objects are answered in: whole, as their metadata only, or as a table for people.

use serde_json::{Value, json};

use crate::query::Query;
use crate::resource::Resource;
use crate::resource::columns::Column;
use crate::status::Failure;

/// What `Accept` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
    Table(Rows),
}

/// What a table has of the objects besides the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Nothing,
    Metadata,
    Objects,
}

impl Form {
    /// The first form that is asked for and known.
    pub(crate) fn of(accept: &str, query: &Query) -> Result<Self, Failure> {
        let rows = match query.text("includeObject") {
            "None" => Rows::Nothing,
            "Object" => Rows::Objects,
            _ => Rows::Metadata,
        };
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        accept.split(',').find_map(|media| Self::of_media(media, rows)).ok_or_else(|| {
            let message =
                "only the following media types are accepted: application/json, application/json;stream=watch";
            Failure::new(406, "NotAcceptable", message)
        })
    }

    /// One object as an answer.
    pub(crate) fn one(self, resource: &Resource, stored: &Value) -> Value {
        let object = resource.present(stored);
        match self {
            Self::Whole => object,
            Self::Metadata => partial(&object),
            Self::Table(rows) => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                table(resource, rows, &[object], metadata)
            }
        }
    }

    /// Many.
    pub(crate) fn many<'v>(
        self,
        resource: &Resource,
        stored: impl Iterator<Item = &'v Value>,
        metadata: Value,
    ) -> Value {
        let objects: Vec<Value> = stored.map(|stored| resource.present(stored)).collect();
        match self {
            Self::Whole => json!({
                "kind": resource.list_kind,
                "apiVersion": resource.api_version(),
                "metadata": metadata,
                "items": objects.into_iter().map(|object| item(resource, object)).collect::<Vec<_>>(),
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": objects.iter().map(partial).collect::<Vec<_>>(),
            }),
            Self::Table(rows) => table(resource, rows, &objects, metadata),
        }
    }

    /// What a watch says of its place: an object with nothing but that.
    pub(crate) fn bookmark(self, resource: &Resource, revision: u64, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        match self {
            Self::Whole => object,
            Self::Metadata => partial(&object),
            Self::Table(rows) => table(resource, rows, &[object], json!({"resourceVersion": revision.to_string()})),
        }
    }

    fn of_media(media: &str, rows: Rows) -> Option<Self> {
        let mut parts = media.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let (mut wanted, mut group, mut version) = ("", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "as" => wanted = value,
                "g" => group = value,
                "v" => version = value,
                _ => {}
            }
        }
        match (wanted, group, version) {
            ("", ..) => Some(Self::Whole),
            ("Table", "meta.k8s.io", "v1") => Some(Self::Table(rows)),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Some(Self::Metadata),
            _ => None,
        }
    }
}

fn item(resource: &Resource, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut().filter(|_| !resource.items_say_their_kind()) {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    object
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn table(resource: &Resource, rows: Rows, objects: &[Value], metadata: Value) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "description": "What it is called.", "priority": 0,
    });
    let columns = resource.defined.as_ref().map_or_else(|| vec![Column::age()], |defined| defined.columns.clone());
    let definitions: Vec<Value> = [name].into_iter().chain(columns.iter().map(Column::definition)).collect();
    let row = |object: &Value| {
        let name = object["metadata"]["name"].clone();
        let cells: Vec<Value> = [name].into_iter().chain(columns.iter().map(|column| column.cell(object))).collect();
        let object = match rows {
            Rows::Nothing => Value::Null,
            Rows::Metadata => partial(object),
            Rows::Objects => object.clone(),
        };
        json!({"cells": cells, "object": object})
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

//! Strategic merge patches: merge patches that know which lists have keys. The directives `$patch`,
//! `$deleteFromPrimitiveList/…` and `$retainKeys` are followed; `$setElementOrder/…` is not, new items come last.

use serde_json::{Map, Value};

use crate::apply::field_set::item_step;
use crate::resource::Resource;
use crate::resource::shape::{Shape, Shapes, step};

pub(super) fn merge(resource: &Resource, object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => fields(&resource.shapes, object, patch, ""),
        patch => *object = patch.clone(),
    }
}

fn fields(shapes: &Shapes, object: &mut Value, patch: &Map<String, Value>, path: &str) {
    if !object.is_object() || patch.get("$patch").is_some_and(|directive| directive == "replace") {
        *object = Value::Object(Map::new());
    }
    let fields = object.as_object_mut().expect("made one above");
    if let Some(Value::Array(kept)) = patch.get("$retainKeys") {
        fields.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            remove_items(fields.get_mut(list), value);
        } else if !name.starts_with('$') {
            field(shapes, fields, name, value, &step(path, name));
        }
    }
}

fn field(shapes: &Shapes, fields_of: &mut Map<String, Value>, name: &str, patch: &Value, path: &str) {
    match patch {
        Value::Null => drop(fields_of.remove(name)),
        Value::Object(patch) if patch.get("$patch").is_some_and(|directive| directive == "delete") => {
            fields_of.remove(name);
        }
        Value::Object(patch) => {
            fields(shapes, fields_of.entry(name).or_insert_with(|| Value::Object(Map::new())), patch, path);
        }
        Value::Array(patch) => items(shapes, fields_of.entry(name).or_insert(Value::Null), patch, path),
        value => drop(fields_of.insert(name.to_owned(), value.clone())),
    }
}

fn items(shapes: &Shapes, list: &mut Value, patch: &[Value], path: &str) {
    let shape = shapes.of(path, &Value::Array(Vec::new()));
    let replaces = patch.iter().any(|item| item["$patch"] == "replace");
    if shape == Shape::Atomic || replaces || !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let items = list.as_array_mut().expect("made one above");
    for item in patch.iter().filter(|item| item["$patch"] != "replace") {
        let same =
            |other: &Value| item_step(&shape, item).is_some() && item_step(&shape, other) == item_step(&shape, item);
        match (items.iter().position(same), item) {
            (Some(at), item) if item["$patch"] == "delete" => drop(items.remove(at)),
            (Some(at), Value::Object(item)) => fields(shapes, &mut items[at], item, path),
            (Some(_), _) => {}
            (None, item) if item["$patch"] == "delete" => {}
            (None, item) => items.push(item.clone()),
        }
    }
}

fn remove_items(list: Option<&mut Value>, removed: &Value) {
    let (Some(Value::Array(items)), Value::Array(removed)) = (list, removed) else { return };
    items.retain(|item| !removed.contains(item));
}

//! Objects in what `kubectl` prints.

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ObjectName;
use crate::objects::{Keep, Objects};

/// All objects of the kinds that are known, of lists and of documents in a row.
///
/// # Errors
/// It is neither YAML nor JSON, or an object is not what it says it is.
pub(super) fn objects(dump: &str) -> Result<Objects, String> {
    let mut objects = Objects::default();
    for document in documents(dump)? {
        put_all(&mut objects, document)?;
    }
    Ok(objects)
}

fn documents(dump: &str) -> Result<Vec<Value>, String> {
    if dump.trim_start().starts_with('{') {
        let values = serde_json::Deserializer::from_str(dump).into_iter();
        return values.collect::<Result<_, _>>().map_err(|error| error.to_string());
    }
    // A dump is as large as its cluster; only how deep it is stays bounded.
    let budget = serde_saphyr::budget! {
        max_events: usize::MAX,
        max_nodes: usize::MAX,
        max_documents: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
    };
    let options = serde_saphyr::options! { budget: budget };
    serde_saphyr::from_multiple_with_options(dump, options).map_err(|error| error.to_string())
}

fn put_all(objects: &mut Objects, mut document: Value) -> Result<(), String> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(Value::Array(items)) = document.get_mut("items") {
        // Lists of one kind may leave out what their items are.
        let of_items = kind.strip_suffix("List").unwrap_or_default().to_owned();
        return std::mem::take(items).into_iter().try_for_each(|mut item| {
            if let Some(fields) = item.as_object_mut().filter(|_| !of_items.is_empty()) {
                fields.entry("kind").or_insert_with(|| of_items.clone().into());
            }
            put_all(objects, item)
        });
    }
    match kind.as_str() {
        "Ingress" => put::<Ingress>(objects, document),
        "IngressClass" => put::<IngressClass>(objects, document),
        "Service" => put::<Service>(objects, document),
        "Secret" => put::<Secret>(objects, document),
        "ConfigMap" => put::<ConfigMap>(objects, document),
        _ => Ok(()),
    }
}

fn put<K: Keep + DeserializeOwned + ResourceExt>(objects: &mut Objects, document: Value) -> Result<(), String> {
    let named = |value: &Value| {
        let part = |part: &str| value.pointer(part).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {}", part("/kind"), ObjectName::new(&part("/metadata/namespace"), &part("/metadata/name")))
    };
    let name = named(&document);
    let object: K = serde_json::from_value(document).map_err(|error| format!("{name}: {error}"))?;
    K::place(objects).insert(ObjectName::of(&object), object);
    Ok(())
}

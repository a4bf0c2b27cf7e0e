//! As much OpenAPI as kubectl needs to leave the checking of fields to the server: which kinds can be patched, and
//! that they are checked. There are no schemas in it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::resource::Resource;
use crate::resource::registry::Registry;

/// Which documents there are.
pub(super) fn index(registry: &Registry) -> Value {
    let path = |resource: &Arc<Resource>| match resource.group.as_str() {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    };
    let entry = |path: String| {
        let address = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        (path, address)
    };
    let paths: Map<String, Value> = registry.all().map(|resource| entry(path(resource))).collect();
    json!({"paths": paths})
}

/// The document of one group in one version.
pub(super) fn of(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let of_version = |resource: &&Arc<Resource>| resource.group == group && resource.version == version;
    let paths: Map<String, Value> = registry.all().filter(of_version).map(|resource| path(resource)).collect();
    let info = json!({"title": "Kubernetes", "version": "v1.33.0"});
    (!paths.is_empty()).then(|| json!({"openapi": "3.0.0", "info": info, "paths": paths}))
}

fn path(resource: &Resource) -> (String, Value) {
    let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let path = format!("{root}/{}{namespace}/{}/{{name}}", resource.version, resource.plural);
    let option = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let patch = json!({
        "parameters": [option("dryRun"), option("fieldManager"), option("fieldValidation"), option("force")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind":
            {"group": resource.group, "version": resource.version, "kind": resource.kind},
    });
    (path, json!({"patch": patch}))
}

//! The documents that say what there is. The aggregated form is not offered: clients that ask for it fall back to
//! these, as they do at servers that do not know it.

use serde_json::{Value, json};

use crate::resource::Resource;
use crate::resource::registry::Registry;

pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-04-23T13:00:00Z", "goVersion": "go1.24.2", "compiler": "gc", "platform": "linux/amd64",
    })
}

pub(super) fn core_versions() -> Value {
    let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]);
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})
}

pub(super) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry.groups().iter().map(|(name, versions)| one_group(name, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(super) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = one_group(name, registry.groups().get(name)?);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let of_version = |resource: &&std::sync::Arc<Resource>| resource.group == group && resource.version == version;
    let resources: Vec<Value> = registry.all().filter(of_version).flat_map(|resource| entries(resource)).collect();
    if resources.is_empty() {
        return None;
    }
    let group_version = crate::resource::group_version(group, version);
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

fn one_group(name: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    // What is stable comes first.
    let mut sorted: Vec<&str> = versions.to_vec();
    sorted.sort_by_key(|version| (version.contains("alpha") || version.contains("beta"), *version));
    let versions: Vec<Value> = sorted.iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let status = resource.status.then(|| {
        json!({
            "name": format!("{}/status", resource.plural), "singularName": "", "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": ["get", "patch", "update"],
        })
    });
    [entry].into_iter().chain(status).collect()
}

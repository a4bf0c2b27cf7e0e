//! What is particular to built-in kinds: what is filled in, and the few things a test is likely to get wrong that the
//! real server refuses. Types of fields are not checked, nor most of what a real server checks.

use std::net::Ipv4Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::resource::{Resource, definition};
use crate::status::Cause;

/// Fields that are null are absent.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

pub(super) fn set_defaults(resource: &Resource, object: &mut Value, old: Option<&Value>, revision: u64) {
    match resource.kind.as_str() {
        "Service" => service(object, old, revision),
        "Secret" => secret(object),
        "ConfigMap" => drop_empty(object, &["data", "binaryData"]),
        "Namespace" => namespace(object),
        "Pod" => absent(&mut object["status"], "phase", json!("Pending")),
        "EndpointSlice" => {
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                absent(port, "protocol", json!("TCP"));
                absent(port, "name", json!(""));
            }
        }
        "CustomResourceDefinition" => definition::set_defaults(object),
        _ => {}
    }
}

/// What a new object's status is whatever the client says.
pub(super) fn forget_status(resource: &Resource, object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if matches!(resource.kind.as_str(), "Service" | "Ingress") && resource.defined.is_none() {
            fields.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
    }
}

pub(super) fn problems(resource: &Resource, object: &Value) -> Vec<Cause> {
    match resource.kind.as_str() {
        "CustomResourceDefinition" => definition::problems(object),
        "EndpointSlice" if object["addressType"].is_null() => vec![Cause::required("addressType", "")],
        "Event" => event(object),
        "Ingress" => ingress(object),
        "Lease" if object["spec"]["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) => {
            let seconds = &object["spec"]["leaseDurationSeconds"];
            vec![Cause::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")]
        }
        "Service" if object["spec"]["ports"].as_array().is_none_or(Vec::is_empty) && needs_ports(object) => {
            vec![Cause::required("spec.ports", "")]
        }
        _ => Vec::new(),
    }
}

/// What stays as it was created.
pub(super) fn changes_refused(resource: &Resource, old: &Value, object: &Value) -> Vec<Cause> {
    let changed = |field: &str| old[field] != object[field];
    let fixed = |field: &'static str| vec![Cause::invalid(field, &object[field], "field is immutable")];
    match resource.kind.as_str() {
        "Secret" if changed("type") => fixed("type"),
        "EndpointSlice" if changed("addressType") => fixed("addressType"),
        "Secret" | "ConfigMap" if old["immutable"] == true && (changed("data") || changed("immutable")) => {
            vec![Cause::forbidden("data", "field is immutable when `immutable` is set")]
        }
        _ => Vec::new(),
    }
}

/// What has finalizers stays until they are gone. A namespace has one of its own: it goes when everything in it is gone.
pub(super) fn is_held(resource: &Resource, object: &Value) -> bool {
    let any = |finalizers: &Value| finalizers.as_array().is_some_and(|finalizers| !finalizers.is_empty());
    any(&object["metadata"]["finalizers"]) || resource.is_namespace() && any(&object["spec"]["finalizers"])
}

pub(super) fn begin_to_go(resource: &Resource, object: &mut Value) {
    if resource.is_namespace() {
        object["status"]["phase"] = json!("Terminating");
    }
}

fn service(object: &mut Value, old: Option<&Value>, revision: u64) {
    let spec = &mut object["spec"];
    absent(spec, "type", json!("ClusterIP"));
    absent(spec, "sessionAffinity", json!("None"));
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        absent(port, "protocol", json!("TCP"));
        let number = port["port"].clone();
        absent(port, "targetPort", number);
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    let known = old.map(|old| old["spec"]["clusterIP"].clone()).filter(Value::is_string);
    let next =
        || json!(Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + (revision % 0xfff0) as u32).to_string());
    absent(spec, "clusterIP", known.unwrap_or_else(next));
    let addresses = json!([spec["clusterIP"]]);
    absent(spec, "clusterIPs", addresses);
    absent(spec, "internalTrafficPolicy", json!("Cluster"));
    absent(spec, "ipFamilies", json!(["IPv4"]));
    absent(spec, "ipFamilyPolicy", json!("SingleStack"));
}

fn needs_ports(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName" && service["spec"]["clusterIP"] != "None"
}

/// Texts are written into `data`, and never read.
fn secret(object: &mut Value) {
    absent(object, "type", json!("Opaque"));
    if let Some(Value::Object(texts)) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) {
        absent(object, "data", json!({}));
        for (name, text) in texts {
            object["data"][name] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
        }
    }
    drop_empty(object, &["data"]);
}

fn drop_empty(object: &mut Value, names: &[&str]) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.retain(|name, value| !names.contains(&name.as_str()) || *value != json!({}));
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    absent(&mut object["metadata"], "labels", json!({}));
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    if object["metadata"]["deletionTimestamp"].is_null() {
        absent(object, "spec", json!({}));
        absent(&mut object["spec"], "finalizers", json!(["kubernetes"]));
    }
    absent(&mut object["status"], "phase", json!("Active"));
}

/// An event lives where its object does; those of objects of no namespace in `default`.
fn event(object: &Value) -> Vec<Cause> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let about = &object["involvedObject"]["namespace"];
    let fits = match about.as_str().unwrap_or_default() {
        "" => matches!(namespace, "default" | "kube-system"),
        about => about == namespace,
    };
    if fits {
        Vec::new()
    } else {
        vec![Cause::invalid("involvedObject.namespace", about, "does not match event.namespace")]
    }
}

fn ingress(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let rules = spec["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        return vec![Cause::invalid_text("spec", "[]networking.IngressRule(nil)", why)];
    }
    let mut causes = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for (at, path) in rule["http"]["paths"].as_array().into_iter().flatten().enumerate() {
            if path["pathType"].is_null() {
                let field = format!("spec.rules[{index}].http.paths[{at}].pathType");
                causes.push(Cause::required(field, "pathType must be specified"));
            }
        }
    }
    causes
}

fn absent(object: &mut Value, field: &str, value: Value) {
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    if object[field].is_null() {
        object[field] = value;
    }
}

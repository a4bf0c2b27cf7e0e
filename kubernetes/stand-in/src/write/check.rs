//! Whether a body fits the address it was sent to.

use serde_json::{Value, json};

use super::Target;
use crate::resource::{NAMESPACES, Resource};
use crate::state::State;
use crate::status::{Cause, Failure};
use crate::store::Key;

/// Checks what the object says it is, and fills in what follows from the address.
pub(super) fn body(target: &Target, object: &mut Value) -> Result<(), Failure> {
    if !object.is_object() {
        return Err(Failure::bad_request("the body of the request is no object"));
    }
    kind(target, object)?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    namespace(target, object)
}

/// The name in the body against the one of the address.
pub(super) fn name(target: &Target, object: &mut Value) -> Result<(), Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() && name != target.name {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", target.name);
        return Err(Failure::bad_request(message));
    }
    object["metadata"]["name"] = target.name.clone().into();
    Ok(())
}

/// A new object's namespace must be there, and stay.
pub(super) fn namespace_exists(state: &State, target: &Target) -> Result<(), Failure> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let namespaces = state.registry.of_collection(NAMESPACES).expect("every server has namespaces");
    let name = target.namespace.clone();
    let key = Key { collection: NAMESPACES.to_owned(), namespace: String::new(), name };
    match state.store.find(&key) {
        None => Err(Failure::not_found(&namespaces, &target.namespace)),
        Some(namespace) if namespace["metadata"]["deletionTimestamp"].is_string() => {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                target.namespace
            );
            Err(Failure::forbidden(&target.resource, &target.name, &why))
        }
        Some(_) => Ok(()),
    }
}

/// Names are parts of paths, and most of host names.
pub(super) fn valid_name(target: &Target) -> Result<(), Failure> {
    named_well(target, "metadata.name", &target.name, &target.name)
}

/// What a name is made up from: it may end with a dash, and with nothing else that a name may not end with.
pub(super) fn valid_prefix(target: &Target, prefix: &str) -> Result<(), Failure> {
    let name = match prefix.strip_suffix('-') {
        Some(rest) => format!("{rest}a"),
        None => prefix.to_owned(),
    };
    named_well(target, "metadata.generateName", prefix, &name)
}

fn named_well(target: &Target, field: &str, written: &str, name: &str) -> Result<(), Failure> {
    let alphanumeric = |char: Option<char>| char.is_some_and(|char| char.is_ascii_lowercase() || char.is_ascii_digit());
    let part = |part: &str| {
        alphanumeric(part.chars().next())
            && alphanumeric(part.chars().last())
            && part.chars().all(|char| alphanumeric(Some(char)) || char == '-')
    };
    if name.len() <= 253 && name.split('.').all(part) {
        return Ok(());
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
               and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
               is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let cause = Cause::invalid(field, &json!(written), why);
    Err(Failure::invalid(&target.resource, written, vec![cause]))
}

fn kind(target: &Target, object: &mut Value) -> Result<(), Failure> {
    let resource = &target.resource;
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if resource.defined.is_some() && (kind.is_empty() || api_version.is_empty()) {
        let what = if kind.is_empty() { "Kind" } else { "apiVersion" };
        return Err(Failure::bad_request(format!("Object '{what}' is missing in '{object}'")));
    }
    if !api_version.is_empty() && api_version != resource.api_version() {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            resource.api_version()
        )));
    }
    if !kind.is_empty() && kind != resource.kind {
        return Err(another_kind(target, object, kind));
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    Ok(())
}

fn another_kind(target: &Target, object: &Value, kind: &str) -> Failure {
    let Resource { group, version, kind: expected, defined, .. } = &*target.resource;
    if defined.is_some() {
        let cause = Cause::invalid("kind", &json!(kind), &format!("must be {expected}"));
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Failure::invalid_kind(group, kind, name, vec![cause]);
    }
    let message = format!("{kind} in version {version:?} cannot be handled as a {expected}: expected {expected}");
    Failure::bad_request(message)
}

fn namespace(target: &Target, object: &mut Value) -> Result<(), Failure> {
    let metadata = object["metadata"].as_object_mut().expect("put there before");
    let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !namespace.is_empty() && namespace != target.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if target.resource.namespaced {
        metadata.insert("namespace".to_owned(), target.namespace.clone().into());
    } else {
        metadata.remove("namespace");
    }
    Ok(())
}

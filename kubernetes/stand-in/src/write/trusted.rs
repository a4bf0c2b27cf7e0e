//! Writes of the test itself. They go through the same checks, but status and creation times are as the test says,
//! and namespaces come about when something is put in them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delete::{Preconditions, delete};
use super::{Options, Target, UnknownFields, create, update};
use crate::resource::{NAMESPACES, Resource};
use crate::state::State;
use crate::status::Failure;
use crate::store::Key;

/// Creates the object, or puts it in the place of the one that is there.
pub(crate) fn put(state: &mut State, object: Value) -> Result<Value, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let unknown = || Failure::bad_request(format!("there is no kind {kind:?} of {api_version:?}"));
    let resource = state.registry.of_kind(&api_version, &kind).ok_or_else(unknown)?;
    let namespace = namespace(&resource, &object["metadata"]["namespace"]);
    if resource.namespaced {
        ensure_namespace(state, &namespace);
    }
    let target = Target { resource, namespace, name: text(&object["metadata"]["name"]), status: false };
    let written = match state.store.find(&target.key()) {
        None => create::create(state, &target, object, &options())?,
        Some(_) => update::replace(state, &target, object, &options())?,
    };
    // A definition was established in the meantime.
    let stored = state.store.find(&target.key()).cloned().unwrap_or(written.object);
    Ok(target.resource.present(&stored))
}

/// Removes the object; whether it was there.
pub(crate) fn remove(state: &mut State, resource: Arc<Resource>, namespace: &str, name: &str) -> bool {
    let target = Target { resource, namespace: namespace.to_owned(), name: name.to_owned(), status: false };
    delete(state, &target, &Preconditions::default(), false).is_ok()
}

pub(crate) fn ensure_namespace(state: &mut State, name: &str) {
    let key = Key { collection: NAMESPACES.to_owned(), namespace: String::new(), name: name.to_owned() };
    if state.store.find(&key).is_none() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        put(state, namespace).expect("a namespace without anything is right");
    }
}

fn namespace(resource: &Resource, named: &Value) -> String {
    match named.as_str() {
        _ if !resource.namespaced => String::new(),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "default".to_owned(),
    }
}

fn options() -> Options {
    Options {
        dry_run: false,
        manager: "test".to_owned(),
        force: false,
        unknown_fields: UnknownFields::Ignore,
        trusted: true,
    }
}

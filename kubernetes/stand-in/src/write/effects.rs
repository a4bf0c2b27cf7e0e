//! What follows from a write: kinds that come and go with their definitions, namespaces that are emptied.

use serde_json::{Value, json};

use super::Target;
use super::delete::{Preconditions, delete};
use crate::resource::{DEFINITIONS, NAMESPACES, Resource, definition};
use crate::state::State;
use crate::store::{Extent, Key};

pub(super) fn stored(state: &mut State, resource: &Resource, object: &Value) {
    if resource.is_definition() {
        define(state, object);
    }
    if resource.is_namespace() && object["metadata"]["deletionTimestamp"].is_string() {
        empty(state, object["metadata"]["name"].as_str().unwrap_or_default());
    }
}

pub(super) fn removed(state: &mut State, resource: &Resource, object: &Value) {
    if resource.is_definition() {
        undefine(state, object["metadata"]["name"].as_str().unwrap_or_default());
    }
    if let Some(namespace) = object["metadata"]["namespace"].as_str().filter(|_| resource.namespaced) {
        finish(state, namespace);
    }
}

/// The kind is there at once; that it is, is written a moment later, as clients that wait for it expect.
fn define(state: &mut State, object: &Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    state.registry.remove(name);
    definition::resources(object).into_iter().for_each(|resource| state.registry.insert(resource));
    if object["status"]["conditions"].is_array() {
        return;
    }
    let mut established = object.clone();
    established["status"] = definition::established(object);
    let collection = DEFINITIONS.to_owned();
    state.store.put(&Key { collection, namespace: String::new(), name: name.to_owned() }, established);
}

/// The kinds of a group whose definitions are there still, though the group was taken away; whether there are any.
pub(crate) fn define_again(state: &mut State, group: &str) -> bool {
    let extent = Extent { collection: DEFINITIONS.to_owned(), namespace: None };
    let mut definitions = state.store.list(&extent);
    definitions.retain(|_, definition| definition["spec"]["group"] == group);
    definitions.values().for_each(|definition| define(state, definition));
    !definitions.is_empty()
}

/// A kind's objects go before it does.
fn undefine(state: &mut State, name: &str) {
    let extent = Extent { collection: name.to_owned(), namespace: None };
    for (key, object) in state.store.list(&extent) {
        state.store.remove(&key, (*object).clone());
    }
    state.registry.remove(name);
}

fn empty(state: &mut State, namespace: &str) {
    let mut collections: Vec<_> = state.registry.all().filter(|resource| resource.namespaced).cloned().collect();
    collections.dedup_by(|one, other| one.collection == other.collection);
    for resource in collections {
        let extent = Extent { collection: resource.collection.clone(), namespace: Some(namespace.to_owned()) };
        for (key, _) in state.store.list(&extent) {
            let target = Target { resource: resource.clone(), namespace: key.namespace, name: key.name, status: false };
            // Two versions of a kind list the same objects: the second finds them gone.
            let _ = delete(state, &target, &Preconditions::default(), false);
        }
    }
    finish(state, namespace);
}

/// Removes a namespace that is going once nothing is left in it.
fn finish(state: &mut State, namespace: &str) {
    let key = Key { collection: NAMESPACES.to_owned(), namespace: String::new(), name: namespace.to_owned() };
    let going = |object: &&std::sync::Arc<Value>| object["metadata"]["deletionTimestamp"].is_string();
    let Some(object) = state.store.find(&key).filter(going).cloned() else { return };
    let holds = |resource: &Resource| {
        let extent = Extent { collection: resource.collection.clone(), namespace: Some(namespace.to_owned()) };
        resource.namespaced && !state.store.list(&extent).is_empty()
    };
    if state.registry.all().any(|resource| holds(resource)) {
        return;
    }
    let mut last = (*object).clone();
    last["spec"]["finalizers"] = json!([]);
    state.store.remove(&key, last);
}

//! Removing objects, at once or when their finalizers are gone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Target, effects, kinds};
use crate::clock;
use crate::selector::Selector;
use crate::state::State;
use crate::status::Failure;
use crate::store::{Extent, Key};

/// What became of it.
pub(crate) enum Deleted {
    /// It is gone.
    Now(Arc<Value>),
    /// It waits for finalizers.
    Later(Arc<Value>),
}

/// What the object must be like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
}

pub(crate) fn delete(
    state: &mut State,
    target: &Target,
    conditions: &Preconditions,
    dry_run: bool,
) -> Result<Deleted, Failure> {
    let key = target.key();
    let Some(object) = state.store.find(&key).cloned() else {
        return Err(Failure::not_found(&target.resource, &target.name));
    };
    check(target, conditions, &object)?;
    if kinds::is_held(&target.resource, &object) {
        return Ok(mark(state, target, &key, object, dry_run));
    }
    if dry_run {
        return Ok(Deleted::Now(object));
    }
    let object = state.store.remove(&key, (*object).clone());
    effects::removed(state, &target.resource, &object);
    Ok(Deleted::Now(object))
}

/// Removes everything that is selected; says what that was.
pub(crate) fn delete_all(
    state: &mut State,
    target: &Target,
    extent: &Extent,
    selector: &Selector,
    dry_run: bool,
) -> Vec<Arc<Value>> {
    let chosen = state.store.list(extent).into_iter().filter(|(_, object)| selector.wants(object));
    let chosen: Vec<Key> = chosen.map(|(key, _)| key).collect();
    let mut deleted = Vec::new();
    for Key { namespace, name, .. } in chosen {
        let one = Target { namespace, name, ..target.clone() };
        // What is gone by now went with something else.
        if let Ok(Deleted::Now(object) | Deleted::Later(object)) =
            delete(state, &one, &Preconditions::default(), dry_run)
        {
            deleted.push(object);
        }
    }
    deleted
}

fn check(target: &Target, conditions: &Preconditions, object: &Value) -> Result<(), Failure> {
    let refuse = |what: &str, wanted: &str, is: &Value, ends: &str| {
        let is = is.as_str().unwrap_or_default();
        let why =
            format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). {ends}");
        Err(Failure::precondition(&target.resource, &target.name, &why))
    };
    let metadata = &object["metadata"];
    match conditions {
        Preconditions { uid: Some(uid), .. } if metadata["uid"] != uid.as_str() => {
            refuse("UID", uid, &metadata["uid"], "The object might have been deleted and then recreated")
        }
        Preconditions { version: Some(version), .. } if metadata["resourceVersion"] != version.as_str() => {
            refuse("ResourceVersion", version, &metadata["resourceVersion"], "The object might have been modified")
        }
        _ => Ok(()),
    }
}

fn mark(state: &mut State, target: &Target, key: &Key, object: Arc<Value>, dry_run: bool) -> Deleted {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Deleted::Later(object);
    }
    let mut going = (*object).clone();
    going["metadata"]["deletionTimestamp"] = clock::now().into();
    going["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    if let Some(generation) = going["metadata"]["generation"].as_u64() {
        going["metadata"]["generation"] = (generation + 1).into();
    }
    kinds::begin_to_go(&target.resource, &mut going);
    if dry_run {
        return Deleted::Later(Arc::new(going));
    }
    let object = state.store.put(key, going);
    effects::stored(state, &target.resource, &object);
    Deleted::Later(object)
}

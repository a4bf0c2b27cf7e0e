//! Changing objects that are there: as a whole, by patches, by an apply.

use std::sync::Arc;

use serde_json::{Value, json};

use super::commit::Draft;
use super::{Options, Target, Written, check, create, metadata, strategic};
use crate::apply::field_set::FieldSet;
use crate::apply::managed::{self, Managed};
use crate::apply::merge;
use crate::state::State;
use crate::status::Failure;

/// What a patch is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Puts the object in the place of the one that is there.
pub(crate) fn replace(
    state: &mut State,
    target: &Target,
    mut object: Value,
    options: &Options,
) -> Result<Written, Failure> {
    check::body(target, &mut object)?;
    check::name(target, &mut object)?;
    match state.store.find(&target.key()).cloned() {
        Some(old) => write_over(state, target, old, object, options),
        None if target.resource.create_on_update && !target.status => {
            create::create_as(state, target, object, None, options)
        }
        None => Err(Failure::not_found(&target.resource, &target.name)),
    }
}

/// Changes what the patch says.
pub(crate) fn patch(
    state: &mut State,
    target: &Target,
    kind: PatchKind,
    patch: Value,
    options: &Options,
) -> Result<Written, Failure> {
    if kind == PatchKind::Apply {
        return apply(state, target, patch, options);
    }
    let key = target.key();
    let old = state.store.find(&key).cloned().ok_or_else(|| Failure::not_found(&target.resource, &target.name))?;
    let mut object = target.resource.present(&old);
    match kind {
        PatchKind::Merge => json_patch::merge(&mut object, &patch),
        PatchKind::Strategic => strategic::merge(&target.resource, &mut object, &patch),
        PatchKind::Json => json(&mut object, patch)?,
        PatchKind::Apply => unreachable!("returned before"),
    }
    check::body(target, &mut object)?;
    check::name(target, &mut object)?;
    write_over(state, target, old, object, options)
}

fn write_over(
    state: &mut State,
    target: &Target,
    old: Arc<Value>,
    mut object: Value,
    options: &Options,
) -> Result<Written, Failure> {
    if !options.trusted {
        metadata::check_versions(target, &old, &object)?;
    }
    target.resource.to_stored(&mut object);
    let object = over(target, &old, object, options);
    Draft { target, options, old: Some(old), object, managed: None }.commit(state)
}

/// Status and the rest are written by themselves, and the server's part not at all.
fn over(target: &Target, old: &Value, mut object: Value, options: &Options) -> Value {
    let status = object.get("status").cloned();
    let with_status = |mut object: Value, status: Option<Value>| {
        let fields = object.as_object_mut().expect("bodies are checked");
        match status {
            Some(status) => fields.insert("status".to_owned(), status),
            None => fields.remove("status"),
        };
        object
    };
    if target.status {
        return with_status(old.clone(), status);
    }
    metadata::carry(old, &mut object, options);
    if options.trusted && status.is_some() || !target.resource.status {
        return object;
    }
    with_status(object, old.get("status").cloned())
}

/// A test that fails, a path that leads nowhere: the patch is understood and cannot be done.
fn json(object: &mut Value, patch: Value) -> Result<(), Failure> {
    let unreadable = |error| Failure::bad_request(format!("error decoding patch: {error}"));
    let patch: json_patch::Patch = serde_json::from_value(patch).map_err(unreadable)?;
    let message = "the server rejected our request due to an error in our request";
    json_patch::patch(object, &patch).map_err(|_| Failure::generic(422, "Invalid", message))
}

fn apply(state: &mut State, target: &Target, mut applied: Value, options: &Options) -> Result<Written, Failure> {
    check_version(target, &applied)?;
    check::body(target, &mut applied)?;
    check::name(target, &mut applied)?;
    check_applied(target, &applied)?;
    let resource = &target.resource;
    let old = state.store.find(&target.key()).cloned();
    if old.is_none() && target.status {
        return Err(Failure::not_found(resource, &target.name));
    }
    if let Some(old) = &old
        && applied["metadata"]["resourceVersion"].is_string()
    {
        metadata::check_versions(target, old, &applied)?;
    }
    target.resource.to_stored(&mut applied);
    let (object, managed) = merged(target, old.as_deref(), &applied, options)?;
    let Some(old) = old else {
        return create::create_as(state, target, object, Some(managed), options);
    };
    let object = over(target, &old, object, options);
    Draft { target, options, old: Some(old), object, managed: Some(managed) }.commit(state)
}

/// The object as it will be, and who has written what of it then.
fn merged(
    target: &Target,
    old: Option<&Value>,
    applied: &Value,
    options: &Options,
) -> Result<(Value, Managed), Failure> {
    let (resource, subresource) = (&target.resource, target.subresource());
    let writer = target.writer(options, true);
    let owned = managed::ownable(resource, applied, subresource);
    let fields = FieldSet::of(&resource.shapes, &owned);

    let nothing = json!({"apiVersion": applied["apiVersion"], "kind": applied["kind"], "metadata": {}});
    let old = old.unwrap_or(&nothing);
    let mut managed = Managed::of(old);
    let mut object = old.clone();
    merge::merge(&resource.shapes, &mut object, &owned, "");
    let abandoned = merge::abandoned(&managed.fields_of(&writer), &fields, managed.of_others(&writer));
    merge::remove(&resource.shapes, &mut object, &abandoned);
    for place in ["name", "namespace"] {
        if applied["metadata"][place].is_string() {
            object["metadata"][place] = applied["metadata"][place].clone();
        }
    }

    let difference = managed::difference(resource, old, &object, subresource);
    if !options.force {
        managed.check(&writer, &difference)?;
    }
    managed.apply(&writer, fields, &difference);
    Ok((object, managed))
}

/// What is applied says of which version it is; nothing is assumed.
fn check_version(target: &Target, applied: &Value) -> Result<(), Failure> {
    let (is, expected) = (applied["apiVersion"].as_str().unwrap_or_default(), target.resource.api_version());
    if is == expected {
        return Ok(());
    }
    let message =
        format!("Incorrect version specified in apply patch. Specified patch version: {is}, expected: {expected}");
    Err(Failure::bad_request(message))
}

fn check_applied(target: &Target, applied: &Value) -> Result<(), Failure> {
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let Some(defined) = &target.resource.defined else { return Ok(()) };
    let unknown = defined.schema.prune(&mut applied.clone());
    let Some(field) = unknown.first() else { return Ok(()) };
    let Target { namespace, name, resource, .. } = target;
    // A server says it this way, as if it were its own fault.
    Err(Failure::new(
        500,
        "",
        format!(
            "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): .{field}: field not declared in schema",
            resource.api_version(),
            resource.kind
        ),
    ))
}

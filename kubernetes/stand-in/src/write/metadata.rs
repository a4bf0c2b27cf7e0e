//! The part of metadata that is the server's.

use serde_json::{Value, json};

use super::{Options, Target};
use crate::clock;
use crate::status::{Cause, Failure};

/// Of an object that is new.
pub(super) fn begin(target: &Target, object: &mut Value, options: &Options) {
    let created = object["metadata"]["creationTimestamp"].clone();
    let metadata = object["metadata"].as_object_mut().expect("bodies are checked");
    metadata.retain(|name, value| !SERVERS.contains(&name.as_str()) && !is_empty(value));
    let created = if options.trusted && created.is_string() { created } else { clock::now().into() };
    metadata.insert("name".to_owned(), target.name.clone().into());
    metadata.insert("uid".to_owned(), uid().into());
    metadata.insert("creationTimestamp".to_owned(), created);
    if target.resource.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
}

/// Of one that was there: what the server wrote stays.
pub(super) fn carry(old: &Value, object: &mut Value, options: &Options) {
    let created = object["metadata"]["creationTimestamp"].clone();
    let metadata = object["metadata"].as_object_mut().expect("bodies are checked");
    metadata.retain(|name, value| !SERVERS.contains(&name.as_str()) && !is_empty(value));
    for name in SERVERS {
        if let Some(value) = old["metadata"].get(name) {
            metadata.insert((*name).to_owned(), value.clone());
        }
    }
    if options.trusted && created.is_string() {
        metadata.insert("creationTimestamp".to_owned(), created);
    }
}

/// Whether the update was made from what there is.
pub(super) fn check_versions(target: &Target, old: &Value, object: &Value) -> Result<(), Failure> {
    let text = |object: &Value, name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    let (uid, version) = (text(object, "uid"), text(object, "resourceVersion"));
    if !uid.is_empty() && uid != text(old, "uid") {
        let is = text(old, "uid");
        let Target { resource, namespace, name, .. } = target;
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{namespace}/{name}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {is}",
            resource.plural
        );
        return Err(Failure::conflict(&target.resource, &target.name, &why));
    }
    let absent = version.is_empty() || version == "0";
    if absent && !target.resource.unconditional_update {
        let why = "must be specified for an update";
        let cause = Cause::invalid_text("metadata.resourceVersion", "0x0", why);
        let Target { resource, name, .. } = target;
        return Err(Failure::invalid_kind(&resource.group, &resource.plural, name, vec![cause]));
    }
    if !absent && version != text(old, "resourceVersion") {
        return Err(Failure::modified(&target.resource, &target.name));
    }
    Ok(())
}

/// One that is going must not be held by more.
pub(super) fn check_finalizers(target: &Target, old: &Value, object: &Value) -> Result<(), Failure> {
    if !old["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let before = old["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let now = object["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let new: Vec<String> = now.iter().filter(|finalizer| !before.contains(finalizer)).map(Value::to_string).collect();
    if new.is_empty() {
        return Ok(());
    }
    let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
    let cause = Cause::forbidden("metadata.finalizers", &format!("{why} []string{{{}}}", new.join(", ")));
    Err(Failure::invalid(&target.resource, &target.name, vec![cause]))
}

/// What is counted up when what is wanted changes: everything but metadata, and status where that is by itself.
pub(super) fn count(target: &Target, old: &Value, object: &mut Value) {
    if !target.resource.generation {
        return;
    }
    let wanted = |object: &Value| {
        let mut wanted = object.clone();
        if let Some(fields) = wanted.as_object_mut() {
            fields.remove("metadata");
            fields.remove("apiVersion");
            if target.resource.status {
                fields.remove("status");
            }
        }
        wanted
    };
    let before = old["metadata"]["generation"].as_u64().unwrap_or(1);
    let now = before + u64::from(wanted(old) != wanted(object));
    object["metadata"]["generation"] = now.into();
}

/// Random, with the version and the variant in their places (RFC 9562 §5.4).
fn uid() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].map(hex).join("-")
}

/// Five characters that make a generated name one of its own.
pub(super) fn suffix() -> String {
    // Without vowels, so that no word comes about.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// Metadata is the same for all kinds, and what is empty in it is absent.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Fields only the server writes.
const SERVERS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

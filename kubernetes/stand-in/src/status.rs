//! How requests fail: the `Status` objects of the API, with the codes, reasons and sentences clients look at.

use serde_json::{Value, json};

use crate::resource::Resource;

/// A request that was refused.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
    /// Fields of the `Status`' own metadata: where an expired list may go on.
    metadata: Value,
}

/// What is wrong with one field.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, metadata: json!({}) }
    }

    /// What a server says of requests it does not look at closely.
    pub(crate) fn generic(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { details: json!({}), ..Self::new(code, reason, message) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", resource.qualified())).about(resource, name)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// Somebody else was faster.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// An object that is not as a deletion wants it. Here a server names the kind where it otherwise names the plural.
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let kind = crate::resource::qualified(&resource.group, &resource.kind);
        let mut failure =
            Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {kind} {name:?}: {why}"));
        failure.details = json!({"name": name, "group": resource.group, "kind": resource.kind});
        failure.without_empty_details()
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let message = format!("{}{subject} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_kind(&resource.group, &resource.kind, name, causes)
    }

    /// As [`Self::invalid`] for what is no resource: the options of a request.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let subject = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let all: Vec<String> = causes.iter().map(Cause::sentence).collect();
        let all = if all.len() == 1 { all[0].clone() } else { format!("[{}]", all.join(", ")) };
        let mut failure = Self::new(422, "Invalid", format!("{subject} {name:?} is invalid: {all}"));
        failure.details = json!({"name": name, "group": group, "kind": kind, "causes": causes_json(&causes)});
        failure.without_empty_details()
    }

    /// An option of a request that must not be so.
    pub(crate) fn options(kind: &str, cause: Cause) -> Self {
        Self::invalid_kind("meta.k8s.io", kind, "", vec![cause])
    }

    /// Fields that others have applied.
    pub(crate) fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        let mut failure = Self::new(409, "Conflict", message);
        failure.details = json!({"causes": causes_json(causes)});
        failure
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A watch that begins before what is remembered.
    pub(crate) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// A version that is not reached yet.
    pub(crate) fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(504, "Timeout", message);
        let cause = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        failure.details = json!({"causes": cause, "retryAfterSeconds": 1});
        failure
    }

    /// The same, and where to go on regardless.
    pub(crate) fn with_continue(mut self, token: &str) -> Self {
        self.metadata = json!({"continue": token});
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.details = json!({"retryAfterSeconds": seconds});
        self
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details["retryAfterSeconds"].as_u64()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        self.without_empty_details()
    }

    fn without_empty_details(mut self) -> Self {
        let details = self.details.as_object_mut().expect("made by the callers");
        details.retain(|_, value| value != "");
        self
    }
}

impl Cause {
    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") };
        Self { reason: "FieldValueRequired", message, field: field.into() }
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {why}", shown(value)),
            field: field.into(),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {why}"), field: field.into() }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self { reason: "FieldValueDuplicate", message: format!("Duplicate value: {value}"), field: field.into() }
    }

    pub(crate) fn not_supported(field: impl Into<String>, value: &Value, supported: &[Value]) -> Self {
        Self::not_supported_text(field, &shown(value), supported)
    }

    /// The same, of a value that is no JSON.
    pub(crate) fn not_supported_text(field: impl Into<String>, value: &str, supported: &[Value]) -> Self {
        let supported: Vec<String> = supported.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        Self { reason: "FieldValueNotSupported", message, field: field.into() }
    }

    pub(crate) fn of_type(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self { reason: "FieldValueTypeInvalid", ..Self::invalid(field, value, why) }
    }

    pub(crate) fn too_long(field: String, limit: u64) -> Self {
        Self { reason: "FieldValueTooLong", message: format!("Too long: may not be more than {limit} bytes"), field }
    }

    pub(crate) fn too_many(field: String, count: usize, limit: u64) -> Self {
        Self {
            reason: "FieldValueTooMany",
            message: format!("Too many: {count}: must have at most {limit} items"),
            field,
        }
    }

    /// Something that is written in the server's own language.
    pub(crate) fn invalid_text(field: impl Into<String>, value: &str, why: &str) -> Self {
        Self { reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {why}"), field: field.into() }
    }

    pub(crate) fn manager_conflict(field: String, whose: &str) -> Self {
        Self { reason: "FieldManagerConflict", message: format!("conflict with {whose}"), field }
    }

    fn sentence(&self) -> String {
        if self.field.is_empty() { self.message.clone() } else { format!("{}: {}", self.field, self.message) }
    }
}

/// What went well where there is no object left to answer with.
pub(crate) fn success(resource: &Resource, name: &str, uid: &Value) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = resource.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn causes_json(causes: &[Cause]) -> Value {
    let cause = |cause: &Cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field});
    causes.iter().map(cause).collect()
}

/// Objects and lists are named by what they are: their text would fill the screen.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        value => value.to_string(),
    }
}

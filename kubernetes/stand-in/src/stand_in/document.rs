//! Objects as tests write them.

use serde_json::Value;

/// An object in YAML or JSON, or as a value.
pub trait Document {
    /// Panics where it cannot be read: a test that cannot write its objects has failed.
    fn into_object(self) -> Value;
}

impl Document for Value {
    fn into_object(self) -> Value {
        self
    }
}

impl Document for &Value {
    fn into_object(self) -> Value {
        self.clone()
    }
}

impl Document for &str {
    fn into_object(self) -> Value {
        serde_saphyr::from_str(self).unwrap_or_else(|error| panic!("{error} in:\n{self}"))
    }
}

impl Document for &String {
    fn into_object(self) -> Value {
        self.as_str().into_object()
    }
}

/// Every document of a text that says something.
pub(super) fn all(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error} in:\n{yaml}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

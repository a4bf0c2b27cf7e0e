//! The token a list goes on with. Clients must not read it; it is written as real servers write it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::status::Failure;
use crate::store::{Extent, Key};

/// Where the next page begins.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// The state the list is of; nothing, where it is whatever there is by now.
    pub(super) revision: Option<u64>,
    start: String,
}

impl Page {
    pub(super) fn behind(revision: u64, key: &Key) -> Self {
        Self { revision: Some(revision), start: format!("{}/{}", key.namespace, key.name) }
    }

    /// The same place in the objects of today.
    pub(super) fn regardless(&self) -> Self {
        Self { revision: None, start: self.start.clone() }
    }

    pub(super) fn read(token: &str) -> Result<Self, Failure> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok();
        let read: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let token = read.filter(|token| token["v"] == "meta.k8s.io/v1").unwrap_or_default();
        let (revision, start) = (token["rv"].as_i64(), token["start"].as_str());
        match (revision, start) {
            (Some(revision), Some(start)) if revision != 0 => {
                Ok(Self { revision: u64::try_from(revision).ok(), start: start.to_owned() })
            }
            _ => Err(Failure::bad_request("continue key is not valid")),
        }
    }

    pub(super) fn token(&self) -> String {
        let revision = self.revision.map_or(json!(-1), |revision| json!(revision));
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.start}).to_string())
    }

    /// The last object of the page before.
    pub(super) fn last(&self, extent: &Extent) -> Key {
        let (namespace, name) = self.start.split_once('/').unwrap_or_default();
        let collection = extent.collection.clone();
        Key { collection, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

//! Changing objects: what a request wants, what becomes of it, and what follows from it.
//!
//! All of it is synchronous and under the one lock: a write is over when its answer is sent.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod effects;
pub(crate) mod update;

pub(crate) mod trusted;

mod check;
mod commit;
mod kinds;
mod metadata;
mod strategic;

use std::sync::Arc;

use serde_json::Value;

use crate::apply::managed::Writer;
use crate::resource::Resource;
use crate::state::State;
use crate::store::Key;

/// What a write is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whether only its status is meant.
    pub(crate) status: bool,
}

/// What a request says besides.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) dry_run: bool,
    /// Who writes.
    pub(crate) manager: String,
    /// An apply takes what others have.
    pub(crate) force: bool,
    pub(crate) unknown_fields: UnknownFields,
    /// The test itself writes: status and times are as it says.
    pub(crate) trusted: bool,
}

/// What is done with fields a schema does not know. They are dropped in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    Ignore,
    Warn,
    Refuse,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) struct Written {
    /// As stored, or as it would be.
    pub(crate) object: Arc<Value>,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

impl Target {
    pub(crate) fn key(&self) -> Key {
        State::key(&self.resource, &self.namespace, &self.name)
    }

    fn subresource(&self) -> &'static str {
        if self.status { "status" } else { "" }
    }

    fn writer(&self, options: &Options, applies: bool) -> Writer {
        Writer {
            name: options.manager.clone(),
            applies,
            api_version: self.resource.api_version(),
            subresource: self.subresource().to_owned(),
        }
    }
}

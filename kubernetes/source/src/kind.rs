//! Kinds of objects that are defined on servers, and not built into them.
//!
//! Written here, and not generated of their schema, because what a value may be is asked late: an object with a value of tomorrow must
//! spoil itself alone, and not the list it stands in.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::{Kept, Objects};

/// An object of one of these kinds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(bound(deserialize = "S: DeserializeOwned"))]
pub(crate) struct Object<S> {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: S,
    /// As it is at the server: it may be another controller's in part.
    #[serde(default)]
    pub(crate) status: Value,
}

/// What tells a kind by its spec.
pub(crate) trait Kind: Clone + Debug + PartialEq + DeserializeOwned + Send + Sync + 'static {
    const GROUP: &'static str;
    const VERSION: &'static str = "v1";
    const KIND: &'static str;
    const PLURAL: &'static str;
    type Scope;

    /// Where they are kept.
    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>>;
}

impl<S: Kind> Resource for Object<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        S::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        S::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        S::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        S::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<S> Object<S> {
    /// Whether its status has this value in a field. None is null.
    pub(crate) fn shows(&self, field: &str, value: &Value) -> bool {
        self.status.get(field).unwrap_or(&Value::Null) == value
    }

    pub(crate) fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }
}

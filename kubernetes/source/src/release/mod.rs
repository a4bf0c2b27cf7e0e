//! Releases as objects of Kubernetes: between Services instead of upstreams, and with their state in their status.
//!
//! `form` is what people write, `definition` what the API server is told of it, `translate` what it amounts to, `register` where
//! records are read and written, and `notes` what else is to be known by who leads next.

mod form;

mod definition;

mod notes;

mod register;

mod status;

mod translate;

#[cfg(test)]
mod tests;

use k8s_openapi::NamespaceResourceScope;
use serde::Deserialize;
use serde_json::Value;

use crate::ObjectName;
use crate::kind::{Kind, Object};
use crate::objects::{Kept, Objects};

pub use definition::definition;
use form::ReleaseForm;
pub use register::{RegisterError, Releases, StoredRelease};
pub use status::{LastChange, ReleaseStatus};
pub(crate) use translate::{Accepted, Released, ReleasesBefore, translate};

/// What is written of a release, as it came.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Written(Value);

pub(crate) type Release = Object<Written>;

impl Kind for Written {
    const GROUP: &'static str = "serin.dev";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "Release";
    const PLURAL: &'static str = "releases";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.releases
    }
}

/// What a release is called in rules, orders and metrics.
fn called(object: &ObjectName) -> String {
    format!("{}.{}", object.namespace, object.name)
}

/// The object of a release that is called so, if it is one. Namespaces have no dots.
fn object(release: &str) -> Option<ObjectName> {
    release.split_once('.').map(|(namespace, name)| ObjectName::new(namespace, name))
}

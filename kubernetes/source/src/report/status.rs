//! Statuses of objects.

use std::fmt;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::ObjectName;
use crate::kind::{Kind, Object};

/// A status that an object should have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusUpdate {
    /// What kind of object it is.
    pub(crate) resource: ApiResource,
    /// Which one.
    pub(crate) object: ObjectName,
    /// The version of the object this is said of: of any other one it might be wrong.
    pub(crate) version: Option<String>,
    /// The fields of the status that are ours.
    pub(crate) status: Value,
}

impl StatusUpdate {
    /// What is to be told to an object, if it does not say so already. Fields that are not in `status` are not ours.
    pub(crate) fn of<S: Kind>(name: &ObjectName, object: &Object<S>, status: Value) -> Option<Self> {
        let mut fields = status.as_object().into_iter().flatten();
        if fields.all(|(field, value)| object.shows(field, value)) {
            return None;
        }
        let (resource, version) = (ApiResource::erase::<Object<S>>(&()), object.metadata.resource_version.clone());
        Some(Self { resource, object: name.clone(), version, status })
    }

    /// Writes it.
    pub(super) async fn write(&self, client: &Client) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = match &*self.object.namespace {
            "" => Api::all_with(client.clone(), &self.resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &self.resource),
        };
        let patch = json!({"metadata": {"resourceVersion": self.version}, "status": self.status});
        api.patch_status(&self.object.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }
}

impl fmt::Display for StatusUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the status of {} {}", self.resource.kind, self.object)
    }
}

/// Whether the object is another one by now, or has gone.
pub(super) fn is_overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 || status.code == 404)
}

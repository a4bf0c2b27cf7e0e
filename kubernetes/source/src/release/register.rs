//! Where records of Releases are read and written: in the status of the object itself.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Release, ReleaseStatus, object};
use crate::{ObjectName, trouble};

/// Releases at the API server, for whoever moves them on.
#[derive(Default)]
pub struct Releases(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// To the API server, and the Lease of whoever leads.
    way: Option<(Client, ObjectName)>,
    /// What they are called in rules; none before they were heard.
    names: Option<BTreeSet<String>>,
}

/// A Release as it was read.
#[derive(Clone, Debug)]
pub struct StoredRelease {
    object: ObjectName,
    /// Of which version of the object that is.
    version: Option<String>,
    /// What it says of itself.
    pub status: ReleaseStatus,
}

/// Why something was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The object has become another one since it was read.
    #[error("the object has changed meanwhile")]
    Overtaken,
    /// There is no such object.
    #[error("there is no such object")]
    Gone,
    /// The API server does not answer, or refuses.
    #[error("{0}")]
    Unreachable(String),
    /// The status is not one that Serin writes.
    #[error("its status cannot be read: {0}")]
    Damaged(String),
}

impl Releases {
    /// Whether a release is one of these. `None` before they were heard, of one whose name has a namespace, as theirs have.
    pub fn has(&self, release: &str) -> Option<bool> {
        match &self.lock().names {
            Some(names) => Some(names.contains(release)),
            None => object(release).is_none().then_some(false),
        }
    }

    /// A release as it is at this moment.
    ///
    /// # Errors
    /// It cannot be read within some seconds.
    pub async fn read(&self, release: &str) -> Result<StoredRelease, RegisterError> {
        let (api, object) = self.at(release)?;
        let found = answer(api.get(&object.name)).await?;
        let status = match found.data.get("status") {
            None | Some(Value::Null) => ReleaseStatus::default(),
            Some(status) => {
                let read = serde_json::from_value(status.clone());
                read.map_err(|error| RegisterError::Damaged(error.to_string()))?
            }
        };
        Ok(StoredRelease { object, version: found.metadata.resource_version, status })
    }

    /// Writes what a release says of itself, if it is still as it was read.
    ///
    /// # Errors
    /// It is another one, or it cannot be written within some seconds.
    pub async fn write(&self, release: &str, read: &StoredRelease) -> Result<(), RegisterError> {
        let (api, _) = self.at(release)?;
        let ObjectName { namespace, name } = &read.object;
        let mut object = DynamicObject::new(name, &ApiResource::erase::<Release>(&())).within(namespace);
        object.metadata.resource_version.clone_from(&read.version);
        object.data = json!({"status": read.status});
        answer(api.replace_status(name, &PostParams::default(), &object)).await.map(drop)
    }

    fn at(&self, release: &str) -> Result<(Api<DynamicObject>, ObjectName), RegisterError> {
        let (client, _) = self.way()?;
        let object = object(release).ok_or(RegisterError::Gone)?;
        let api = Api::namespaced_with(client, &object.namespace, &ApiResource::erase::<Release>(&()));
        Ok((api, object))
    }

    pub(super) fn way(&self) -> Result<(Client, ObjectName), RegisterError> {
        let way = self.lock().way.clone();
        way.ok_or_else(|| RegisterError::Unreachable("there is no way to the API server of Kubernetes".into()))
    }

    pub(crate) fn connect(&self, client: &Client, lease: ObjectName) {
        self.lock().way = Some((client.clone(), lease));
    }

    pub(crate) fn hear(&self, names: BTreeSet<String>) {
        self.lock().names = Some(names);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn answer<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, RegisterError> {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(RegisterError::Overtaken),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(RegisterError::Gone),
        Ok(Err(error)) => Err(RegisterError::Unreachable(trouble::of(&error))),
        Err(_) => Err(RegisterError::Unreachable("the API server of Kubernetes does not answer".into())),
    }
}

/// How long the API server has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_releases_are_objects_is_known_when_they_are_heard_but_for_names_without_a_namespace() {
        let releases = Releases::default();
        assert_eq!((releases.has("shop.v2"), releases.has("v2")), (None, Some(false)));
        releases.hear(["shop.v2".to_owned()].into());
        assert_eq!(
            (releases.has("shop.v2"), releases.has("shop.v3"), releases.has("v2")),
            (Some(true), Some(false), Some(false))
        );
    }
}

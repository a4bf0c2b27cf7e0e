//! What whoever leads leaves for the next one that does: texts in a ConfigMap beside the Lease, which is called as it is, with `-webhooks`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::register::{RegisterError, Releases, answer};

impl Releases {
    /// What stands under a key.
    ///
    /// # Errors
    /// It cannot be read within some seconds.
    pub async fn note(&self, key: &str) -> Result<Option<String>, RegisterError> {
        let (api, name) = self.notes()?;
        match answer(api.get(&name)).await {
            Ok(found) => Ok(found.data.and_then(|mut notes| notes.remove(key))),
            Err(RegisterError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what stands under a key, whatever stood there.
    ///
    /// # Errors
    /// It cannot be written within some seconds.
    pub async fn write_note(&self, key: &str, text: &str) -> Result<(), RegisterError> {
        let (api, name) = self.notes()?;
        let patch = Patch::Merge(json!({"data": {key: text}}));
        match answer(api.patch(&name, &PatchParams::default(), &patch)).await {
            Ok(_) => Ok(()),
            Err(RegisterError::Gone) => {
                let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
                let data = Some(BTreeMap::from([(key.to_owned(), text.to_owned())]));
                let notes = ConfigMap { metadata, data, ..ConfigMap::default() };
                answer(api.create(&PostParams::default(), &notes)).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    fn notes(&self) -> Result<(Api<ConfigMap>, String), RegisterError> {
        let (client, lease) = self.way()?;
        Ok((Api::namespaced(client, &lease.namespace), format!("{}-webhooks", lease.name)))
    }
}

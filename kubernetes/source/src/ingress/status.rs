//! Where Ingresses are served.

use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ApiResource;
use serde_json::json;

use crate::ObjectName;
use crate::addresses::{Address, addresses};
use crate::objects::Objects;
use crate::options::Options;
use crate::report::StatusUpdate;

/// The statuses of these Ingresses that are not as they should be. Nothing, where nobody has said where clients find Serin.
pub(crate) fn updates(objects: &Objects, options: &Options, served: &[ObjectName]) -> Vec<StatusUpdate> {
    let Some(addresses) = addresses(objects, options) else { return Vec::new() };
    let update = |name: &ObjectName| {
        let ingress = objects.ingresses.get(name)?;
        (shown(ingress) != addresses).then(|| StatusUpdate {
            resource: ApiResource::erase::<Ingress>(&()),
            object: name.clone(),
            version: ingress.metadata.resource_version.clone(),
            status: json!({"loadBalancer": {"ingress": addresses}}),
        })
    };
    served.iter().filter_map(update).collect()
}

/// What the Ingress says, without what others may add.
fn shown(ingress: &Ingress) -> Vec<Address> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    all.map(|one| Address::new(one.ip.as_deref(), one.hostname.as_deref())).collect()
}

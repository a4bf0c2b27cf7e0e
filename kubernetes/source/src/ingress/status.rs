//! Where Ingresses are served.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::ObjectName;
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
fn shown(ingress: &Ingress) -> Vec<Value> {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    all.map(|one| address(one.ip.as_deref(), one.hostname.as_deref())).collect()
}

/// Where clients find Serin: as the options say; else as the Service says that leads here.
pub(crate) fn addresses(objects: &Objects, options: &Options) -> Option<Vec<Value>> {
    if !options.addresses.is_empty() {
        let address_of = |text: &String| match text.parse::<std::net::IpAddr>() {
            Ok(_) => address(Some(text), None),
            Err(_) => address(None, Some(text)),
        };
        return Some(options.addresses.iter().map(address_of).collect());
    }
    let service = objects.services.get(options.publish_service.as_ref()?)?;
    let found = of_service(service);
    // A load balancer that is not ready yet has no address, and what was told before is as good as nothing.
    (!found.is_empty()).then_some(found)
}

fn of_service(service: &Service) -> Vec<Value> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balanced = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let mut found: Vec<_> = balanced.map(|one| address(one.ip.as_deref(), one.hostname.as_deref())).collect();
    let Some(spec) = &service.spec else { return found };
    found.extend(spec.external_ips.iter().flatten().map(|ip| address(Some(ip), None)));
    let is_inner = matches!(spec.type_.as_deref(), None | Some("ClusterIP" | "NodePort"));
    if found.is_empty() && is_inner {
        let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
        found.extend(ip.map(|ip| address(Some(ip), None)));
    }
    found
}

fn address(ip: Option<&str>, hostname: Option<&str>) -> Value {
    match (ip.filter(|ip| !ip.is_empty()), hostname) {
        (Some(ip), _) => json!({"ip": ip}),
        (None, hostname) => json!({"hostname": hostname.unwrap_or_default()}),
    }
}

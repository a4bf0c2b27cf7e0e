//! Services as upstreams.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use routing_rules::spec::{DiscoverySpec, DnsSpec, PortSpec, ServicePortSpec};

use crate::ObjectName;

/// What the upstream of a port is called, where it is the usual one.
pub(crate) fn upstream_name(service: &ObjectName, port: &PortSpec) -> String {
    format!("{}.{}.{}", service.namespace, service.name, shown(port))
}

/// Where the endpoints of a port come from: pods, or for a Service that is another name of something outside, what that name leads to.
///
/// # Errors
/// It is such a name, and the port is called by a name that the Service does not have.
pub(crate) fn discovery(name: &ObjectName, service: Option<&Service>, port: PortSpec) -> Result<DiscoverySpec, String> {
    let Some(outside) = service.filter(|service| is_outside(service)) else {
        return Ok(DiscoverySpec::Kubernetes(ServicePortSpec { service: name.to_string(), port }));
    };
    let host = outside.spec.as_ref().and_then(|spec| spec.external_name.as_deref()).unwrap_or_default();
    let number = match &port {
        PortSpec::Number(number) => Some(*number),
        PortSpec::Name(_) => find_port(outside, &port).and_then(|port| u16::try_from(port.port).ok()),
    };
    let number = number.ok_or_else(|| format!("Service {name} has no port {}", shown(&port)))?;
    Ok(DiscoverySpec::Dns(DnsSpec {
        name: host.trim_end_matches('.').into(),
        port: Some(number.into()),
        ..DnsSpec::default()
    }))
}

/// Whether a Service has a port. One that is another name needs none to be asked for by number.
fn has_port(service: &Service, wanted: &PortSpec) -> bool {
    find_port(service, wanted).is_some() || (is_outside(service) && matches!(wanted, PortSpec::Number(_)))
}

/// What is missing of a port that somebody names, if anything is.
pub(crate) fn lack(name: &ObjectName, service: Option<&Service>, wanted: &PortSpec) -> Option<String> {
    match service {
        None => Some(format!("there is no Service {name}")),
        Some(service) if !has_port(service, wanted) => Some(format!("Service {name} has no port {}", shown(wanted))),
        Some(_) => None,
    }
}

/// What certificates of a Service's pods are for: pods have no names.
pub(crate) fn server_name(service: &ObjectName) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

/// A port of a Service, by its number or its name.
pub(crate) fn find_port<'s>(service: &'s Service, wanted: &PortSpec) -> Option<&'s ServicePort> {
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.find(|port| match wanted {
        PortSpec::Number(number) => port.port == i32::from(*number),
        PortSpec::Name(name) => port.name.as_ref() == Some(name),
    })
}

/// Whether a Service is another name of something outside.
pub(crate) fn is_outside(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

/// A port as it is written.
pub(crate) fn shown(port: &PortSpec) -> String {
    match port {
        PortSpec::Number(number) => number.to_string(),
        PortSpec::Name(name) => name.clone(),
    }
}

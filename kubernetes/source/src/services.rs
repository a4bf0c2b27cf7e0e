//! Services as upstreams.

use k8s_openapi::api::core::v1::Service;
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
    let spec = service.and_then(|service| service.spec.as_ref());
    let outside = spec.filter(|spec| spec.type_.as_deref() == Some("ExternalName"));
    let Some(outside) = outside else {
        return Ok(DiscoverySpec::Kubernetes(ServicePortSpec { service: name.to_string(), port }));
    };
    let host = outside.external_name.as_deref().unwrap_or_default();
    let number = match &port {
        PortSpec::Number(number) => Some(*number),
        PortSpec::Name(name) => {
            let mut ports = outside.ports.iter().flatten();
            let port = ports.find(|port| port.name.as_ref() == Some(name));
            port.and_then(|port| u16::try_from(port.port).ok())
        }
    };
    let number = number.ok_or_else(|| format!("Service {name} has no port {}", shown(&port)))?;
    Ok(DiscoverySpec::Dns(DnsSpec {
        name: host.trim_end_matches('.').into(),
        port: Some(number.into()),
        ..DnsSpec::default()
    }))
}

/// Whether a Service has a port. One that is another name needs none to be asked for by number.
pub(crate) fn has_port(service: &Service, wanted: &PortSpec) -> bool {
    let Some(spec) = &service.spec else { return false };
    let is_outside = spec.type_.as_deref() == Some("ExternalName");
    let mut ports = spec.ports.iter().flatten();
    ports.any(|port| match wanted {
        PortSpec::Number(number) => port.port == i32::from(*number),
        PortSpec::Name(name) => port.name.as_ref() == Some(name),
    }) || (is_outside && matches!(wanted, PortSpec::Number(_)))
}

/// A port as it is written.
pub(crate) fn shown(port: &PortSpec) -> String {
    match port {
        PortSpec::Number(number) => number.to_string(),
        PortSpec::Name(name) => name.clone(),
    }
}

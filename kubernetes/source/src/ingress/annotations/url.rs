//! Addresses of services that annotations name.

use std::net::{IpAddr, SocketAddr};

use routing_rules::spec::{DiscoverySpec, DnsSpec, EndpointSpec, PortSpec, UpstreamSpec, UpstreamTlsSpec};

use super::trial;
use crate::ObjectName;
use crate::objects::Objects;
use crate::services::{discovery, upstream_name};

/// `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ingress) struct Url {
    is_secure: bool,
    /// None for the one that a request is for.
    host: Option<String>,
    port: Option<u16>,
    /// With its query; at least `/`.
    pub(in crate::ingress) path: String,
}

/// An upstream that stands for a URL.
pub(in crate::ingress) struct Place {
    pub(in crate::ingress) upstream: String,
    pub(in crate::ingress) spec: UpstreamSpec,
    /// The Service it leads to.
    pub(in crate::ingress) service: Option<ObjectName>,
}

impl Url {
    /// Reads a URL. Of the variables of nginx only those that stand for the host of the request are understood.
    ///
    /// # Errors
    /// It is none, or has others.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` is not a URL such as http://auth.shop.svc.cluster.local/verify: {what}");
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong("its port is no number up to 65535"))?)),
            None => (authority, None),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let host = match host {
            "$host" | "$http_host" | "${host}" | "${http_host}" => None,
            "" => return Err(wrong("it has no host")),
            host => Some(host.to_ascii_lowercase()),
        };
        if path.contains('$') || host.as_ref().is_some_and(|host| host.contains('$')) {
            return Err(wrong("of the variables of nginx only $host is understood, as the host"));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        match host.as_ref().is_none_or(|host| host.bytes().all(is_name)) {
            true => Ok(Self { is_secure, host, port, path }),
            false => Err(wrong("its host is no name")),
        }
    }

    /// Whether it is at the host that a request is for.
    pub(in crate::ingress) fn is_own_host(&self) -> bool {
        self.host.is_none()
    }

    /// The upstream for it: the pods of a Service, or what a name leads to. `own` is what the latter is called.
    ///
    /// # Errors
    /// There is no one host that requests are for, or nobody can be called so.
    pub(in crate::ingress) fn place(&self, objects: &Objects, own: &str, host: Option<&str>) -> Result<Place, String> {
        let port = self.port.unwrap_or(if self.is_secure { 443 } else { 80 });
        let host = self.host.as_deref().or(host).filter(|host| !host.contains('*'));
        let host = host.ok_or("$host is no one host here")?;
        let tls =
            self.is_secure.then(|| UpstreamTlsSpec { server_name: Some(host.into()), ..UpstreamTlsSpec::default() });
        let service = service(objects, host);
        let upstream = match &service {
            Some(service) if !self.is_secure => upstream_name(service, &PortSpec::Number(port)),
            _ => own.to_owned(),
        };
        let mut spec = UpstreamSpec { tls, ..UpstreamSpec::default() };
        match (&service, host.parse::<IpAddr>()) {
            (Some(service), _) => {
                let object = objects.services.get(service);
                spec.discovery = Some(discovery(service, object, PortSpec::Number(port))?);
            }
            (None, Ok(address)) => {
                let address = SocketAddr::new(address, port).to_string();
                spec.endpoints.push(EndpointSpec { address, weight: 1 });
            }
            (None, Err(_)) => {
                let dns = DnsSpec { name: host.into(), port: Some(port.into()), ..DnsSpec::default() };
                spec.discovery = Some(DiscoverySpec::Dns(dns));
            }
        }
        // A route whose upstream is left out is left out, too.
        trial::upstream(&spec)?;
        Ok(Place { upstream, spec, service })
    }
}

/// The Service that a host is the name of within the cluster.
fn service(objects: &Objects, host: &str) -> Option<ObjectName> {
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match labels[..] {
        [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => {
            Some(ObjectName::new(namespace, name))
        }
        // Short, it may be any name; one that is there is meant.
        [name, namespace] => Some(ObjectName::new(namespace, name)).filter(|name| objects.services.contains_key(name)),
        _ => None,
    }
}

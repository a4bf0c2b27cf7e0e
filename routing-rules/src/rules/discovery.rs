//! Where endpoints come from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::limit::span_ms;
use crate::error::Problems;
use crate::spec::{DiscoverySpec, DnsSpec, PortSpec, RegistrySpec, ServicePortSpec};

/// What is asked for endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The domain name system.
    Dns(Dns),
    /// Keys of etcd.
    Etcd(Registry),
    /// Pods of Kubernetes.
    Kubernetes(ServicePort),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub service: Box<str>,
    /// Which of its ports.
    pub port: Port,
}

/// A port, by what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(Box<str>),
}

/// Keys whose values are endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// What the keys begin with.
    pub prefix: Box<str>,
}

/// A name that is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The whole name, without a dot at its end.
    pub name: Box<str>,
    /// What is looked up.
    pub records: Records,
    /// Who is asked; none stands for the servers of `/etc/resolv.conf`.
    pub resolvers: Box<[SocketAddr]>,
    /// How long an answer holds at least.
    pub min_ttl: Duration,
    /// How long an answer holds at most; not less.
    pub max_ttl: Duration,
}

/// The records that endpoints are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// A and AAAA, all with this port.
    Addresses(u16),
    /// SRV, which have ports.
    Services,
}

impl fmt::Display for Discovery {
    /// `DNS A and AAAA of shop.service.consul, port 8080`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(Dns { name, records: Records::Addresses(port), .. }) => {
                write!(f, "DNS A and AAAA of {name}, port {port}")
            }
            Self::Dns(Dns { name, records: Records::Services, .. }) => write!(f, "DNS SRV of {name}"),
            Self::Etcd(Registry { prefix }) => write!(f, "etcd keys at {prefix}"),
            Self::Kubernetes(port) => write!(f, "pods of {port}"),
        }
    }
}

impl fmt::Display for ServicePort {
    /// `Service shop/web, port http`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service {}/{}, port {}", self.namespace, self.service, self.port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

pub(super) fn discovery(spec: &DiscoverySpec, mut problems: Problems<'_>) -> Option<Discovery> {
    match spec {
        DiscoverySpec::Dns(spec) => dns(spec, problems.at("dns")).map(Discovery::Dns),
        DiscoverySpec::Etcd(spec) => registry(spec, problems.at("etcd")).map(Discovery::Etcd),
        DiscoverySpec::Kubernetes(spec) => service_port(spec, problems.at("kubernetes")).map(Discovery::Kubernetes),
    }
}

fn service_port(spec: &ServicePortSpec, mut problems: Problems<'_>) -> Option<ServicePort> {
    let service = problems.at("service").ok(namespaced(&spec.service));
    let port = problems.at("port").ok(match &spec.port {
        PortSpec::Number(0) => Err("a port is between 1 and 65535".into()),
        PortSpec::Number(number) => Ok(Port::Number(*number)),
        PortSpec::Name(name) => label(name, "name of a port").map(|name| Port::Name(name.into())),
    });
    let ((namespace, service), port) = service.zip(port)?;
    Some(ServicePort { namespace: namespace.into(), service: service.into(), port })
}

fn namespaced(text: &str) -> Result<(&str, &str), String> {
    let shown = text.escape_debug();
    let parts = text.split_once('/').ok_or_else(|| format!("`{shown}` is not NAMESPACE/NAME, such as shop/web"))?;
    Ok((label(parts.0, "namespace")?, label(parts.1, "name of a Service")?))
}

/// Names within Kubernetes that are labels of the domain name system (RFC 1123 §2.1).
fn label<'t>(text: &'t str, what: &str) -> Result<&'t str, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label =
        (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-');
    is_label.then_some(text).ok_or_else(|| {
        format!("`{}` is not the {what}: up to 63 lower-case letters, digits and `-`", text.escape_debug())
    })
}

fn registry(spec: &RegistrySpec, mut problems: Problems<'_>) -> Option<Registry> {
    let registry = problems.at("prefix").ok(Registry::new(&spec.prefix));
    if spec.most.is_some() {
        problems
            .at("most")
            .report("`most` counts environments: it is for a prefix with captures, such as `/{app}_{branch}/`");
        return None;
    }
    registry
}

impl Registry {
    /// The registrations under a prefix.
    ///
    /// # Errors
    /// It would be that of other upstreams, too: `/shop` takes the endpoints of `/shopping/`.
    pub fn new(prefix: &str) -> Result<Self, String> {
        match prefix.strip_suffix('/') {
            None => Err("the prefix ends with `/`, so that it is of one name only".to_owned()),
            Some("") => Err("the prefix would be that of all keys".to_owned()),
            Some(_) => Ok(Self { prefix: prefix.into() }),
        }
    }
}

fn dns(spec: &DnsSpec, mut problems: Problems<'_>) -> Option<Dns> {
    let name = problems.at("name").ok(name(&spec.name));
    let records = records(spec, &mut problems);
    let mut resolvers = problems.at("resolvers").each(&spec.resolvers, |text| resolver(text));
    if spec.resolvers.len() > MOST_RESOLVERS {
        problems.at("resolvers").report(format_args!("more than {MOST_RESOLVERS} resolvers"));
        resolvers = None;
    }
    let min_ms = span_ms(spec.min_ttl, 1_000, 3_600_000, problems.at("min_ttl"));
    let max_ms = span_ms(spec.max_ttl, 1_000, 86_400_000, problems.at("max_ttl"));
    let min_ms = min_ms?.unwrap_or(1_000);
    let max_ms = max_ms?.unwrap_or(min_ms.max(300_000));
    if max_ms < min_ms {
        problems.at("max_ttl").report("`max_ttl` is less than `min_ttl`");
        return None;
    }
    Some(Dns {
        name: name?,
        records: records?,
        resolvers: resolvers?.into(),
        min_ttl: Duration::from_millis(min_ms),
        max_ttl: Duration::from_millis(max_ms),
    })
}

fn records(spec: &DnsSpec, problems: &mut Problems<'_>) -> Option<Records> {
    let reason = match (spec.port, spec.srv) {
        (None, true) => return Some(Records::Services),
        (Some(port), false) => match u16::try_from(port) {
            Ok(port) if port > 0 => return Some(Records::Addresses(port)),
            _ => format!("{port} is not between 1 and 65535"),
        },
        (Some(_), true) => "SRV records have ports of their own: leave out `port` or `srv`".to_owned(),
        (None, false) => {
            problems.report("`port: 8080` is missing; or `srv: true`, where SRV records say the ports");
            return None;
        }
    };
    problems.at("port").report(reason);
    None
}

/// Service names begin labels with `_` (RFC 2782), and Consul's may have `_` elsewhere.
fn name(text: &str) -> Result<Box<str>, String> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err("there is no name to look up, such as `shop.service.consul`".to_owned());
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(format!("`{shown}` is an address and needs no lookup: write it as an endpoint"));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    // RFC 1035 §3.1: 255 octets with a length before each label and the root's behind.
    if name.len() > 253 {
        return Err(format!("a name has at most 253 characters, this one has {}", name.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match name.split('.').find(|label| !(1..=63).contains(&label.len()) || !label.bytes().all(allowed)) {
        None => Ok(name.into()),
        Some("") => Err(format!("`{shown}` has a part without a character between its dots")),
        Some(label) if label.len() > 63 => Err(format!("`{shown}` has a part of more than 63 characters")),
        Some(_) => Err(format!("`{shown}` has a character other than letters, digits, `-`, `_` and `.`")),
    }
}

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    let address = address
        .map_err(|_| format!("`{}` is not an address such as 10.0.0.2 or 127.0.0.1:8600", text.escape_debug()))?;
    match address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        true => Err(format!("`{address}` is not the address of one server")),
        false => Ok(address),
    }
}

const MOST_RESOLVERS: usize = 8;

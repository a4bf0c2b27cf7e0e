//! Upstreams and their endpoints.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use super::{
    Balance, Breaker, Connections, Discovery, GroupBreaker, HealthCheck, Name, Retry, UpstreamLimits, UpstreamTls,
    breaker, connections, discovery, health, limit, upstream_tls,
};
use crate::RuleError;
use crate::error::Problems;
use crate::spec::{EndpointSpec, ProtocolSpec, ProxyVersionSpec, UpstreamSpec};

/// A named set of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    name: Name,
    endpoints: Box<[Endpoint]>,
    discovery: Option<Arc<Discovery>>,
    protocol: Protocol,
    tls: Option<Arc<UpstreamTls>>,
    announces_clients: bool,
    balance: Balance,
    breaker: Option<Breaker>,
    group_breaker: Option<GroupBreaker>,
    retry: Retry,
    limits: UpstreamLimits,
    health: Option<Arc<HealthCheck>>,
    connections: Connections,
    empty_status: Option<StatusCode>,
}

impl Upstream {
    /// Validates one upstream; reports every problem. References are checked by [`super::RuleSet::dangling`].
    pub fn new(name: &str, spec: &UpstreamSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("upstreams.{name}"), found);
        let mut seen = HashSet::new();
        let endpoints = problems.at("endpoints").each(&spec.endpoints, |endpoint| {
            let endpoint = Endpoint::new(endpoint)?;
            match seen.insert(endpoint.address) {
                true => Ok(endpoint),
                false => Err(format!("`{}` is listed twice", endpoint.address)),
            }
        });
        let discovery = match &spec.discovery {
            Some(_) if !spec.endpoints.is_empty() => {
                problems.at("discovery").report("an upstream has only one of `endpoints` and `discovery`");
                None
            }
            Some(discovery) => discovery::discovery(discovery, problems.at("discovery")).map(Some),
            None => Some(None),
        };
        let protocol = Protocol::new(spec.protocol);
        let tls = upstream_tls::tls(spec, discovery.as_ref().and_then(Option::as_ref), &mut problems);
        let balance = Balance::new(&spec.balance, problems.at("balance"));
        let breaker = breaker::breaker(spec.breaker.as_ref(), problems.at("breaker"));
        let group_breaker = match &spec.group_breaker {
            Some(group) => breaker::group_breaker(group, name, problems.at("group_breaker")).map(Some),
            None => Some(None),
        };
        let retry = limit::retry(&spec.retry, problems.at("retry"));
        let limits = limit::upstream_limits(&spec.limits, problems.at("limits"));
        let health = match &spec.health {
            Some(check) => health::check(check, protocol, problems.at("health")).map(Some),
            None => Some(None),
        };
        let connections = connections::connections(&spec.connections, problems.at("connections"));
        let announces_clients = announces_clients(spec, &mut problems);
        let empty_status = problems.at("empty_status").ok(spec.empty_status.map(failure).transpose());
        let name = problems.ok(Name::new(name));
        Some(Self {
            name: name?,
            endpoints: endpoints?.into(),
            discovery: discovery?.map(Arc::new),
            protocol,
            tls: tls?.map(Arc::new),
            announces_clients: announces_clients?,
            balance: balance?,
            breaker: breaker?,
            group_breaker: group_breaker?,
            retry: retry?,
            limits: limits?,
            health: health?.map(Arc::new),
            connections: connections?,
            empty_status: empty_status?,
        })
    }

    /// The upstream's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its endpoints, in the order they were written.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Where endpoints come from instead.
    pub fn discovery(&self) -> Option<&Arc<Discovery>> {
        self.discovery.as_ref()
    }

    /// What is spoken with them.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How it is secured, if it is.
    pub fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        self.tls.as_ref()
    }

    /// Whether each connection to them begins with whose it is, by the PROXY protocol, and carries nobody else's requests.
    pub fn announces_clients(&self) -> bool {
        self.announces_clients
    }

    /// What requests get for want of any endpoint, if it is not the usual.
    pub fn empty_status(&self) -> Option<StatusCode> {
        self.empty_status
    }

    /// How requests are divided over them.
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// The breaker of its endpoints, unless it is switched off.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Its breaker as a whole.
    pub fn group_breaker(&self) -> Option<&GroupBreaker> {
        self.group_breaker.as_ref()
    }

    /// The upstream that stands in for it.
    pub fn fallback(&self) -> Option<&Name> {
        self.group_breaker()?.fallback.as_ref()
    }

    /// How requests are tried again.
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// How many requests it works on at once.
    pub fn limits(&self) -> &UpstreamLimits {
        &self.limits
    }

    /// How its endpoints are asked whether they are well.
    pub fn health(&self) -> Option<&Arc<HealthCheck>> {
        self.health.as_ref()
    }

    /// How connections to its endpoints are kept, ended and watched.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }
}

fn failure(status: u16) -> Result<StatusCode, String> {
    match StatusCode::from_u16(status) {
        Ok(code) if code.is_client_error() || code.is_server_error() => Ok(code),
        _ => Err(format!("status {status} is none of a failure; use one from 400 to 599")),
    }
}

/// Whether endpoints are told whose a connection is. Nothing if connections are to be opened for nobody, or for many.
fn announces_clients(spec: &UpstreamSpec, problems: &mut Problems<'_>) -> Option<bool> {
    let Some(ProxyVersionSpec::V2) = spec.proxy_protocol else { return Some(false) };
    let before = problems.count();
    if spec.protocol != ProtocolSpec::Http1 {
        let reason = "a connection of HTTP/2 carries requests of many clients, and this names one of them: `protocol` has to be `http1`";
        problems.at("proxy_protocol").report(reason);
    }
    if spec.connections.warm.is_some_and(|warm| warm > 0) {
        let reason = "with `proxy_protocol` each connection is a client's, so none can be opened before it comes";
        problems.at("connections").at("warm").report(reason);
    }
    (problems.count() == before).then_some(true)
}

/// What is spoken with endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2: many requests at a time on each connection.
    Http2,
}

impl Protocol {
    fn new(spec: ProtocolSpec) -> Self {
        match spec {
            ProtocolSpec::Http1 => Self::Http1,
            ProtocolSpec::H2 | ProtocolSpec::H2c => Self::Http2,
        }
    }
}

/// One address with its configured weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share relative to the other endpoints.
    pub weight: Weight,
}

impl Endpoint {
    /// The endpoint that was written.
    ///
    /// # Errors
    /// As those of [`Self::at`], or it is no address, or the weight is none.
    pub fn new(spec: &EndpointSpec) -> Result<Self, String> {
        let address: SocketAddr = spec.address.parse().map_err(|_| {
            format!("`{}` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080", spec.address.escape_debug())
        })?;
        Self::at(address, Weight::new(spec.weight)?)
    }

    /// The endpoint at an address.
    ///
    /// # Errors
    /// Nobody can be reached there, or more than one.
    pub fn at(address: SocketAddr, weight: Weight) -> Result<Self, String> {
        if address.port() == 0 {
            return Err(format!("`{address}` has port 0"));
        }
        if address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err(format!("`{address}` is not the address of one host"));
        }
        Ok(Self { address, weight })
    }
}

/// A configured weight, 0 to 1,000; 0 takes no new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// What an endpoint has that says nothing of it.
    pub const USUAL: Self = Self(1);

    /// The largest weight.
    pub const MOST: u16 = 1_000;

    /// Checks a weight.
    ///
    /// # Errors
    /// Above 1,000: larger ratios starve the small side for longer than a schedule can smooth.
    pub fn new(weight: u32) -> Result<Self, String> {
        match u16::try_from(weight) {
            Ok(small) if small <= Self::MOST => Ok(Self(small)),
            _ => Err(format!("weight {weight} is above {}", Self::MOST)),
        }
    }

    /// The weight as a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

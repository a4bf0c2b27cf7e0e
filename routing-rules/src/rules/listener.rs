//! Listeners.

use std::net::{IpAddr, SocketAddr};

use super::address::parse_network;
use super::{AddressSet, ListenerTls, Name};
use crate::RuleError;
use crate::error::Problems;
use crate::spec::ListenerSpec;

/// An address that accepts connections from clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    name: Name,
    address: SocketAddr,
    announcing: AddressSet,
    announced_are_secure: bool,
    websocket_over_http2: bool,
    tls: Option<ListenerTls>,
}

impl Listener {
    /// Validates one listener; reports every problem.
    pub fn new(name: &str, spec: &ListenerSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("listeners.{name}"), found);
        let address = problems.at("address").ok(spec.address.parse::<SocketAddr>().map_err(|_| {
            format!("`{}` is not an address such as 127.0.0.1:8080 or [::]:8080", spec.address.escape_debug())
        }));
        let announcing = match &spec.proxy_protocol {
            Some(spec) if spec.from.is_empty() => {
                problems.at("proxy_protocol.from").report("without an address nobody speaks the PROXY protocol");
                None
            }
            Some(spec) => problems.at("proxy_protocol.from").each(&spec.from, |text| parse_network(text)),
            None => Some(Vec::new()),
        };
        let tls = spec.tls.as_ref().map(|tls| ListenerTls::new(tls, problems.at("tls")));
        let name = problems.ok(Name::new(name));
        Some(Self {
            name: name?,
            address: address?,
            announcing: announcing?.into_iter().collect(),
            announced_are_secure: spec.proxy_protocol.as_ref().is_some_and(|spec| spec.tls),
            websocket_over_http2: spec.websocket_over_http2,
            tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        })
    }

    /// The listener's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The address to bind; port 0 takes a free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether streams of HTTP/2 may become WebSockets.
    pub fn takes_websocket_over_http2(&self) -> bool {
        self.websocket_over_http2
    }

    /// Whether the clients of those connections speak TLS, whatever is said of them.
    pub fn announced_are_secure(&self) -> bool {
        self.announced_are_secure
    }

    /// Whether a connection from this address begins with the PROXY protocol.
    pub fn is_announced_by(&self, peer: IpAddr) -> bool {
        !self.announcing.is_empty() && self.announcing.contains(peer)
    }

    /// How clients speak TLS here, if they do.
    pub fn tls(&self) -> Option<&ListenerTls> {
        self.tls.as_ref()
    }
}

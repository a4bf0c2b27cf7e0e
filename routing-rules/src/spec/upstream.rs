//! Upstreams as written.

use serde::{Deserialize, Serialize};

use super::balance::BalanceSpec;
use super::breaker::{BreakerSpec, GroupBreakerSpec};
use super::certificate::UpstreamTlsSpec;
use super::connections::ConnectionsSpec;
use super::discovery::DiscoverySpec;
use super::health::HealthSpec;
use super::limit::{RetrySpec, UpstreamLimitsSpec};

/// A named set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSpec {
    /// The endpoints: `IP:PORT`, or `{address: "IP:PORT", weight: 2}`.
    pub endpoints: Vec<EndpointSpec>,
    /// Where endpoints come from instead: `{dns: {name: shop.service.consul, port: 8080}}`. Default: nowhere else.
    pub discovery: Option<DiscoverySpec>,
    /// What is spoken with the endpoints: `http1` (default), with or without `tls`; `h2` for HTTP/2 with `tls`, or `h2c` for HTTP/2 without, one
    /// of which gRPC needs. Requests of all clients are carried by each.
    pub protocol: ProtocolSpec,
    /// TLS with the endpoints; `{}` for what is usual. Default: none.
    pub tls: Option<UpstreamTlsSpec>,
    /// Whether endpoints are told whose request they get by the PROXY protocol: `v2`. Each connection then carries requests of one connection
    /// of a client, so `protocol` has to be `http1`. Default: not so.
    pub proxy_protocol: Option<ProxyVersionSpec>,
    /// How requests are divided over the endpoints: `dwrr` (default), `round_robin`, `least_request`,
    /// `consistent_hash` or `sticky`, or one of them with its options, as in `{dwrr: {window: 10s}}`.
    pub balance: BalanceSpec,
    /// When an endpoint is left out for a while: a condition, or a map with more. Default: after five failures in a row.
    /// `false` for never.
    pub breaker: Option<BreakerSpec>,
    /// When the whole upstream is left out for a while, and what serves instead. Default: never.
    pub group_breaker: Option<GroupBreakerSpec>,
    /// How requests are tried again.
    pub retry: RetrySpec,
    /// How many requests it works on at once, and how many may wait.
    pub limits: UpstreamLimitsSpec,
    /// How endpoints are asked whether they are well. Default: they are not.
    pub health: Option<HealthSpec>,
    /// How connections to the endpoints are kept, ended and watched.
    pub connections: ConnectionsSpec,
    /// The status that requests get for want of any endpoint, 400 to 599. Default 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_status: Option<u16>,
}

/// What is spoken with endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolSpec {
    /// HTTP/1.1: one request at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2 over TLS, by ALPN: who does not agree on it gets no request.
    H2,
    /// HTTP/2 without TLS, known beforehand (RFC 9113 §3.3): many requests at a time on each connection.
    H2c,
}

/// Which version of the PROXY protocol endpoints are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersionSpec {
    /// Version 2, the binary one.
    V2,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "EndpointForm")]
pub struct EndpointSpec {
    /// `IP:PORT`, IPv6 as `[::1]:8080`.
    pub address: String,
    /// Share of the requests relative to the other endpoints, 0 to 1,000. 0 drains the endpoint. Default 1.
    pub weight: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointFields {
    address: String,
    #[serde(default = "one")]
    weight: u32,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"IP:PORT\" or {address: \"IP:PORT\", weight: 1} with a weight from 0 to 1000")]
enum EndpointForm {
    Address(String),
    Fields(EndpointFields),
}

impl From<EndpointForm> for EndpointSpec {
    fn from(form: EndpointForm) -> Self {
        match form {
            EndpointForm::Address(address) => Self { address, weight: one() },
            EndpointForm::Fields(fields) => Self { address: fields.address, weight: fields.weight },
        }
    }
}

fn one() -> u32 {
    1
}

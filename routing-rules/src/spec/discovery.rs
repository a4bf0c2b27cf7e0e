//! Where endpoints come from, as written.

use serde::{Deserialize, Serialize};

use super::scalar::Span;

/// Where the endpoints of an upstream come from, instead of a list: a map from one kind to its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoverySpec {
    /// A name that is looked up again and again.
    Dns(DnsSpec),
    /// Keys of etcd, as instances register themselves. The cluster is that of `sources.etcd`.
    Etcd(RegistrySpec),
    /// The pods behind a port of a Kubernetes Service. The cluster is that of `sources.kubernetes`.
    Kubernetes(ServicePortSpec),
}

/// A port of a Service, whose pods are the endpoints: those that are ready, or if there is none, those that end and still serve. While
/// the API server is away, the endpoints found last serve on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePortSpec {
    /// `NAMESPACE/NAME` of the Service.
    pub service: String,
    /// The number or the name of its port, as the Service has it: `80` or `http`.
    pub port: PortSpec,
}

/// A port by its number or its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the number or the name of a port")]
pub enum PortSpec {
    /// Its number, 1 to 65,535.
    Number(u16),
    /// Its name.
    Name(String),
}

/// Keys that are endpoints. While etcd is away, the endpoints found last serve on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// What the keys begin with, for example `/shop_PRO/`; it ends with `/`. Each value is `IP:PORT`, or
    /// `{"address": "IP:PORT", "weight": 2}`; the rest of the key only tells them apart. With captures, as in
    /// `/{app}_{branch}/`, the upstream is a template: there is one like it for each environment that has registrations.
    pub prefix: String,
    /// How many environments are live at once, 1 to 10,000, where the prefix has captures. Those that come later wait until one
    /// goes. Default 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

/// A name whose records are endpoints. When a lookup fails or finds nothing, the endpoints found last serve on, and it is
/// tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSpec {
    /// The whole name, for example `shop.service.consul` or, with `srv`, `_http._tcp.shop.service.consul`. Search domains and
    /// `/etc/hosts` do not count.
    pub name: String,
    /// The port of all endpoints, 1 to 65,535; the addresses are the A and AAAA records of the name. Not with `srv`.
    pub port: Option<u32>,
    /// `true`: SRV records of the name say addresses, ports and weights. Of several priorities the one with the lowest number
    /// serves that has any address.
    pub srv: bool,
    /// Who is asked: `IP` or `IP:PORT`, as in `["127.0.0.1:8600"]`, at most 8. Default: the servers of `/etc/resolv.conf`.
    pub resolvers: Vec<String>,
    /// How long an answer holds at least, whatever its TTL says, 1s to 1h. Default 1s.
    pub min_ttl: Option<Span>,
    /// How long an answer holds at most, 1s to 24h. Default 5m, or `min_ttl` if that is longer.
    pub max_ttl: Option<Span>,
}

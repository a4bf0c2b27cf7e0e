//! What operators write: the shapes of YAML and JSON, field by field.
//!
//! serde stops at this module. A spec that decodes is not yet right; [`crate::rules`] decides that.
//! Unknown fields are refused everywhere, because a misspelt limit that is silently ignored is a limit
//! that does not exist. The doc comments here are the reference that users read.

mod acme;
mod balance;
mod breaker;
mod certificate;
mod connections;
mod discovery;
mod filter;
mod health;
mod limit;
mod mirror;
mod release;
mod route;
mod scalar;
mod upstream;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use acme::{AcmeAccountSpec, AcmeChallengeSpec, CertificateAcmeSpec, ExternalAccountSpec};
pub use balance::{BalanceSpec, ConsistentHashSpec, DwrrBySpec, DwrrSpec, HashKeySpec, StickySessionsSpec};
pub use breaker::{BreakerSpec, GroupBreakerSpec};
pub use certificate::{
    CertificateSpec, ClientCertificateModeSpec, ClientCertificatesSpec, ListenerTlsSpec, SecretText, TlsVersionSpec,
    UpstreamTlsSpec,
};
pub use connections::ConnectionsSpec;
pub use discovery::{DiscoverySpec, DnsSpec, PortSpec, RegistrySpec, ServicePortSpec};
pub use filter::{
    BasicAuthSpec, CodingSpec, CompressSpec, CorsSpec, ForwardAuthSpec, FramesSpec, HstsSpec, HttpsRedirectSpec,
    SecurityHeadersSpec,
};
pub use health::{GrpcHealthSpec, HealthSpec};
pub use limit::{HedgeSpec, InFlightPerKeySpec, LimitKeySpec, QueueSpec, RateLimitSpec, RetrySpec, UpstreamLimitsSpec};
pub use mirror::MirrorSpec;
pub use release::{
    AnalysisModeSpec, AnalysisSpec, AudienceRuleSpec, GeoSpec, KeySourceSpec, OverrideSpec, PhaseSpec, ReleaseSpec,
    StickyRangeSpec, StickySpec,
};
pub use route::{
    EncodedSlashSpec, FilterSpec, LimitsSpec, PathSpec, RedirectSpec, ReplacePrefixSpec, RouteSpec, SplitSpec,
    TextMatchSpec, TimeoutsSpec,
};
pub use scalar::{ByteSize, InFlight, Percent, PercentSpec, Rate, Span, StatusRange};
pub use upstream::{EndpointSpec, ProtocolSpec, ProxyVersionSpec, UpstreamSpec};

/// Everything one source says: the same maps in a file or a folder of files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Addresses Serin listens on, by name.
    pub listeners: BTreeMap<String, ListenerSpec>,
    /// What is served, by name: hosts and matches, and where to send the requests.
    pub routes: BTreeMap<String, RouteSpec>,
    /// Named sets of endpoints.
    pub upstreams: BTreeMap<String, UpstreamSpec>,
    /// Canary releases, by name.
    pub releases: BTreeMap<String, ReleaseSpec>,
    /// Certificates for listeners that speak TLS, by name.
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// Accounts at authorities that sign certificates by ACME, by name.
    pub acme_accounts: BTreeMap<String, AcmeAccountSpec>,
}

/// An address that accepts connections from clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSpec {
    /// `IP:PORT` to bind, for example `127.0.0.1:8080` or `[::]:80`. Port 0 takes a free port.
    pub address: String,
    /// Whether WebSockets are taken over streams of HTTP/2 (extended CONNECT), for the protocols that `upgrade` of the route allows.
    /// Default `false`: browsers then open a connection of HTTP/1.1 for each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub websocket_over_http2: bool,
    /// Whose connections begin with the PROXY protocol. Default: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolSpec>,
    /// Clients speak TLS here: `{}`, or with more. Default: they speak in clear text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTlsSpec>,
}

/// See [`ListenerSpec::proxy_protocol`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocolSpec {
    /// Load balancers that say whose connection they pass on, by the PROXY protocol, version 1 or 2: addresses and networks. A connection
    /// from one of them that begins with anything else is closed. Connections from elsewhere are clients' own.
    pub from: Vec<String>,
    /// Clients speak TLS with these load balancers, whether they say so or not: version 1 of the protocol cannot, and many do not. Default:
    /// what they say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
}

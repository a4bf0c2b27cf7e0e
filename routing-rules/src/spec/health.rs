//! Health checks as written.

use serde::{Deserialize, Serialize};

use super::scalar::{Span, StatusRange};

/// How every endpoint of an upstream is asked whether it is well, whatever requests say.
///
/// One of `path`, `grpc` and `tcp` says how, in the protocol of the upstream. They stand in the same map because everything else is the same for all, and none
/// is the default: a check that only connects finds a process that answers nothing well.
///
/// The first result of an endpoint decides at once; from then on `rise` and `fall` do. An endpoint that joins others gets no
/// requests before its first good result. Where no endpoint is up, all get requests again that do not drain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSpec {
    /// Sends `GET` for this path, and a query if there is one.
    pub path: Option<String>,
    /// Asks for a service by the protocol of `grpc.health.v1`; only with `protocol: h2` or `h2c`.
    pub grpc: Option<GrpcHealthSpec>,
    /// `true`: connects, with TLS if the upstream has it, sends nothing, and that is all.
    pub tcp: Option<bool>,
    /// From the start of one check to the next, give or take a tenth, 100ms to 1h. Default 5s.
    pub interval: Option<Span>,
    /// How long a check may take in all, 1ms to 60s. The next one does not begin before its end. Default 2s.
    pub timeout: Option<Span>,
    /// After how many good results in a row an endpoint that was down is up, 1 to 100. Default 2.
    pub rise: Option<u32>,
    /// After how many bad results in a row an endpoint that was up is down, 1 to 100. Default 3.
    pub fall: Option<u32>,
    /// The `Host` of the request. Default: the endpoint's address.
    pub host: Option<String>,
    /// Status codes that are good: numbers and ranges, as in `[200, "300-399"]`. Default `["200-399"]`.
    pub status: Option<Vec<StatusRange>>,
    /// What the body must have in its first 64 KiB, up to 1,024 bytes. Default: anything is good.
    pub body: Option<String>,
}

/// See [`HealthSpec::grpc`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcHealthSpec {
    /// The service that is asked for, up to 256 bytes. Default: empty, which stands for the server as a whole.
    pub service: String,
}

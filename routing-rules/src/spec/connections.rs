//! Connections to endpoints as written.

use serde::{Deserialize, Serialize};

use super::scalar::Span;

/// How connections to the endpoints of an upstream are kept, ended and watched.
///
/// A connection that reaches a limit ends after the response it carries, never in the middle of one, and the next request
/// takes another. Changes hold for connections that are open already, but for `ping` and the `tcp_` fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsSpec {
    /// How old a connection becomes at most, 1s to 24h. Each ends at a moment of its own in the last fifth of that, so that
    /// not all end at once. Default: no limit.
    pub max_age: Option<Span>,
    /// How many requests a connection serves at most, 1 to 1,000,000; with 1 none is used twice. Default: no limit.
    pub max_requests: Option<u32>,
    /// How many requests are under way on a connection of HTTP/2 at most, 1 to 1,000, and never more than its endpoint allows.
    /// With more, each worker opens further connections. Default 100.
    pub max_streams: Option<u32>,
    /// After how long without a byte a connection of HTTP/2 with requests under way is asked whether the endpoint's process is
    /// there, 1s to 1h; it ends if there is no answer in 15 seconds. Servers of gRPC allow one question in five minutes unless
    /// they are told otherwise, and end connections that ask more often. Default 6m.
    pub ping: Option<Span>,
    /// How long a connection is kept without a request, 100ms to 1h. Less than the endpoints allow, so that it is Serin who
    /// closes, when nothing is on the way. Default 55s.
    pub idle_timeout: Option<Span>,
    /// How many connections each worker has to each endpoint that takes requests, before there are any, 0 to 64. Those that
    /// end are replaced. Default 0: they are opened as requests need them.
    pub warm: Option<u32>,
    /// After how long without a packet the kernel asks whether the endpoint's host is still there, 1s to 1h; firewalls take
    /// that for traffic. If nobody answers, the connection ends 15 seconds later, or when `tcp_user_timeout` says. Default 45s.
    pub tcp_keepalive: Option<Span>,
    /// After how long the kernel gives up a connection whose other end acknowledges nothing of what was sent, or has no room
    /// for more, 1s to 1h. Also ends requests whose `timeouts.idle` is longer. Default: what the kernel does, some 15 minutes.
    pub tcp_user_timeout: Option<Span>,
}

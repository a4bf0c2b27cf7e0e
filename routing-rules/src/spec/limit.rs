//! Limits and retries as written.

use serde::{Deserialize, Serialize};

use super::scalar::{InFlight, Percent, Rate, Span};

/// How requests to an upstream are tried again.
///
/// What may be tried again is no matter of taste: a request of which nothing was sent, one that the endpoint says it has
/// not looked at, and one with an idempotent method whose kept connection was closed before a byte of the answer. How often
/// is about the upstream, which all of its routes share; so it stands there and not with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// How often a request is tried in all, 1 to 5. Default 2; 1 for no retries.
    pub tries: Option<u32>,
    /// How many of the requests of the last ten seconds may be retried; three may in any case, unless it is 0. Default 20.
    pub budget: Option<Percent>,
}

/// The same request at a second endpoint, when the first takes long.
///
/// Only requests without a body whose method may be repeated, within the `budget` of the upstream's retries. The answer that
/// comes first serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgeSpec {
    /// How long the first endpoint has for its response head, 1ms to 60s. A good choice is what 95 % of the requests stay below.
    pub after: Span,
}

/// Limits of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamLimitsSpec {
    /// Requests it works on at once, 1 to 1,000,000; further ones wait or get 503 with Retry-After. `auto` finds the number
    /// that keeps it busy without a long queue, and limits nothing while nothing is wrong. Default: no limit.
    pub in_flight: Option<InFlight>,
    /// Requests each endpoint works on at once, 1 to 1,000,000. Default: no limit.
    pub in_flight_per_endpoint: Option<u32>,
    /// Requests may wait for a place. Default: they do not.
    pub queue: Option<QueueSpec>,
}

/// Where requests wait for a place at an upstream, first come, first served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// How many may wait, 1 to 10,000; further ones get 503 with Retry-After.
    pub length: u32,
    /// How long each may wait, up to 60s. Then 503. Default 1s.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// How often clients may ask. Who asks too often gets 429 with Retry-After.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSpec {
    /// How often over a longer time.
    pub rate: Rate,
    /// How often at once, 1 to 1,000,000. Default: what the rate gives in a second, at least 1.
    #[serde(default)]
    pub burst: Option<u32>,
    /// Who is counted together. Default `client_ip`.
    #[serde(default)]
    pub by: LimitKeySpec,
}

/// How many requests those who are counted together may have in flight. Who has more gets 429 with Retry-After.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlightPerKeySpec {
    /// How many at once, 1 to 1,000,000.
    pub limit: u32,
    /// Who is counted together: `client_ip` (default) or a header field.
    #[serde(default)]
    pub by: LimitKeySpec,
}

/// Who is counted together by a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKeySpec {
    /// Requests from one address: IPv4 whole, IPv6 by its /64.
    #[default]
    ClientIp,
    /// Requests with the same value of this header field, set by something you trust. Those without it are counted together.
    Header(String),
    /// All requests of the route.
    All,
}

//! How connections to endpoints are kept, ended and watched.

use std::time::Duration;

use super::limit::{number, span_ms};
use crate::error::Problems;
use crate::spec::ConnectionsSpec;

/// How connections to the endpoints of an upstream are kept, ended and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How old one becomes at most; [`Connections::age_ms`] says how old each.
    pub max_age_ms: Option<u64>,
    /// How many requests one serves at most, at least 1.
    pub max_requests: Option<u32>,
    /// How many requests one of HTTP/2 has under way at most.
    pub max_streams: u32,
    /// After how long without a byte one of HTTP/2 with requests under way is asked for its other end.
    pub ping: Duration,
    /// How long one is kept without a request.
    pub idle_timeout_ms: u64,
    /// How many each worker opens ahead of requests.
    pub warm: u32,
    /// After how long without a packet the kernel asks for the other end.
    pub tcp_keepalive: Duration,
    /// After how long without an acknowledgement the kernel gives up; `None` for its own time.
    pub tcp_user_timeout: Option<Duration>,
}

impl Connections {
    /// The age at which one connection ends: between four fifths of the limit and the limit, as its `draw` says.
    ///
    /// ```
    /// # use routing_rules::rules::Connections;
    /// let rules = Connections { max_age_ms: Some(10_000), ..Connections::default() };
    /// assert_eq!([0, u8::MAX].map(|draw| rules.age_ms(draw)), [Some(10_000), Some(8_008)]);
    /// ```
    pub fn age_ms(&self, draw: u8) -> Option<u64> {
        let max_age_ms = self.max_age_ms?;
        Some(max_age_ms - max_age_ms / 5 * u64::from(draw) / 256)
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max_age_ms: None,
            max_requests: None,
            // What servers commonly allow.
            max_streams: 100,
            // What servers of gRPC allow is one in five minutes.
            ping: Duration::from_secs(360),
            // What common servers allow begins at a minute.
            idle_timeout_ms: 55_000,
            warm: 0,
            tcp_keepalive: Duration::from_secs(45),
            // A user timeout also ends connections to those who only have no room, which `timeouts.idle` may allow.
            tcp_user_timeout: None,
        }
    }
}

pub(super) fn connections(spec: &ConnectionsSpec, mut problems: Problems<'_>) -> Option<Connections> {
    let default = Connections::default();
    let max_age_ms = span_ms(spec.max_age, 1_000, 86_400_000, problems.at("max_age"));
    let max_requests = number(spec.max_requests, 1..=1_000_000, problems.at("max_requests"));
    let max_streams = number(spec.max_streams, 1..=1_000, problems.at("max_streams"));
    let ping_ms = span_ms(spec.ping, 1_000, HOUR_MS, problems.at("ping"));
    let idle_timeout_ms = span_ms(spec.idle_timeout, 100, HOUR_MS, problems.at("idle_timeout"));
    let warm = number(spec.warm, 0..=64, problems.at("warm"));
    let keepalive_ms = span_ms(spec.tcp_keepalive, 1_000, HOUR_MS, problems.at("tcp_keepalive"));
    let user_timeout_ms = span_ms(spec.tcp_user_timeout, 1_000, HOUR_MS, problems.at("tcp_user_timeout"));
    Some(Connections {
        max_age_ms: max_age_ms?,
        max_requests: max_requests?,
        max_streams: max_streams?.unwrap_or(default.max_streams),
        ping: ping_ms?.map_or(default.ping, Duration::from_millis),
        idle_timeout_ms: idle_timeout_ms?.unwrap_or(default.idle_timeout_ms),
        warm: warm?.unwrap_or(default.warm),
        tcp_keepalive: keepalive_ms?.map_or(default.tcp_keepalive, Duration::from_millis),
        tcp_user_timeout: user_timeout_ms?.map(Duration::from_millis).or(default.tcp_user_timeout),
    })
}

const HOUR_MS: u64 = 3_600_000;

//! Balancing as written.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::scalar::Span;

/// How requests are divided over the endpoints: a name, or a map from one name to its options.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BalanceSpec {
    /// Learns from latencies and errors what each endpoint can take, and picks the least busy of three. The default;
    /// `drr` is another spelling.
    Dwrr(DwrrSpec),
    /// Every endpoint in turn, by its configured weight.
    RoundRobin,
    /// The less busy of two endpoints drawn by their configured weights.
    LeastRequest,
    /// The same key finds the same endpoint, unless that is overrun.
    ConsistentHash(ConsistentHashSpec),
    /// As `dwrr` for who is new; a signed cookie leads a client back to the endpoint that served it.
    Sticky(StickySessionsSpec),
}

impl Default for BalanceSpec {
    fn default() -> Self {
        Self::Dwrr(DwrrSpec::default())
    }
}

/// See [`BalanceSpec::Dwrr`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DwrrSpec {
    /// What is compared: `latency` (default) or `in_flight`.
    pub by: DwrrBySpec,
    /// How long results count, 1s to 30s. Where there are fewer than 20 results, older ones count too, up to 30s. Default 5s.
    pub window: Option<Span>,
    /// Differences well below this do not matter, 0.1ms to 1s. Default 1ms.
    pub latency_floor: Option<Span>,
    /// How much a slower endpoint loses, 0.5 to 2; with 1 one of twice the latency gets half as much. Default 1.25.
    pub sensitivity: Option<f64>,
    /// The part of its share that a slow endpoint keeps, 0.01 to 1. Default 0.0625.
    pub min_share: Option<f64>,
    /// How long the share of an endpoint rises that is new, or was down, 0s to 10m. Default 10s.
    pub slow_start: Option<Span>,
}

/// See [`DwrrSpec::by`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DwrrBySpec {
    /// The time until the head of the response.
    #[default]
    Latency,
    /// The time until the end of the response, for long responses.
    InFlight,
}

/// See [`BalanceSpec::ConsistentHash`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsistentHashSpec {
    /// Where the key is read from: `client_ip` (default), `{header: x}` or `{cookie: x}`.
    pub by: HashKeySpec,
    /// An endpoint that would have more than this many times its part of what is in flight is passed over, 1.05 to 10. Default 1.25.
    pub bound: Option<f64>,
}

/// See [`BalanceSpec::Sticky`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StickySessionsSpec {
    /// How long a client that does not come back is remembered, 1m to 8760h (a year). Default: until the browser is closed.
    pub life: Option<Span>,
}

/// What is hashed. A request without it goes to any endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKeySpec {
    /// The client's address: IPv4 whole, IPv6 by its /64.
    #[default]
    ClientIp,
    /// A request header.
    Header(String),
    /// A cookie.
    Cookie(String),
}

/// The names, whose options follow in a map.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[serde(alias = "drr")]
    Dwrr,
    RoundRobin,
    LeastRequest,
    ConsistentHash,
    Sticky,
}

impl Method {
    fn with_defaults(self) -> BalanceSpec {
        match self {
            Self::Dwrr => BalanceSpec::Dwrr(DwrrSpec::default()),
            Self::RoundRobin => BalanceSpec::RoundRobin,
            Self::LeastRequest => BalanceSpec::LeastRequest,
            Self::ConsistentHash => BalanceSpec::ConsistentHash(ConsistentHashSpec::default()),
            Self::Sticky => BalanceSpec::Sticky(StickySessionsSpec::default()),
        }
    }

    fn with_options<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<BalanceSpec, A::Error> {
        match self {
            Self::Dwrr => map.next_value().map(BalanceSpec::Dwrr),
            Self::RoundRobin => map.next_value::<NoOptions>().map(|_| BalanceSpec::RoundRobin),
            Self::LeastRequest => map.next_value::<NoOptions>().map(|_| BalanceSpec::LeastRequest),
            Self::ConsistentHash => map.next_value().map(BalanceSpec::ConsistentHash),
            Self::Sticky => map.next_value().map(BalanceSpec::Sticky),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// By hand: an untagged enum would keep the options aside and lose the places of what is wrong in them.
impl<'de> Deserialize<'de> for BalanceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BalanceVisitor)
    }
}

struct BalanceVisitor;

impl<'de> Visitor<'de> for BalanceVisitor {
    type Value = BalanceSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name such as dwrr, or one name with its options such as {dwrr: {window: 10s}}")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<BalanceSpec, E> {
        Method::deserialize(StrDeserializer::new(name)).map(Method::with_defaults)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BalanceSpec, A::Error> {
        let method: Option<Method> = map.next_key()?;
        let spec =
            method.ok_or_else(|| A::Error::custom("expected one name with its options"))?.with_options(&mut map)?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(spec),
            Some(_) => Err(A::Error::custom("expected only one name with its options")),
        }
    }
}

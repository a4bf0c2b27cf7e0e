//! Circuit breakers as written.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::scalar::Span;

/// When an endpoint is left out for a while.
///
/// `breaker: "NetworkErrorRatio() > 0.3"` is short for `breaker: {condition: "NetworkErrorRatio() > 0.3"}`, and
/// `breaker: false` for `breaker: {enabled: false}`.
///
/// An endpoint that is left out gets a single request at a time when its time is over; three successes bring it back, with
/// traffic rising over ten seconds. It is not left out when fewer than half of the endpoints would stay, nor when the others
/// fail alike: then the fault is not its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BreakerSpec {
    /// Whether there is one. Default true.
    pub enabled: Option<bool>,
    /// Measures of the last ten seconds, compared and joined by `&&`, `||`, `!` and parentheses: `NetworkErrorRatio()`,
    /// `ResponseCodeRatio(500, 600, 0, 600)` (codes from 500 to 599 among all), `LatencyAtQuantileMS(99)` and
    /// `RequestThreshold()` (how many results there are). For example `ResponseCodeRatio(500, 600, 0, 600) > 0.25`.
    /// It says nothing below two requests a second (failures in a row do), and a latency should be at least twice what is
    /// usual. Default: none, so only failures in a row count.
    pub condition: Option<String>,
    /// The condition is not asked below this many results in ten seconds, 1 to 100,000. Default 20.
    pub min_requests: Option<u32>,
    /// How long the endpoint is left out at first; twice as long each time it fails again. 100ms to 1h. Default 5s.
    pub open: Option<Span>,
    /// The longest time it is left out, at most 24h. Default 60s, or `open` if that is longer.
    pub max_open: Option<Span>,
    /// Failures in a row (no answer, or 500 and above) after which it is left out at once, up to 1,000; 0 for never.
    /// Default 5.
    pub streak: Option<u32>,
}

/// When an upstream as a whole is left out for a while, and what stands in for it.
///
/// The use it is meant for is a canary whose fallback is stable. Counted is what clients get after retries; "no endpoint is
/// available" counts too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupBreakerSpec {
    /// As for a breaker of endpoints.
    pub condition: String,
    /// The upstream that serves instead. Its own fallback is not followed. Default: none, requests get 503 with Retry-After.
    #[serde(default)]
    pub fallback: Option<String>,
    /// As for a breaker of endpoints. Default 20.
    #[serde(default)]
    pub min_requests: Option<u32>,
    /// As for a breaker of endpoints. Default 5s.
    #[serde(default)]
    pub open: Option<Span>,
    /// As for a breaker of endpoints. Default 60s, or `open` if that is longer.
    #[serde(default)]
    pub max_open: Option<Span>,
    /// As for a breaker of endpoints. Default 20.
    #[serde(default)]
    pub streak: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BreakerFields {
    enabled: Option<bool>,
    condition: Option<String>,
    min_requests: Option<u32>,
    open: Option<Span>,
    max_open: Option<Span>,
    streak: Option<u32>,
}

/// By hand and not untagged, so that a problem inside the map is shown where it stands.
impl<'de> Deserialize<'de> for BreakerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = BreakerSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition, false, or a map such as {condition: \"NetworkErrorRatio() > 0.3\", open: 5s}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<BreakerSpec, E> {
        Ok(BreakerSpec { condition: Some(text.to_owned()), ..BreakerSpec::default() })
    }

    fn visit_bool<E: de::Error>(self, enabled: bool) -> Result<BreakerSpec, E> {
        Ok(BreakerSpec { enabled: Some(enabled), ..BreakerSpec::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BreakerSpec, A::Error> {
        let fields = BreakerFields::deserialize(MapAccessDeserializer::new(map))?;
        let BreakerFields { enabled, condition, min_requests, open, max_open, streak } = fields;
        Ok(BreakerSpec { enabled, condition, min_requests, open, max_open, streak })
    }
}

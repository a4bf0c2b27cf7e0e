//! How requests are divided over the endpoints of an upstream.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::header::HeaderName;

use super::release::cookie_name;
use super::route::header_name;
use crate::error::Problems;
use crate::spec::{BalanceSpec, ConsistentHashSpec, DwrrBySpec, DwrrSpec, HashKeySpec, Span};

/// The method and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// Weights that are learned, and the least busy of three.
    Dwrr(Dwrr),
    /// Every endpoint in turn, by its configured weight.
    RoundRobin,
    /// The less busy of two endpoints drawn by their configured weights.
    LeastRequest,
    /// The same key finds the same endpoint, within bounds.
    ConsistentHash(ConsistentHash),
    /// A client comes back to the endpoint that served it.
    Sticky {
        /// How long that is remembered; until the browser is closed if it is not said.
        life: Option<Duration>,
    },
}

/// The options of `dwrr`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dwrr {
    /// What is compared.
    pub by: Measure,
    /// How long results count, 1 s to 30 s.
    pub window: Duration,
    /// Differences well below this do not matter, 0.1 ms to 1 s.
    pub latency_floor: Duration,
    /// 1 is inversely proportional to the latency; 0.5 to 2.
    pub sensitivity: f64,
    /// The smallest learned weight, 0.01 to 1.
    pub min_share: f64,
    /// How long a newcomer's weight rises, at most 10 min.
    pub slow_start: Duration,
}

/// When the clock of a request stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// At the head of the response.
    Latency,
    /// At the end of the response.
    InFlight,
}

/// The options of `consistent_hash`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsistentHash {
    /// What is hashed.
    pub by: HashKey,
    /// How many times its part an endpoint may have in flight, 1.05 to 10.
    pub bound: f64,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address: IPv4 whole, IPv6 by its /64.
    ClientIp,
    /// A request header.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
}

impl Default for Balance {
    fn default() -> Self {
        Self::Dwrr(Dwrr::default())
    }
}

impl Default for Dwrr {
    fn default() -> Self {
        Self {
            by: Measure::Latency,
            window: Duration::from_secs(5),
            latency_floor: Duration::from_millis(1),
            sensitivity: 1.25,
            min_share: 1.0 / 16.0,
            slow_start: Duration::from_secs(10),
        }
    }
}

impl Balance {
    pub(super) fn new(spec: &BalanceSpec, mut problems: Problems<'_>) -> Option<Self> {
        match spec {
            BalanceSpec::Dwrr(spec) => Dwrr::new(spec, problems.at("dwrr")).map(Self::Dwrr),
            BalanceSpec::RoundRobin => Some(Self::RoundRobin),
            BalanceSpec::LeastRequest => Some(Self::LeastRequest),
            BalanceSpec::ConsistentHash(spec) => {
                ConsistentHash::new(spec, problems.at("consistent_hash")).map(Self::ConsistentHash)
            }
            BalanceSpec::Sticky(spec) => {
                let life = spec.life.map(|life| span(Some(life), SESSION_LIFE.start().to_owned(), SESSION_LIFE));
                problems.at("sticky").at("life").ok(life.transpose()).map(|life| Self::Sticky { life })
            }
        }
    }
}

impl Dwrr {
    fn new(spec: &DwrrSpec, mut problems: Problems<'_>) -> Option<Self> {
        let default = Self::default();
        let window = problems.at("window").ok(span(spec.window, default.window, WINDOW));
        let latency_floor =
            problems.at("latency_floor").ok(span(spec.latency_floor, default.latency_floor, LATENCY_FLOOR));
        let sensitivity = problems.at("sensitivity").ok(number(spec.sensitivity, default.sensitivity, 0.5..=2.0));
        let min_share = problems.at("min_share").ok(number(spec.min_share, default.min_share, 0.01..=1.0));
        let slow_start = problems.at("slow_start").ok(span(spec.slow_start, default.slow_start, SLOW_START));
        Some(Self {
            by: match spec.by {
                DwrrBySpec::Latency => Measure::Latency,
                DwrrBySpec::InFlight => Measure::InFlight,
            },
            window: window?,
            latency_floor: latency_floor?,
            sensitivity: sensitivity?,
            min_share: min_share?,
            slow_start: slow_start?,
        })
    }
}

impl ConsistentHash {
    fn new(spec: &ConsistentHashSpec, mut problems: Problems<'_>) -> Option<Self> {
        let by = problems.at("by").ok(hash_key(&spec.by));
        // A bound of 1 would have to move nearly every key.
        let bound = problems.at("bound").ok(number(spec.bound, 1.25, 1.05..=10.0));
        Some(Self { by: by?, bound: bound? })
    }
}

fn hash_key(spec: &HashKeySpec) -> Result<HashKey, String> {
    match spec {
        HashKeySpec::ClientIp => Ok(HashKey::ClientIp),
        HashKeySpec::Header(name) => header_name(name).map(HashKey::Header),
        HashKeySpec::Cookie(name) => cookie_name(name).map(HashKey::Cookie),
    }
}

fn span(spec: Option<Span>, default: Duration, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let (least, most) = (Span::from(*range.start()), Span::from(*range.end()));
    match spec {
        None => Ok(default),
        Some(span) if range.contains(&span.duration()) => Ok(span.duration()),
        Some(span) => Err(format!("{span} is not within {least} to {most}")),
    }
}

fn number(spec: Option<f64>, default: f64, range: RangeInclusive<f64>) -> Result<f64, String> {
    match spec {
        None => Ok(default),
        Some(number) if range.contains(&number) => Ok(number),
        Some(number) => Err(format!("{number} is not within {} to {}", range.start(), range.end())),
    }
}

const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// Not 0: times of 0 would have no ratio.
const LATENCY_FLOOR: RangeInclusive<Duration> = Duration::from_micros(100)..=Duration::from_secs(1);
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// Browsers keep no cookie for much longer than a year.
const SESSION_LIFE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(365 * 86_400);

//! Limits of routes and upstreams, and retries.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use super::route::header_name;
use crate::error::Problems;
use crate::limit::Rate;
use crate::spec::{
    HedgeSpec, InFlight, InFlightPerKeySpec, LimitKeySpec, Percent, QueueSpec, RateLimitSpec, RetrySpec, Span,
    UpstreamLimitsSpec,
};

/// How requests to an upstream are tried again. What may be is said by [`crate::retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// How many of the requests may be retried.
    pub budget: Percent,
}

/// Limits of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Requests it works on at once.
    pub in_flight: Option<InFlight>,
    /// Requests each of its endpoints works on at once.
    pub in_flight_per_endpoint: Option<u32>,
    /// Where requests wait.
    pub queue: Option<Queue>,
}

/// Where requests wait for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait.
    pub length: u32,
    /// How long each may wait.
    pub timeout: Duration,
}

/// How often clients may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Rate and burst.
    pub rate: Rate,
    /// Who is counted together.
    pub by: LimitKey,
}

/// How many requests those who are counted together may have in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightPerKey {
    /// How many at once, at least 1.
    pub limit: u32,
    /// Who is counted together, but not everybody.
    pub by: LimitKey,
}

/// Who is counted together by a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// An address: IPv4 whole, IPv6 by its /64.
    ClientIp,
    /// A value of a header field.
    Header(HeaderName),
    /// Everybody.
    All,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 2, budget: Percent::from_basis_points(2_000).unwrap_or(Percent::ZERO) }
    }
}

pub(super) fn retry(spec: &RetrySpec, mut problems: Problems<'_>) -> Option<Retry> {
    let default = Retry::default();
    let tries = number(spec.tries, 1..=5, problems.at("tries"))?;
    Some(Retry { tries: tries.unwrap_or(default.tries), budget: spec.budget.unwrap_or(default.budget) })
}

pub(super) fn hedge_after(spec: Option<&HedgeSpec>, mut problems: Problems<'_>) -> Option<Option<Duration>> {
    let Some(spec) = spec else { return Some(None) };
    let after_ms = span_ms(Some(spec.after), 1, 60_000, problems.at("after"))??;
    Some(Some(Duration::from_millis(after_ms)))
}

pub(super) fn upstream_limits(spec: &UpstreamLimitsSpec, mut problems: Problems<'_>) -> Option<UpstreamLimits> {
    let per_endpoint = places(spec.in_flight_per_endpoint, problems.at("in_flight_per_endpoint"));
    let queue = match &spec.queue {
        Some(queue) => self::queue(queue, problems.at("queue")).map(Some),
        None => Some(None),
    };
    if spec.queue.is_some() && spec.in_flight.is_none() && spec.in_flight_per_endpoint.is_none() {
        problems.at("queue").report("without `in_flight` or `in_flight_per_endpoint` nobody would ever wait");
        return None;
    }
    Some(UpstreamLimits { in_flight: spec.in_flight, in_flight_per_endpoint: per_endpoint?, queue: queue? })
}

fn queue(spec: &QueueSpec, mut problems: Problems<'_>) -> Option<Queue> {
    let length = number(Some(spec.length), 1..=10_000, problems.at("length"));
    let timeout_ms = span_ms(spec.timeout, 1, 60_000, problems.at("timeout"));
    Some(Queue { length: length??, timeout: Duration::from_millis(timeout_ms?.unwrap_or(1_000)) })
}

/// How many requests may be in flight at once.
pub(super) fn places(limit: Option<u32>, problems: Problems<'_>) -> Option<Option<u32>> {
    number(limit, 1..=1_000_000, problems)
}

pub(super) fn rate_limit(spec: &RateLimitSpec, mut problems: Problems<'_>) -> Option<RateLimit> {
    let burst = number(spec.burst, 1..=1_000_000, problems.at("burst"));
    let by = limit_key(&spec.by, problems.at("by"));
    let (count, per) = (spec.rate.count(), spec.rate.per());
    let in_a_second = u64::from(count) / per.as_secs().max(1);
    let burst = burst?.unwrap_or(u32::try_from(in_a_second).unwrap_or(u32::MAX).max(1));
    Some(RateLimit { rate: Rate::new(count, per, burst), by: by? })
}

pub(super) fn in_flight_per_key(spec: &InFlightPerKeySpec, mut problems: Problems<'_>) -> Option<InFlightPerKey> {
    let limit = places(Some(spec.limit), problems.at("limit"));
    let by = limit_key(&spec.by, problems.at("by"));
    if by == Some(LimitKey::All) {
        problems.at("by").report("`all` is what `in_flight` is for");
        return None;
    }
    Some(InFlightPerKey { limit: limit??, by: by? })
}

fn limit_key(spec: &LimitKeySpec, mut problems: Problems<'_>) -> Option<LimitKey> {
    match spec {
        LimitKeySpec::ClientIp => Some(LimitKey::ClientIp),
        LimitKeySpec::Header(name) => problems.at("header").ok(header_name(name)).map(LimitKey::Header),
        LimitKeySpec::All => Some(LimitKey::All),
    }
}

/// A number that may be left out, in its range.
pub(super) fn number(
    written: Option<u32>,
    range: RangeInclusive<u32>,
    mut problems: Problems<'_>,
) -> Option<Option<u32>> {
    match written {
        Some(number) if !range.contains(&number) => {
            problems.report(format_args!("{number} is not between {} and {}", range.start(), range.end()));
            None
        }
        _ => Some(written),
    }
}

/// A duration that may be left out, in its range, in whole milliseconds.
pub(super) fn span_ms(
    written: Option<Span>,
    least_ms: u64,
    most_ms: u64,
    mut problems: Problems<'_>,
) -> Option<Option<u64>> {
    let Some(span) = written else { return Some(None) };
    let (least, most) = (Duration::from_millis(least_ms), Duration::from_millis(most_ms));
    if !(least..=most).contains(&span.duration()) {
        problems.report(format_args!("{span} is not between {} and {}", Span::from(least), Span::from(most)));
        return None;
    }
    Some(Some(span.duration().as_millis() as u64))
}

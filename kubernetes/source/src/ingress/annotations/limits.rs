//! How often clients may ask, and how much.

use routing_rules::spec::{InFlightPerKeySpec, LimitKeySpec, Rate, RateLimitSpec};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::given::Given;
use super::values;
use crate::ingress::tuning::Tuning;

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    // 0 is no limit.
    let mut limit = |name| given.number(name, 0..=1_000_000).filter(|number| *number > 0);
    let (per_second, per_minute) = (limit("limit-rps"), limit("limit-rpm"));
    let at_once = limit("limit-connections");
    if per_second.is_some() || per_minute.is_some() {
        let times = given.number("limit-burst-multiplier", 1..=1_000).unwrap_or(BURST);
        tuning.limits.rate_limit = rate_limit(per_second, per_minute, times);
    }
    tuning.limits.in_flight_per_key = at_once.map(|limit| InFlightPerKeySpec { limit, by: LimitKeySpec::ClientIp });
    if tuning.limits.rate_limit.is_some() || at_once.is_some() {
        tuning.unlimited = given.either(["limit-allowlist", "limit-whitelist"], values::networks).unwrap_or_default();
    }
    // Without a unit it is bytes; 0 is no limit there, and no body at all here.
    let body = given.read("proxy-body-size", values::size);
    tuning.limits.body = body.map(|size| if size.bytes() == 0 { values::no_limit() } else { size });
}

/// One limit for both: with the smaller rate and the smaller burst it lets nobody do what either forbids.
fn rate_limit(per_second: Option<u32>, per_minute: Option<u32>, times: u32) -> Option<RateLimitSpec> {
    let in_a_minute = |per_second: u32| u64::from(per_second) * 60;
    let by_the_minute = match (per_second, per_minute) {
        (Some(per_second), Some(per_minute)) => u64::from(per_minute) < in_a_minute(per_second),
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let (count, unit) = if by_the_minute { (per_minute?, 'm') } else { (per_second?, 's') };
    let smaller = per_second.into_iter().chain(per_minute).min()?;
    let burst = smaller.saturating_mul(times).min(1_000_000);
    Some(RateLimitSpec { rate: rate(&format!("{count}/{unit}"))?, burst: Some(burst), by: LimitKeySpec::ClientIp })
}

/// A rate as it is written: there is no other way to one.
fn rate(text: &str) -> Option<Rate> {
    let text: StrDeserializer<'_, Error> = text.into_deserializer();
    Rate::deserialize(text).ok()
}

/// What ingress-nginx multiplies by.
const BURST: u32 = 5;

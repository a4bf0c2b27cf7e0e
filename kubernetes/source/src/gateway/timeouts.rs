//! Time limits of routes.

use std::time::Duration;

use routing_rules::spec::{self, Span};

use super::kinds::TimeoutsSpec;
use crate::conditions::Refusal;

/// As rules have them: `request` is all there is from beginning to end, `backendRequest` what an endpoint has until it answers.
///
/// # Errors
/// It is no duration.
pub(super) fn timeouts(timeouts: &TimeoutsSpec) -> Result<spec::TimeoutsSpec, Refusal> {
    let limit = |text: &Option<String>| text.as_deref().map(duration).transpose();
    let whole = limit(&timeouts.request)?;
    let limits = [whole, limit(&timeouts.backend_request)?];
    let total = whole.filter(|limit| !limit.is_zero());
    let shortest = limits.into_iter().flatten().filter(|limit| !limit.is_zero()).min();
    // Zero is no limit, which rules have only by one that nobody waits for.
    let endless = limits.iter().any(Option::is_some).then_some(A_YEAR);
    let request = shortest.or(endless);
    Ok(spec::TimeoutsSpec { request: request.map(Span::from), total: total.map(Span::from), ..Default::default() })
}

/// Up to four numbers, each with its unit: `1h30m`.
fn duration(text: &str) -> Result<Duration, Refusal> {
    let wrong = || Refusal::unsupported(format!("timeouts: `{text}` is no duration such as 10s or 1m30s"));
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|digit: char| !digit.is_ascii_digit()).ok_or_else(wrong)?);
        let units = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(units);
        let unit_ms = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().ok().filter(|number| *number < 100_000).ok_or_else(wrong)?;
        total += Duration::from_millis(u64::from(number) * unit_ms);
        rest = tail;
    }
    match text.is_empty() || total > A_YEAR {
        true => Err(wrong()),
        false => Ok(total),
    }
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("1m30s", 90_000), ("1h0m2s3ms", 3_602_003)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "s", "1d", "1.5s", "-1s", "1s ", "99999h", "100000ms", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

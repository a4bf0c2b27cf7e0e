//! Breakers of endpoints and of upstreams.

use super::Name;
use super::limit::{number, span_ms};
use crate::breaker::{Condition, Settings, Streak};
use crate::error::Problems;
use crate::spec::{BreakerSpec, GroupBreakerSpec, Span};

/// The breaker of each endpoint of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Opens beside failures in a row.
    pub condition: Option<Condition>,
    /// Its numbers.
    pub settings: Settings,
}

/// The breaker of an upstream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupBreaker {
    /// Opens beside failures in a row.
    pub condition: Condition,
    /// Its numbers.
    pub settings: Settings,
    /// What serves while it is open.
    pub fallback: Option<Name>,
}

/// The breaker of an upstream's endpoints; `Some(None)` if they have none.
pub(super) fn breaker(spec: Option<&BreakerSpec>, mut problems: Problems<'_>) -> Option<Option<Breaker>> {
    let default = BreakerSpec::default();
    let spec = spec.unwrap_or(&default);
    let condition = match &spec.condition {
        Some(text) => problems.at("condition").ok(text.parse()).map(Some),
        None => Some(None),
    };
    let numbers =
        Numbers { requests: spec.min_requests, open: spec.open, max_open: spec.max_open, streak: spec.streak };
    let settings = numbers.settings(Settings::endpoint(), &mut problems);
    if spec.condition.is_none() && spec.streak == Some(0) && spec.enabled != Some(false) {
        problems.report(
            "without a condition and without a streak nothing opens it; for none at all write `breaker: false`",
        );
        return None;
    }
    let breaker = Breaker { condition: condition?, settings: settings? };
    Some((spec.enabled != Some(false)).then_some(breaker))
}

/// The breaker of the upstream with this name, as a whole.
pub(super) fn group_breaker(spec: &GroupBreakerSpec, own: &str, mut problems: Problems<'_>) -> Option<GroupBreaker> {
    let condition = problems.at("condition").ok(spec.condition.parse());
    let fallback = match spec.fallback.as_deref() {
        Some(name) if name == own => {
            problems.at("fallback").report("an upstream cannot stand in for itself");
            None
        }
        Some(name) => problems.at("fallback").ok(Name::new(name)).map(Some),
        None => Some(None),
    };
    let numbers =
        Numbers { requests: spec.min_requests, open: spec.open, max_open: spec.max_open, streak: spec.streak };
    let settings = numbers.settings(Settings::group(), &mut problems);
    Some(GroupBreaker { condition: condition?, settings: settings?, fallback: fallback? })
}

/// What both kinds have in common, as written.
struct Numbers {
    requests: Option<u32>,
    open: Option<Span>,
    max_open: Option<Span>,
    streak: Option<u32>,
}

impl Numbers {
    fn settings(&self, default: Settings, problems: &mut Problems<'_>) -> Option<Settings> {
        let requests = number(self.requests, 1..=100_000, problems.at("min_requests"));
        let open = span_ms(self.open, 100, HOUR_MS, problems.at("open"));
        let max_open = span_ms(self.max_open, 100, 24 * HOUR_MS, problems.at("max_open"));
        let streak = number(self.streak, 0..=1_000, problems.at("streak"));
        let (open_ms, max_open) = (open?.unwrap_or(default.open_ms), max_open?);
        let max_open_ms = max_open.unwrap_or(default.max_open_ms.max(open_ms));
        if max_open_ms < open_ms {
            problems.at("max_open").report("the longest time is shorter than the first, `open`");
            return None;
        }
        Some(Settings {
            min_requests: requests?.unwrap_or(default.min_requests),
            open_ms,
            max_open_ms,
            streak: streak?.map_or(default.streak, |streak| Streak::new(streak as u16)),
            ..default
        })
    }
}

const HOUR_MS: u64 = 3_600_000;

//! Releases under way that routes no longer ask. Whoever takes one from a route, or from the rules, ends it there: that is what was
//! written, so nothing holds it up. But it is said, because its users go with it.

use std::collections::BTreeSet;

use routing_rules::rules::{Id, Kind, RuleSet};

use crate::control_path::release::Records;

/// Says which routes asked a release before, and do not any more.
pub(super) fn note(records: &Records, before: &RuleSet, now: &RuleSet) {
    for (release, record) in records.iter().filter(|(_, record)| record.state.is_active()) {
        let routes = |rules: &RuleSet| -> BTreeSet<Id> { rules.users(Kind::Release, release).cloned().collect() };
        for (_, route) in routes(before).difference(&routes(now)) {
            tracing::warn!(
                release = release.as_str(),
                route = route.as_str(),
                percent = %record.state.percent,
                "a release under way is taken from a route: its users of the canary are the route's now"
            );
        }
    }
}

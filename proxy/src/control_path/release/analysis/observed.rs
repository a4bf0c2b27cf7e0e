//! What was counted of a release since somebody looked last.

use std::collections::HashMap;
use std::sync::Arc;

use routing_rules::analysis::{Arm, Histogram, Latency, Record, WINDOW_S};
use routing_rules::release::Group;
use routing_rules::table::ReleaseId;

use crate::snapshot::{Comparison, Outcomes, RecentUser, Snapshot, Stratum, StratumTotals};

/// The counts of one release that were taken already.
#[derive(Default)]
pub(super) struct Counted(HashMap<Box<str>, Taken>);

struct Taken {
    /// Whose counts: a rule that has gone and come back may count from the beginning.
    stratum: Arc<Stratum>,
    totals: StratumTotals,
}

/// What came since, rule by rule.
pub(super) struct Seen {
    pub(super) rules: Vec<SeenRule>,
    /// How many endpoints stable has.
    pub(super) stable_endpoints: usize,
}

/// What came since for one rule.
pub(super) struct SeenRule {
    pub(super) name: Box<str>,
    pub(super) record: Record,
    /// The control once more, by sixteenth of users and of endpoints.
    pub(super) totals: StratumTotals,
}

impl Counted {
    /// What came since the last time. Each request is in one answer.
    pub(super) fn take(&mut self, snapshot: &Snapshot, id: ReleaseId, unix_s: u64) -> Seen {
        let release = snapshot.table.release(id);
        let stable = release.and_then(|release| snapshot.upstream(release.stable));
        let mut seen = Seen { rules: Vec::new(), stable_endpoints: stable.map_or(0, |stable| stable.endpoints.len()) };
        let Some(comparison) = snapshot.traffic.comparison(id) else { return seen };
        if comparison.strata().iter().all(|stratum| stratum.is_idle()) {
            return seen;
        }
        let mut users: Option<Vec<RecentUser>> = None;
        for (place, stratum) in comparison.strata().iter().enumerate().filter(|(_, stratum)| !stratum.is_idle()) {
            let totals = stratum.totals();
            let known = self.0.get(stratum.rule()).filter(|known| Arc::ptr_eq(&known.stratum, stratum));
            let since = known.map_or_else(|| totals.clone(), |known| totals.since(&known.totals));
            self.0.insert(stratum.rule().into(), Taken { stratum: Arc::clone(stratum), totals });
            let control = since.control();
            let mut failing = |outcomes: &Outcomes, group| {
                if outcomes.failed == 0 {
                    return 0;
                }
                let users = users.get_or_insert_with(|| failing(comparison, unix_s));
                users.iter().filter(|user| user.rule == Some(place) && user.group == group).count() as u64
            };
            let record = Record {
                canary: arm(&since.canary, failing(&since.canary, Group::Canary), since.canary_without_cookie),
                control: arm(&control, failing(&control, Group::Stable), since.control_without_cookie),
            };
            seen.rules.push(SeenRule { name: stratum.rule().into(), record, totals: since });
        }
        self.0.retain(|rule, _| comparison.strata().iter().any(|stratum| stratum.rule() == &**rule));
        seen
    }
}

/// Users who came in this window, and of whom a request has failed.
fn failing(comparison: &Comparison, unix_s: u64) -> Vec<RecentUser> {
    let users = comparison.recent_users().into_iter();
    users.filter(|user| user.has_failed && user.last_seen + WINDOW_S > unix_s).collect()
}

fn arm(outcomes: &Outcomes, failing_users: u64, without_cookie: u64) -> Arm {
    let mut latencies = Histogram::default();
    let counts = outcomes.latencies.iter().enumerate().filter(|(_, count)| **count > 0);
    counts.for_each(|(place, count)| latencies.add(Latency::at_place(place), *count));
    Arm { requests: outcomes.requests(), failed: outcomes.failed, latencies, failing_users, without_cookie }
}

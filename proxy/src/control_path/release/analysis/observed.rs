//! What was counted of a release since somebody looked last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use routing_rules::analysis::{Arm, Histogram, Latency, Record, WINDOW_S};
use routing_rules::release::{Group, ReleaseRecord};
use routing_rules::rules::Name;
use routing_rules::spec::Percent;
use routing_rules::table::ReleaseId;

use super::sixteenths::Sixteenths;
use crate::snapshot::{Comparison, Outcomes, RecentUser, Snapshot, Stratum, StratumTotals};

/// The counts of one release that were taken already.
#[derive(Default)]
pub(super) struct Counted(HashMap<Box<str>, Taken>);

struct Taken {
    /// Whose counts: a rule that has gone and come back may count from the beginning.
    stratum: Arc<Stratum>,
    totals: StratumTotals,
}

/// What came of one release in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where the release was at the end of the window.
    pub(super) stage: Stage,
    /// Whether it was there in all of the window.
    pub(super) is_whole: bool,
    /// By the names of rules.
    pub(super) rules: BTreeMap<Box<str>, Record>,
    /// The control of the last five minutes, if they end with this window.
    pub(super) block: Option<Box<Sixteenths>>,
}

/// Where a release is, as far as it matters for what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Of which versions.
    pub(super) stable: Name,
    pub(super) canary: Name,
    /// Its newest change.
    pub(super) number: u64,
    /// See [`ReleaseRecord::began`].
    pub(super) began: u64,
    pub(super) epoch: u32,
    /// How many other salts it was given: who is compared before it begins.
    pub(super) salts: u8,
    /// See [`ReleaseRecord::has_begun`].
    pub(super) has_begun: bool,
    pub(super) percent: Percent,
    /// Whether rules decide who is in the canary group.
    pub(super) is_active: bool,
}

impl Stage {
    pub(super) fn of(record: &ReleaseRecord) -> Self {
        Self {
            stable: record.stable.clone(),
            canary: record.canary.clone(),
            number: record.number,
            began: record.began,
            epoch: record.epoch,
            salts: record.salts,
            has_begun: record.has_begun,
            percent: record.state.percent,
            is_active: record.state.is_active(),
        }
    }

    /// Whether what is counted in one may be added to what is counted in the other: the same users are in the same groups.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        *self == Self { number: self.number, ..other.clone() }
    }
}

impl Counted {
    /// What came since the last time, by the names of rules; control also in sixteenths. Each request is in one answer.
    pub(super) fn take(
        &mut self,
        snapshot: &Snapshot,
        id: ReleaseId,
        unix_s: u64,
        block: &mut Sixteenths,
    ) -> BTreeMap<Box<str>, Record> {
        let mut rules = BTreeMap::new();
        let Some(comparison) = snapshot.traffic.comparison(id) else { return rules };
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
            rules.insert(stratum.rule().into(), record);
            block.add_rows(&since.users, &since.endpoints);
        }
        self.0.retain(|rule, _| comparison.strata().iter().any(|stratum| stratum.rule() == &**rule));
        rules
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

//! What came of one release in the last minute.

use std::collections::VecDeque;
use std::sync::Arc;

use routing_rules::release::headroom::{Divided, Flow, Followers, Served};
use routing_rules::release::{Group, ReleaseState};
use routing_rules::rules::{Name, Release, Share};
use routing_rules::spec::Percent;
use routing_rules::table::{CompiledRelease, ReleaseId};

use crate::moment;
use crate::snapshot::{Snapshot, Stratum};

/// Of one release.
pub(super) struct Course {
    stable: Name,
    canary: Name,
    before: Counts,
    flows: VecDeque<Flow>,
    /// The part of all requests that is of those who follow the phases, when that was seen last. As long as nobody knows, all do:
    /// too little would be predicted otherwise.
    following: f64,
    /// Whether the last stretch was without requests of pages, or is not known.
    was_without_pages: bool,
}

/// What was counted up to a moment.
struct Counts {
    at_us: u64,
    stable: Served,
    canary: Served,
    /// By rule that follows the phases: users within the share, and others.
    rules: Vec<(Arc<Stratum>, [u64; 2])>,
    divided: Divided,
}

impl Course {
    pub(super) fn new(snapshot: &Snapshot, id: ReleaseId, release: &CompiledRelease, now_us: u64) -> Self {
        let rules = release.assigner.rules();
        Self {
            stable: rules.stable().clone(),
            canary: rules.canary().clone(),
            before: Counts::of(snapshot, id, release, now_us),
            flows: VecDeque::new(),
            following: 1.0,
            was_without_pages: true,
        }
    }

    /// Whether it is about these versions.
    pub(super) fn is_of(&self, rules: &Release) -> bool {
        (&self.stable, &self.canary) == (rules.stable(), rules.canary())
    }

    pub(super) fn flows(&self) -> &VecDeque<Flow> {
        &self.flows
    }

    /// A stretch has ended in which the canary's endpoints had so many requests in flight.
    pub(super) fn close(
        &mut self,
        snapshot: &Snapshot,
        id: ReleaseId,
        release: &CompiledRelease,
        in_flight: f64,
        now_us: u64,
    ) {
        let now = Counts::of(snapshot, id, release, now_us);
        let before = std::mem::replace(&mut self.before, now);
        let divided = self.before.divided;
        if before.divided != divided {
            // Nobody can tell these requests apart; those before and behind are enough.
            return;
        }
        let (stable, canary) = (since(self.before.stable, before.stable), since(self.before.canary, before.canary));
        let all = (stable.requests + canary.requests) as f64;
        let [inside, outside] = self.followers(&before, divided, all, leaves_out_pages(snapshot, release));
        let followers = Followers { inside, outside, divided };
        let seconds = now_us.saturating_sub(before.at_us) as f64 / 1e6;
        self.flows.push_back(Flow { seconds, in_flight, canary, stable, followers });
        self.flows.drain(..self.flows.len().saturating_sub(MOST_FLOWS));
    }

    /// How many of all requests were of those who follow the phases: of users within the share, and of others.
    fn followers(&mut self, before: &Counts, divided: Divided, all: f64, without_pages: bool) -> [f64; 2] {
        let seen = self.before.followers_since(before);
        let sum = seen.map_or(0.0, |[inside, outside]| inside + outside);
        // The stretch in which pages begin to be counted has only some of them.
        let is_whole = !without_pages && !std::mem::replace(&mut self.was_without_pages, without_pages);
        if sum > 0.0 && all > 0.0 && is_whole {
            self.following = sum / all;
        }
        match divided {
            // Requests of pages are as usual, and not among those that were seen.
            Divided::At(share) if !is_whole && share < Percent::ALL => {
                let inside = f64::from(share.basis_points()) / f64::from(Percent::ALL.basis_points());
                [inside, 1.0 - inside].map(|side| side * self.following * all)
            }
            _ => seen.unwrap_or_default(),
        }
    }
}

impl Counts {
    fn of(snapshot: &Snapshot, id: ReleaseId, release: &CompiledRelease, now_us: u64) -> Self {
        let served = |group| {
            let totals = snapshot.traffic.group(id, group).map(|traffic| traffic.totals()).unwrap_or_default();
            Served { requests: totals.statuses.iter().sum(), time_us: totals.duration_us }
        };
        let strata = snapshot.traffic.comparison(id).map(|comparison| comparison.strata()).unwrap_or_default();
        let rules = release.assigner.rules().audience().iter().zip(strata);
        let follows = rules.filter(|(rule, _)| rule.share == Share::Phase);
        let rules = follows.map(|(_, stratum)| (Arc::clone(stratum), stratum.requests()));
        Self {
            at_us: now_us,
            stable: served(Group::Stable),
            canary: served(Group::Canary),
            rules: rules.collect(),
            divided: divided(release, snapshot.table.context().state(release.assigner.rules())),
        }
    }

    /// What came of those who follow the phases. `None` if rules have come, gone or begun to count anew meanwhile.
    fn followers_since(&self, before: &Self) -> Option<[f64; 2]> {
        let are_same = self.rules.len() == before.rules.len()
            && self.rules.iter().zip(&before.rules).all(|(now, before)| Arc::ptr_eq(&now.0, &before.0));
        let side = |side: usize| {
            let sides = self.rules.iter().zip(&before.rules);
            sides.map(|(now, before)| now.1[side].saturating_sub(before.1[side])).sum::<u64>() as f64
        };
        are_same.then(|| [side(0), side(1)])
    }
}

/// A name that comes back after a while counts anew.
fn since(now: Served, before: Served) -> Served {
    Served {
        requests: now.requests.saturating_sub(before.requests),
        time_us: now.time_us.saturating_sub(before.time_us),
    }
}

fn divided(release: &CompiledRelease, state: ReleaseState) -> Divided {
    match release.assigner.preflight() {
        _ if !state.is_active() => Divided::Ended,
        Some(first) => Divided::Ahead(first),
        None => Divided::At(state.percent),
    }
}

/// Whether a step is so young that requests of pages are not compared.
fn leaves_out_pages(snapshot: &Snapshot, release: &CompiledRelease) -> bool {
    let rules = release.assigner.rules();
    let growth = snapshot.table.context().state(rules).growth;
    let until_s = growth.map(|growth| growth.at_secs.saturating_add(rules.sticky().page_life.as_secs()));
    rules.sticky().pin && until_s.is_some_and(|until_s| moment::unix_ms() / 1_000 <= until_s)
}

/// A minute, if stretches end in time.
const MOST_FLOWS: usize = 12;

//! What went through each route and each group of each release. Belongs to the name, so it lives through every swap.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use imbl::{HashMap, Vector};
use routing_rules::release::Group;
use routing_rules::rules::Name;
use routing_rules::table::{ReleaseId, RouteId};
use tokio::time::Instant;

use super::{Comparison, Ended, MirrorTally, Mirrored, Tally, TallyTotals};

/// The requests of one route, or of one group of one release.
pub struct Traffic {
    name: Name,
    group: Option<Group>,
    /// One for each worker, made when its first request ends: most routes of a large table are idle.
    workers: Box<[OnceLock<Box<Tally>>]>,
    /// Of a route's mirror, for each worker; made with the first outcome, because few routes have one.
    mirrored: OnceLock<Box<[MirrorTally]>>,
}

/// The traffic of everything in a table, by id.
#[derive(Clone, Default)]
pub struct TrafficIndex {
    /// By [`RouteId::index`]; a free slot is `None`.
    pub routes: Vector<Option<Arc<Traffic>>>,
    /// By [`ReleaseId::index`]; a free slot is `None`.
    pub stable: Vector<Option<Arc<Traffic>>>,
    /// By [`ReleaseId::index`]; a free slot is `None`.
    pub canary: Vector<Option<Arc<Traffic>>>,
    /// By [`ReleaseId::index`]; a free slot is `None`.
    pub comparisons: Vector<Option<Arc<Comparison>>>,
    /// What has gone lately, so that its last counts can still be read.
    pub retired: RetiredTraffic,
}

/// By name, and group if it is of a release. Persistent: snapshots share it.
pub type RetiredTraffic = HashMap<(Option<Group>, Name), Retired<Traffic>>;

/// What was counted for a name that is no longer in the rules.
pub struct Retired<T> {
    /// The counts.
    pub counts: Arc<T>,
    /// When the name went.
    pub since: Instant,
}

impl Traffic {
    /// Nothing yet, of a group of this release, or without a group of this route.
    pub fn new(name: Name, group: Option<Group>, workers: usize) -> Self {
        Self { name, group, workers: (0..workers).map(|_| OnceLock::new()).collect(), mirrored: OnceLock::new() }
    }

    /// The name of the route or release.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// `stable` or `canary` of a release; `None` for a route.
    pub fn group(&self) -> Option<&'static str> {
        self.group.map(Group::as_str)
    }

    /// Counts one request of a worker. A worker that does not exist counts nowhere.
    pub fn count(&self, worker: usize, ended: Ended) {
        if let Some(tally) = self.workers.get(worker) {
            tally.get_or_init(Box::default).count(ended);
        }
    }

    /// Counts what became of a request that was to be mirrored.
    pub fn count_mirrored(&self, worker: usize, outcome: Mirrored) {
        let tallies = self.mirrored.get_or_init(|| self.workers.iter().map(|_| MirrorTally::default()).collect());
        if let Some(tally) = tallies.get(worker) {
            tally.count(outcome);
        }
    }

    /// How many had this outcome; `None` if none had any.
    pub fn mirrored(&self, outcome: Mirrored) -> Option<u64> {
        let tallies = self.mirrored.get()?;
        Some(tallies.iter().map(|tally| tally.total(outcome)).sum())
    }

    /// The sum over all workers.
    pub fn totals(&self) -> TallyTotals {
        let mut sum = TallyTotals::default();
        self.workers.iter().filter_map(OnceLock::get).for_each(|tally| tally.add_to(&mut sum));
        sum
    }
}

impl TrafficIndex {
    /// The traffic of a route.
    pub fn route(&self, id: RouteId) -> Option<&Arc<Traffic>> {
        self.routes.get(id.index())?.as_ref()
    }

    /// The traffic of one group of a release.
    pub fn group(&self, id: ReleaseId, group: Group) -> Option<&Arc<Traffic>> {
        let groups = match group {
            Group::Stable => &self.stable,
            Group::Canary => &self.canary,
        };
        groups.get(id.index())?.as_ref()
    }

    /// What is compared of a release.
    pub fn comparison(&self, id: ReleaseId) -> Option<&Arc<Comparison>> {
        self.comparisons.get(id.index())?.as_ref()
    }

    /// The traffic of all that is here or has gone lately.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Traffic>> {
        let here = [&self.routes, &self.stable, &self.canary].into_iter().flatten().flatten();
        let gone = self.retired.values().filter(|retired| retired.is_remembered());
        here.chain(gone.map(|retired| &retired.counts))
    }
}

impl<T> Clone for Retired<T> {
    fn clone(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), since: self.since }
    }
}

impl<T> Retired<T> {
    /// Whether the counts are still to be shown, and taken up again should the name come back.
    pub fn is_remembered(&self) -> bool {
        self.since.elapsed() < REMEMBER
    }
}

/// How long counts are kept after their name has gone: a few scrapes.
const REMEMBER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_is_forgotten_after_a_while() {
        let retired = |name: &str, ago: Duration| Retired {
            counts: Arc::new(Traffic::new(Name::new(name).expect("a name"), None, 1)),
            since: Instant::now().checked_sub(ago).expect("the machine has been up for so long"),
        };
        let gone = [retired("just-now", Duration::ZERO), retired("long-ago", REMEMBER)];
        let gone = gone.into_iter().map(|retired| ((None, retired.counts.name().clone()), retired));
        let index = TrafficIndex { retired: gone.collect(), ..TrafficIndex::default() };
        let names: Vec<&str> = index.all().map(|traffic| traffic.name().as_str()).collect();
        assert_eq!(names, ["just-now"]);
    }
}

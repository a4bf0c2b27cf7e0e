//! Keeps the counts of routes and release groups with their names while tables come and go.
//!
//! An id may mean another route in the next table; a name that comes back within a minute goes on counting.

use std::sync::Arc;

use imbl::Vector;
use routing_rules::release::Group;
use routing_rules::rules::Name;
use routing_rules::table::{ReleaseId, RouteId, RouteTable};
use tokio::time::Instant;

use crate::snapshot::{Retired, RetiredTraffic, Snapshot, Traffic, TrafficIndex};

/// The counts of what has gone lately. Cheap to clone.
#[derive(Clone)]
pub(super) struct TrafficMemory {
    workers: usize,
    retired: RetiredTraffic,
    /// What went, the earliest first; some may have come back.
    went: Vector<(Key, Retired)>,
}

/// A name, and the group if it is of a release.
type Key = (Option<Group>, Name);

/// A name whose object may have come or gone, with the slots it had and has.
struct Change<'r> {
    name: &'r Name,
    before: Option<usize>,
    now: Option<usize>,
}

impl TrafficMemory {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, retired: RetiredTraffic::new(), went: Vector::new() }
    }

    /// The index for the table that follows the one of the snapshot `before`.
    pub(super) fn next(&mut self, before: &Snapshot, table: &RouteTable) -> TrafficIndex {
        let TrafficIndex { mut routes, mut stable, mut canary, .. } = before.traffic.clone();
        self.forget_old();
        let (old, new) = (before.table.rules(), table.rules());
        let slot = |table: &RouteTable, name: &Name| table.route_id(name.as_str()).map(RouteId::index);
        let change = |name| Change { name, before: slot(&before.table, name), now: slot(table, name) };
        let changes: Vec<_> = old.changed_routes(new).map(change).collect();
        self.align(&mut routes, None, &changes);
        let slot = |table: &RouteTable, name: &Name| table.release_id(name.as_str()).map(ReleaseId::index);
        let change = |name| Change { name, before: slot(&before.table, name), now: slot(table, name) };
        let changes: Vec<_> = old.changed_releases(new).map(change).collect();
        self.align(&mut stable, Some(Group::Stable), &changes);
        self.align(&mut canary, Some(Group::Canary), &changes);
        TrafficIndex { routes, stable, canary, retired: self.retired.clone() }
    }

    /// Gives every name that came its counts in its slot, and retires those of names that went.
    fn align(&mut self, places: &mut Vector<Option<Arc<Traffic>>>, group: Option<Group>, changes: &[Change<'_>]) {
        let moved = || changes.iter().filter(|change| change.before != change.now);
        // A slot that becomes free may be another name's already, so what has gone goes first.
        for place in moved().filter_map(|change| change.before) {
            let old = places.get_mut(place).and_then(Option::take);
            old.into_iter().for_each(|traffic| self.retire(group, traffic));
        }
        for (name, place) in moved().filter_map(|change| Some((change.name, change.now?))) {
            while places.len() <= place {
                places.push_back(None);
            }
            places[place] = Some(self.recall(group, name));
        }
    }

    fn retire(&mut self, group: Option<Group>, traffic: Arc<Traffic>) {
        let key = (group, traffic.name().clone());
        let retired = Retired { traffic, since: Instant::now() };
        self.went.push_back((key.clone(), retired.clone()));
        self.retired.insert(key, retired);
    }

    fn forget_old(&mut self) {
        while let Some((key, old)) = self.went.front().filter(|(_, gone)| !gone.is_remembered()).cloned() {
            self.went.pop_front();
            // One that has come back meanwhile is in use, or has gone again later.
            if self.retired.get(&key).is_some_and(|retired| retired.since == old.since) {
                self.retired.remove(&key);
            }
        }
    }

    fn recall(&mut self, group: Option<Group>, name: &Name) -> Arc<Traffic> {
        let known = self.retired.remove(&(group, name.clone()));
        known.map_or_else(|| Arc::new(Traffic::new(name.clone(), group, self.workers)), |retired| retired.traffic)
    }
}

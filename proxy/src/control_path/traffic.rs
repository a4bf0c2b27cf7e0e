//! Keeps the counts of routes and releases with their names while tables come and go.
//!
//! An id may mean another route in the next table; a name that comes back within a minute goes on counting.

use std::hash::Hash;
use std::sync::Arc;

use imbl::{HashMap, Vector};
use routing_rules::release::Group;
use routing_rules::rules::Name;
use routing_rules::table::{ReleaseId, RouteId, RouteTable};
use tokio::time::Instant;

use crate::snapshot::{Comparison, Retired, Snapshot, Traffic, TrafficIndex};

/// The counts of what has gone lately. Cheap to clone.
#[derive(Clone)]
pub(super) struct TrafficMemory {
    workers: usize,
    traffic: Memory<Key, Traffic>,
    comparisons: Memory<Name, Comparison>,
}

/// A name, and the group if it is of a release.
type Key = (Option<Group>, Name);

/// A name whose object may have come, changed or gone, with the slots it had and has.
struct Change<'r> {
    name: &'r Name,
    before: Option<usize>,
    now: Option<usize>,
}

impl TrafficMemory {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, traffic: Memory::new(), comparisons: Memory::new() }
    }

    /// The index for the table that follows the one of the snapshot `before`.
    pub(super) fn next(&mut self, before: &Snapshot, table: &RouteTable) -> TrafficIndex {
        let TrafficIndex { mut routes, mut stable, mut canary, mut comparisons, .. } = before.traffic.clone();
        self.traffic.forget_old();
        self.comparisons.forget_old();
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
        self.compare(&mut comparisons, table, &changes);
        TrafficIndex { routes, stable, canary, comparisons, retired: self.traffic.retired.clone() }
    }

    /// Gives every name that came its counts in its slot, and retires those of names that went.
    fn align(&mut self, places: &mut Vector<Option<Arc<Traffic>>>, group: Option<Group>, changes: &[Change<'_>]) {
        let moved = || changes.iter().filter(|change| change.before != change.now);
        // A slot that becomes free may be another name's already, so what has gone goes first.
        for place in moved().filter_map(|change| change.before) {
            let old = places.get_mut(place).and_then(Option::take);
            old.into_iter().for_each(|traffic| self.traffic.retire((group, traffic.name().clone()), traffic));
        }
        for (name, place) in moved().filter_map(|change| Some((change.name, change.now?))) {
            let known = self.traffic.recall(&(group, name.clone()));
            let traffic = known.unwrap_or_else(|| Arc::new(Traffic::new(name.clone(), group, self.workers)));
            put(places, place, traffic);
        }
    }

    /// The same of what is compared, which belongs to a version of a release: one that stays may have changed, too.
    fn compare(&mut self, places: &mut Vector<Option<Arc<Comparison>>>, table: &RouteTable, changes: &[Change<'_>]) {
        for change in changes {
            let old = change.before.and_then(|place| places.get_mut(place)?.take());
            old.into_iter().for_each(|old| self.comparisons.retire(change.name.clone(), old));
        }
        for (name, place) in changes.iter().filter_map(|change| Some((change.name, change.now?))) {
            let id = table.release_id(name.as_str());
            let Some(release) = id.and_then(|id| table.release(id)) else { continue };
            let known = self.comparisons.recall(name);
            let fresh = || Comparison::new(&release.assigner, self.workers);
            let comparison = known.map_or_else(fresh, |known| known.next(&release.assigner));
            put(places, place, Arc::new(comparison));
        }
    }
}

fn put<T: Clone>(places: &mut Vector<Option<T>>, place: usize, counts: T) {
    while places.len() <= place {
        places.push_back(None);
    }
    places[place] = Some(counts);
}

/// What has gone lately, by key.
struct Memory<K, T> {
    retired: HashMap<K, Retired<T>>,
    /// What went, the earliest first; some may have come back.
    went: Vector<(K, Instant)>,
}

impl<K: Clone, T> Clone for Memory<K, T> {
    fn clone(&self) -> Self {
        Self { retired: self.retired.clone(), went: self.went.clone() }
    }
}

impl<K: Clone + Eq + Hash, T> Memory<K, T> {
    fn new() -> Self {
        Self { retired: HashMap::new(), went: Vector::new() }
    }

    fn retire(&mut self, key: K, counts: Arc<T>) {
        let since = Instant::now();
        self.went.push_back((key.clone(), since));
        self.retired.insert(key, Retired { counts, since });
    }

    fn recall(&mut self, key: &K) -> Option<Arc<T>> {
        self.retired.remove(key).map(|retired| retired.counts)
    }

    fn forget_old(&mut self) {
        while let Some((key, since)) = self.went.front().cloned() {
            // One that has come back meanwhile is in use, or has gone again later.
            let gone = self.retired.get(&key).filter(|retired| retired.since == since);
            if gone.is_some_and(Retired::is_remembered) {
                return;
            }
            let is_over = gone.is_some();
            self.went.pop_front();
            if is_over {
                self.retired.remove(&key);
            }
        }
    }
}

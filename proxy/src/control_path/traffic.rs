//! Keeps the counts of routes and release groups with their names while tables come and go.
//!
//! An id may mean another route in the next table; a name that comes back within a minute goes on counting.

use std::collections::HashMap;
use std::sync::Arc;

use imbl::Vector;
use routing_rules::release::Group;
use routing_rules::rules::Name;
use routing_rules::table::RouteTable;
use tokio::time::Instant;

use crate::snapshot::{Retired, Traffic, TrafficIndex};

/// The counts of what has gone lately.
pub(super) struct TrafficMemory {
    workers: usize,
    retired: HashMap<(Option<Group>, Name), Retired>,
}

impl TrafficMemory {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, retired: HashMap::new() }
    }

    /// The index for the table that follows the one `before` belongs to.
    pub(super) fn next(&mut self, before: &TrafficIndex, table: &RouteTable) -> TrafficIndex {
        let TrafficIndex { mut routes, mut stable, mut canary, .. } = before.clone();
        self.retired.retain(|_, retired| retired.is_remembered());
        let names = || table.routes().map(|route| (route.id().index(), route.name()));
        self.align(&mut routes, None, table.route_slots(), names());
        let names = || table.releases().map(|(id, release)| (id.index(), release.assigner.rules().name()));
        self.align(&mut stable, Some(Group::Stable), table.release_slots(), names());
        self.align(&mut canary, Some(Group::Canary), table.release_slots(), names());
        TrafficIndex { routes, stable, canary, retired: self.retired.values().cloned().collect() }
    }

    /// Gives every name its counts in its slot, and retires the others'.
    fn align<'t>(
        &mut self,
        places: &mut Vector<Option<Arc<Traffic>>>,
        group: Option<Group>,
        slots: usize,
        names: impl Iterator<Item = (usize, &'t Name)>,
    ) {
        let mut wanted = vec![None; slots.max(places.len())];
        names.for_each(|(index, name)| wanted[index] = Some(name));
        for (index, name) in wanted.into_iter().enumerate() {
            if index == places.len() {
                places.push_back(None);
            }
            if places[index].as_ref().map(|traffic| traffic.name()) != name {
                let old = places[index].take();
                old.into_iter().for_each(|traffic| self.retire(group, traffic));
                places[index] = name.map(|name| self.recall(group, name));
            }
        }
    }

    fn retire(&mut self, group: Option<Group>, traffic: Arc<Traffic>) {
        let key = (group, traffic.name().clone());
        self.retired.insert(key, Retired { traffic, since: Instant::now() });
    }

    fn recall(&mut self, group: Option<Group>, name: &Name) -> Arc<Traffic> {
        let known = self.retired.remove(&(group, name.clone()));
        known.map_or_else(|| Arc::new(Traffic::new(name.clone(), group, self.workers)), |retired| retired.traffic)
    }
}

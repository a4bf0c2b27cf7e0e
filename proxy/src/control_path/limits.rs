//! Keeps what limits and filters have counted with the names of their routes and upstreams while tables come and go, and ticks those
//! that find themselves.

use std::sync::Arc;

use routing_rules::limit::TICK_MS;
use routing_rules::rules::{self, Name, Route};
use routing_rules::table::RouteTable;

use crate::snapshot::{ByRoute, Look, RouteEdge, RouteLimits, Snapshot, Upstream, UpstreamDoor};

/// How long a tick is, in µs.
pub const PERIOD_US: u64 = TICK_MS * 1_000;

/// One tick of all limits that find themselves.
pub fn tick(snapshot: &Snapshot) {
    for place in snapshot.activity.take(Look::Limits) {
        let upstream = snapshot.upstreams.get(place).and_then(Option::as_ref);
        if upstream.and_then(|upstream| upstream.door.as_ref()).is_some_and(|door| door.tick()) {
            snapshot.activity.mark_for(place, Look::Limits);
        }
    }
}

/// The limits for the table that follows the one of the snapshot `before`.
pub(super) fn of_routes(before: &Snapshot, table: &RouteTable) -> ByRoute<RouteLimits> {
    next(before, &before.route_limits, table, RouteLimits::new)
}

/// The edges of the routes, likewise.
pub(super) fn edges(before: &Snapshot, table: &RouteTable) -> ByRoute<RouteEdge> {
    next(before, &before.route_edges, table, RouteEdge::new)
}

/// What the changed routes of a table have, each made with what its former version had.
fn next<T>(
    before: &Snapshot,
    index: &ByRoute<T>,
    table: &RouteTable,
    make: impl Fn(&Route, Option<&T>) -> Option<T>,
) -> ByRoute<T> {
    let mut index = index.clone();
    // A slot that becomes free may be another name's already, so what was there goes first.
    let changed = before.table.rules().changed_routes(table.rules()).map(|name| {
        let before = before.table.route_id(name.as_str()).and_then(|id| index.remove(id));
        (name, before)
    });
    let changed: Vec<(&Name, Option<Arc<T>>)> = changed.collect();
    for (name, before) in changed {
        let Some(id) = table.route_id(name.as_str()) else { continue };
        let route = table.route(id).map(|route| route.rules());
        if let Some(made) = route.and_then(|route| make(route, before.as_deref())) {
            index.insert(id, made);
        }
    }
    index
}

/// The door of an upstream under these rules, which goes on counting where that of its former version was. `None` without
/// limits.
pub(super) fn door(rules: &rules::Upstream, old: Option<&Upstream>, workers: usize) -> Option<Arc<UpstreamDoor>> {
    let (limits, known) = (rules.limits(), old.and_then(|old| old.door.as_ref()));
    if limits.in_flight.is_none() && limits.in_flight_per_endpoint.is_none() {
        // Who waits there does so no longer.
        known.into_iter().for_each(|door| door.configure(limits));
        return None;
    }
    let door = known.map_or_else(|| Arc::new(UpstreamDoor::new(workers)), Arc::clone);
    door.configure(limits);
    Some(door)
}

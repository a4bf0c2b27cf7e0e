//! Keeps what limits have counted with the names of their routes while tables come and go.

use std::sync::Arc;

use routing_rules::rules::Name;
use routing_rules::table::RouteTable;

use crate::snapshot::{RouteLimitIndex, RouteLimits, Snapshot};

/// The limits for the table that follows the one of the snapshot `before`.
pub(super) fn of_routes(before: &Snapshot, table: &RouteTable) -> RouteLimitIndex {
    let mut index = before.route_limits.clone();
    // A slot that becomes free may be another name's already, so what was there goes first.
    let changed = before.table.rules().changed_routes(table.rules()).map(|name| {
        let before = before.table.route_id(name.as_str()).and_then(|id| index.remove(id));
        (name, before)
    });
    let changed: Vec<(&Name, Option<Arc<RouteLimits>>)> = changed.collect();
    for (name, before) in changed {
        let Some(id) = table.route_id(name.as_str()) else { continue };
        let route = table.route(id).map(|route| route.rules());
        if let Some(limits) = route.and_then(|route| RouteLimits::new(route, before.as_deref())) {
            index.insert(id, limits);
        }
    }
    index
}

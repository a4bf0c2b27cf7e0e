//! Gateway API as rules: a listener for each port of Gateways, routes for the matches of HTTPRoutes and GRPCRoutes, upstreams for ports of
//! Services; and what each object is told of what has become of it.
//!
//! Pure: the same objects give the same rules, and at the same time the same statuses. What is wrong with one object is told to that one,
//! by its conditions, and spoils no other. All Gateways are served by the same Serin, so they share its ports.

mod attach;

mod backends;

mod certificates;

mod class;

mod filters;

mod gateways;

mod grants;

mod hosts;

pub(crate) mod kinds;

mod listeners;

mod matches;

mod policies;

mod routes;

mod rule;

mod timeouts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ObjectName;
use crate::documents::Drafts;
use crate::kind::{Kind, Object};
use crate::objects::Objects;
use crate::options::Options;
use crate::report::StatusUpdate;
use kinds::{GrpcMatch, HttpMatch};
use policies::Ancestors;

/// Makes rules of objects, and says which statuses have to be written. `now` is when that is, as RFC 3339 has it.
pub(crate) fn translate(objects: &Objects, options: &Options, now: &str, drafts: &mut Drafts) -> Vec<StatusUpdate> {
    let (ancestors, claims, updates) = (Ancestors::new(), BTreeSet::new(), Vec::new());
    let mut work = Work { objects, options, now, drafts, claims, ancestors, updates };
    let classes = work.classes();
    let mut gateways = work.gateways(&classes);
    work.open(&gateways);
    work.routes::<HttpMatch>(&mut gateways);
    work.routes::<GrpcMatch>(&mut gateways);
    work.tell_gateways(&gateways);
    let ancestors = std::mem::take(&mut work.ancestors);
    work.tell_policies(&ancestors);
    work.updates
}

/// What is under way.
struct Work<'o> {
    objects: &'o Objects,
    options: &'o Options,
    now: &'o str,
    drafts: &'o mut Drafts,
    /// Matches that a route has already.
    claims: BTreeSet<String>,
    ancestors: Ancestors<'o>,
    updates: Vec<StatusUpdate>,
}

impl Work<'_> {
    /// Notes what is to be told to an object, if it does not say so already.
    fn tell<S: Kind>(&mut self, name: &ObjectName, object: &Object<S>, status: Value) {
        self.updates.extend(StatusUpdate::of(name, object, status));
    }
}

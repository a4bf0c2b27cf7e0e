//! What a test counts. Resources are named as in `services`, `releases.serin.example/status`; verbs as permissions
//! name them: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::StandIn;
use crate::state::State;

impl StandIn {
    /// How many requests there were, refused ones included.
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.shared.look().counts.requests(verb, resource)
    }

    /// Each verb and resource that there were requests of, refused ones included.
    pub fn all_requests(&self) -> BTreeSet<(String, String)> {
        self.shared.look().counts.asked().cloned().collect()
    }

    /// How many watches are open, of all kinds.
    pub fn open_watches(&self) -> u64 {
        self.shared.look().counts.all_watches()
    }

    /// How many watches of a resource are open.
    pub fn open_watches_of(&self, resource: &str) -> u64 {
        self.shared.look().counts.watches.get(resource).copied().unwrap_or_default()
    }

    /// Waits until there were so many requests.
    pub fn wait_for_requests(&self, verb: &str, resource: &str, at_least: u64, timeout: Duration) {
        let enough = |state: &State| (state.counts.requests(verb, resource) >= at_least).then_some(());
        self.wait(timeout, enough, || format!("{} requests to {verb} {resource}", self.requests(verb, resource)));
    }

    /// Waits until so many watches of a resource are open.
    pub fn wait_for_watches(&self, resource: &str, open: u64, timeout: Duration) {
        let as_many = |state: &State| (state.counts.watches.get(resource).copied().unwrap_or(0) == open).then_some(());
        self.wait(timeout, as_many, || format!("{} watches of {resource}", self.open_watches_of(resource)));
    }
}

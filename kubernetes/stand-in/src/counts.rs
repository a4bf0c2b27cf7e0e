//! How much was asked for.

use std::collections::BTreeMap;

/// Requests by verb and resource, and watches that are open.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: BTreeMap<(String, String), u64>,
    pub(crate) watches: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn count(&mut self, verb: &str, resource: &str) {
        *self.requests.entry((verb.to_owned(), resource.to_owned())).or_default() += 1;
    }

    pub(crate) fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.requests.get(&(verb.to_owned(), resource.to_owned())).copied().unwrap_or_default()
    }

    /// Verbs and resources that were asked for.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &(String, String)> {
        self.requests.keys()
    }

    pub(crate) fn all_watches(&self) -> u64 {
        self.watches.values().sum()
    }
}

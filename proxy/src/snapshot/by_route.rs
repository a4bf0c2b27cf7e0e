//! What some routes of a table have and most have not, by [`RouteId::index`]. Persistent: snapshots share it.

use std::sync::Arc;

use imbl::HashMap;
use routing_rules::table::RouteId;

/// Things of the routes that have one.
pub struct ByRoute<T>(HashMap<usize, Arc<T>>);

impl<T> ByRoute<T> {
    /// That of a route.
    pub fn get(&self, id: RouteId) -> Option<&Arc<T>> {
        self.0.get(&id.index())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    pub(crate) fn insert(&mut self, id: RouteId, thing: T) {
        self.0.insert(id.index(), Arc::new(thing));
    }

    pub(crate) fn remove(&mut self, id: RouteId) -> Option<Arc<T>> {
        self.0.remove(&id.index())
    }
}

impl<T> Clone for ByRoute<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for ByRoute<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

//! Snapshots that were replaced, until nobody reads them any more.
//!
//! Whoever lets go of a snapshot last frees it, which takes a tenth of a second for 100,000 routes. A request must not
//! wait for that, so the last to let go is here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::snapshot::Snapshot;

/// Replaced snapshots, the oldest first.
#[derive(Default)]
pub(super) struct Replaced(VecDeque<Arc<Snapshot>>);

impl Replaced {
    /// Keeps a snapshot that nobody can get any more.
    pub(super) fn push(&mut self, snapshot: Arc<Snapshot>) {
        self.0.push_back(snapshot);
        self.free();
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Frees those that nobody else holds.
    pub(super) fn free(&mut self) {
        // Nobody can get at a replaced snapshot but through one he holds: a count that is one stays one.
        self.0.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Long requests hold the snapshot they began with. Beyond this many the oldest is left to its requests; it shares most
/// of what it is made of with newer ones.
const MOST: usize = 256;

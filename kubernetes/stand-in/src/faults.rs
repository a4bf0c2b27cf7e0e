//! What goes wrong because a test wants it to.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::status::Failure;

/// The faults in force.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Verbs and resources nobody may.
    pub(crate) forbidden: BTreeSet<(String, String)>,
    /// What the next requests are answered with.
    pub(crate) next: VecDeque<Failure>,
    /// Nothing is answered, and nothing comes on a watch.
    pub(crate) hanging: bool,
    /// How often watches were cut; one that began before is over.
    pub(crate) cuts: u64,
    /// How often watches say how far they are; never, where there is none.
    pub(crate) bookmarks_every: Option<Duration>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            forbidden: BTreeSet::new(),
            next: VecDeque::new(),
            hanging: false,
            cuts: 0,
            // What a real server does, about.
            bookmarks_every: Some(Duration::from_secs(60)),
        }
    }
}

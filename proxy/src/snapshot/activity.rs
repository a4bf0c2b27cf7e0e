//! Which upstreams had requests lately: a byte each, side by side, so that a tick finds the few among very many without
//! touching the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The marks, by [`UpstreamId::index`](routing_rules::table::UpstreamId::index). Snapshots share them.
#[derive(Clone, Default)]
pub struct Activity(Arc<[Chunk]>);

/// They never move, so that whoever holds a [`Mark`] sets it for all snapshots that follow.
type Chunk = Arc<[AtomicU8; CHUNK]>;

/// The mark of one upstream.
#[derive(Clone)]
pub struct Mark {
    chunk: Chunk,
    place: usize,
}

/// Who looks at what was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The tick of the weights.
    Weights = 1,
    /// The tick of the breakers.
    Breakers = 2,
    /// The tick of the limits that find themselves.
    Limits = 4,
}

impl Activity {
    /// Room for as many upstreams; what is marked stays so.
    pub fn with_room(&self, upstreams: usize) -> Self {
        let missing = upstreams.div_ceil(CHUNK).saturating_sub(self.0.len());
        if missing == 0 {
            return self.clone();
        }
        let fresh = (0..missing).map(|_| Arc::new([const { AtomicU8::new(0) }; CHUNK]));
        Self(self.0.iter().cloned().chain(fresh).collect())
    }

    /// The mark of an upstream, if there is room for it.
    pub fn mark_of(&self, place: usize) -> Option<Mark> {
        Some(Mark { chunk: Arc::clone(self.0.get(place / CHUNK)?), place: place % CHUNK })
    }

    /// An upstream has something to look at, for all.
    pub fn mark(&self, place: usize) {
        if let Some(mark) = self.mark_at(place) {
            set(mark);
        }
    }

    /// There is something to look at next time, too.
    pub fn mark_for(&self, place: usize, look: Look) {
        if let Some(mark) = self.mark_at(place) {
            mark.fetch_or(look as u8, Relaxed);
        }
    }

    /// The upstreams with something to look at, each of which is told once.
    pub fn take(&self, look: Look) -> impl Iterator<Item = usize> {
        let bit = look as u8;
        let all = self.0.iter().flat_map(|chunk| chunk.iter());
        let marked = all.enumerate().filter(move |(_, mark)| mark.load(Relaxed) & bit != 0);
        marked.map(move |(place, mark)| {
            mark.fetch_and(!bit, Relaxed);
            place
        })
    }

    fn mark_at(&self, place: usize) -> Option<&AtomicU8> {
        Some(&self.0.get(place / CHUNK)?[place % CHUNK])
    }
}

impl Mark {
    /// The upstream has something to look at, for all.
    pub fn set(&self) {
        set(&self.chunk[self.place]);
    }
}

fn set(mark: &AtomicU8) {
    // The line stays in every worker's cache, because it is written a few times a second.
    if mark.load(Relaxed) != ALL {
        mark.store(ALL, Relaxed);
    }
}

/// A page of marks.
const CHUNK: usize = 4_096;

const ALL: u8 = Look::Weights as u8 | Look::Breakers as u8 | Look::Limits as u8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_is_told_once_of_what_was_marked() {
        let activity = Activity::default().with_room(3);
        activity.mark(1);
        activity.mark(CHUNK);
        let look = |activity: &Activity, look| activity.take(look).collect::<Vec<_>>();
        assert_eq!(look(&activity, Look::Weights), [1]);
        assert!(look(&activity, Look::Weights).is_empty());
        activity.mark_for(2, Look::Weights);
        let larger = activity.with_room(CHUNK + 1);
        assert_eq!((look(&larger, Look::Breakers), look(&larger, Look::Weights)), (vec![1], vec![2]));
        larger.mark(CHUNK);
        assert_eq!(look(&larger, Look::Breakers), [CHUNK]);
        // Who was told before there was more room is heard all the same.
        activity.mark_of(2).expect("there is room").set();
        assert_eq!(look(&larger, Look::Breakers), [2]);
        assert!(activity.mark_of(CHUNK).is_none());
    }
}

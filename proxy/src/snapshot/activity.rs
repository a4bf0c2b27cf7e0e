//! Which upstreams had requests lately: a byte each, side by side, so that a tick finds the few among very many without
//! touching the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The marks, by [`UpstreamId::index`](routing_rules::table::UpstreamId::index). Snapshots share them.
#[derive(Clone, Default)]
pub struct Activity(Arc<[AtomicU8]>);

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
        if upstreams <= self.0.len() {
            return self.clone();
        }
        let mark = |place: usize| self.0.get(place).map_or(0, |mark| mark.load(Relaxed));
        Self((0..upstreams.next_power_of_two()).map(|place| AtomicU8::new(mark(place))).collect())
    }

    /// An upstream has something to look at, for all.
    pub fn mark(&self, place: usize) {
        // The line stays in every worker's cache, because it is written a few times a second.
        if let Some(mark) = self.0.get(place)
            && mark.load(Relaxed) != ALL
        {
            mark.store(ALL, Relaxed);
        }
    }

    /// There is something to look at next time, too.
    pub fn mark_for(&self, place: usize, look: Look) {
        if let Some(mark) = self.0.get(place) {
            mark.fetch_or(look as u8, Relaxed);
        }
    }

    /// The upstreams with something to look at, each of which is told once.
    pub fn take(&self, look: Look) -> impl Iterator<Item = usize> {
        let bit = look as u8;
        let marked = self.0.iter().enumerate().filter(move |(_, mark)| mark.load(Relaxed) & bit != 0);
        marked.map(move |(place, mark)| {
            mark.fetch_and(!bit, Relaxed);
            place
        })
    }
}

const ALL: u8 = Look::Weights as u8 | Look::Breakers as u8 | Look::Limits as u8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_is_told_once_of_what_was_marked() {
        let activity = Activity::default().with_room(3);
        activity.mark(1);
        activity.mark(99);
        let look = |activity: &Activity, look| activity.take(look).collect::<Vec<_>>();
        assert_eq!(look(&activity, Look::Weights), [1]);
        assert!(look(&activity, Look::Weights).is_empty());
        activity.mark_for(2, Look::Weights);
        let larger = activity.with_room(100);
        assert_eq!((look(&larger, Look::Breakers), look(&larger, Look::Weights)), (vec![1], vec![2]));
        larger.mark(99);
        assert_eq!(look(&larger, Look::Breakers), [99]);
    }
}

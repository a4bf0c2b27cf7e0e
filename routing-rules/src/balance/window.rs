//! The last half minute of an endpoint, in slots of one tick each.

use super::evidence::Counts;

/// The length of a tick, and so of a slot: 0.5 s.
pub const TICK_US: u64 = 500_000;

/// What was counted in each of the newest 60 slots.
#[derive(Clone, Debug)]
pub struct Window {
    /// A ring.
    slots: Box<[Counts; SLOTS]>,
    newest: usize,
    /// The counters as they were when the newest slot was closed.
    counts: Counts,
}

impl Window {
    /// An empty window over counters that stand as `counts` says.
    pub fn new(counts: Counts) -> Self {
        Self { slots: Box::new([Counts::default(); SLOTS]), newest: 0, counts }
    }

    /// Closes a slot: what was counted since the last time.
    pub fn close_slot(&mut self, counts: Counts) {
        self.newest = (self.newest + 1) % SLOTS;
        self.slots[self.newest] = counts.since(&self.counts);
        self.counts = counts;
    }

    /// Forgets all slots. What is in flight stays, because it still is.
    pub fn clear(&mut self) {
        *self = Self::new(self.counts);
    }

    /// What was counted in the newest `slots` slots. While these hold fewer than 20 results, older ones are looked at
    /// too: few requests are judged by a longer time.
    pub fn look_back(&self, slots: usize) -> Counts {
        let mut sum = Counts::default();
        for age in 0..SLOTS {
            if age >= slots && sum.results() >= ENOUGH {
                break;
            }
            sum = sum.plus(&self.slots[(self.newest + SLOTS - age) % SLOTS]);
        }
        Counts { in_flight: self.counts.in_flight, ..sum }
    }
}

/// 30 s: the longest look-back.
pub(super) const SLOTS: usize = 60;
/// With this many results a mean says something.
const ENOUGH: u64 = 20;

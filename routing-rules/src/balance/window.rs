//! The last half minute of an endpoint, in slots of one tick each.

use std::collections::VecDeque;

use super::evidence::Counts;

/// The length of a tick, and so of a slot: 0.5 s.
pub const TICK_US: u64 = 500_000;

/// What was counted in each of the newest 60 slots.
#[derive(Clone, Debug)]
pub struct Window {
    /// The newest first. Most endpoints of a large set never have one.
    slots: VecDeque<Counts>,
    /// The counters as they were when the newest slot was closed.
    counts: Counts,
}

impl Window {
    /// An empty window over counters that stand as `counts` says.
    pub fn new(counts: Counts) -> Self {
        Self { slots: VecDeque::new(), counts }
    }

    /// Closes a slot: what was counted since the last time.
    pub fn close_slot(&mut self, counts: Counts) {
        self.slots.truncate(SLOTS - 1);
        self.slots.push_front(counts.since(&self.counts));
        self.counts = counts;
    }

    /// Forgets all slots. What is in flight stays, because it still is.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// What was counted in the newest `slots` slots. While these hold fewer than 20 results, older ones are looked at
    /// too: few requests are judged by a longer time.
    pub fn look_back(&self, slots: usize) -> Counts {
        let mut sum = Counts::default();
        for (age, slot) in self.slots.iter().enumerate() {
            if age >= slots && sum.results() >= ENOUGH {
                break;
            }
            sum = sum.plus(slot);
        }
        Counts { in_flight: self.counts.in_flight, ..sum }
    }
}

/// 30 s: the longest look-back.
pub(super) const SLOTS: usize = 60;
/// With this many results a mean says something.
const ENOUGH: u64 = 20;

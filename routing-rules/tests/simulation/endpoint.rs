//! An endpoint: a queue, first come first served, some at a time.

use std::collections::VecDeque;

use routing_rules::breaker;

/// What is at work, and who waits.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// How many it serves at a time.
    pub(crate) slots: usize,
    /// Times of its requests are multiplied by this.
    pub(crate) slowdown: f64,
    /// The part of its answers that are a 500.
    pub(crate) error_rate: f64,
    /// How every request ends, if it is broken.
    pub(crate) broken: Option<breaker::Outcome>,
    /// How far away it is: added to every answer, while nobody waits for it there.
    pub(crate) distance_us: u64,
    busy: usize,
    /// Places of requests with their numbers; those that were cut off are still among them.
    waiting: VecDeque<(usize, u64)>,
    /// It stands still until then.
    stalled_until_us: u64,
    /// How long it has stood still altogether, the stall of now included.
    stalled_us: u64,
}

impl Endpoint {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            slowdown: 1.0,
            error_rate: 0.0,
            broken: None,
            distance_us: 0,
            busy: 0,
            waiting: VecDeque::new(),
            stalled_until_us: 0,
            stalled_us: 0,
        }
    }

    /// A request comes; whether it is served at once.
    pub(crate) fn enter(&mut self, place: usize, number: u64) -> bool {
        if self.busy < self.slots {
            self.busy += 1;
            return true;
        }
        self.waiting.push_back((place, number));
        false
    }

    /// A request that was served leaves; who is next.
    pub(crate) fn leave(&mut self, is_there: impl Fn(usize, u64) -> bool) -> Option<usize> {
        let next = std::iter::from_fn(|| self.waiting.pop_front()).find(|(place, number)| is_there(*place, *number));
        self.busy -= usize::from(next.is_none());
        next.map(|(place, _)| place)
    }

    pub(crate) fn stall(&mut self, now_us: u64, length_us: u64) {
        let until_us = self.stalled_until_us.max(now_us + length_us);
        self.stalled_us += until_us - self.stalled_until_us.max(now_us);
        self.stalled_until_us = until_us;
    }

    /// The endpoint's own clock, which stops while it stands still.
    pub(crate) fn clock_us(&self, now_us: u64) -> u64 {
        now_us.max(self.stalled_until_us) - self.stalled_us
    }

    /// When the endpoint's clock will show a time, if it is not yet that late.
    pub(crate) fn until(&self, now_us: u64, clock_us: u64) -> Option<u64> {
        let left_us = clock_us.checked_sub(self.clock_us(now_us)).filter(|left_us| *left_us > 0)?;
        Some(self.stalled_until_us.max(now_us) + left_us)
    }
}

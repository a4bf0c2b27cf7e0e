//! What will happen, in the order of time. Of two events of one moment the one that was planned first comes first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events still to come.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64, E)>>,
    planned: u64,
}

impl<E: Ord> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }

    pub(crate) fn plan(&mut self, at_us: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse((at_us, self.planned, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|Reverse((at_us, _, event))| (at_us, event))
    }
}

//! Where one worker stands in the schedules of an upstream.

/// A worker's own place and order. Workers that began at the same place, or met the endpoints in the same order, would
/// send their requests to the same endpoint at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    pub(super) seq: u64,
    /// The endpoints in the order they are passed.
    pub(super) order: Box<[u32]>,
}

impl Turns {
    /// A random place and order for `len` endpoints. New ones are drawn when members come or go, and at no other
    /// time: a change of the weights must not begin a new round.
    pub fn new(len: usize, mut draw: impl FnMut() -> u64) -> Self {
        let mut turns = Self::in_order(len);
        turns.seq = draw();
        // Fisher and Yates: each order is as likely as any other.
        for last in (1..len).rev() {
            turns.order.swap(last, below(draw(), last + 1));
        }
        turns
    }

    /// From the beginning, in the order of the endpoints.
    pub fn in_order(len: usize) -> Self {
        Self { seq: 0, order: (0..len as u32).collect() }
    }

    /// How many endpoints it is for.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether it is for no endpoints.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// A draw scaled to a number below `end`.
fn below(draw: u64, end: usize) -> usize {
    ((u128::from(draw) * end as u128) >> 64) as usize
}

//! How much is read from endpoints at a time.
//!
//! Reading much at a time is cheap, and all that was read waits here until its client has room. Thousands of clients that read
//! slowly, or not at all, would make hundreds of mebibytes of it: the more answers are under way, the less is read of each.

use std::cell::Cell;
use std::rc::Rc;

/// The answers under way at a worker.
#[derive(Clone, Default)]
pub(crate) struct ReadBudget(Rc<Cell<usize>>);

/// One of them, until dropped.
pub(crate) struct Share(ReadBudget);

impl ReadBudget {
    /// One more answer is under way.
    pub(crate) fn join(&self) -> Share {
        self.0.set(self.0.get() + 1);
        Share(self.clone())
    }

    /// How much each of them may read at a time, in bytes.
    pub(crate) fn each(&self) -> usize {
        (ALL / self.0.get().max(1)).max(LEAST)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Self(ReadBudget(count)) = self;
        count.set(count.get() - 1);
    }
}

/// What all answers of a worker may have read at a time, in bytes: 16 of them as much as makes a difference.
const ALL: usize = 4 << 20;

/// What is read in any case: a frame of HTTP/2, a record of TLS.
const LEAST: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_under_way_the_less_is_read_of_each() {
        let read_budget = ReadBudget::default();
        assert_eq!(read_budget.each(), ALL);
        let mut shares: Vec<Share> = (0..16).map(|_| read_budget.join()).collect();
        assert_eq!(read_budget.each(), 256 << 10);
        shares.extend((0..10_000).map(|_| read_budget.join()));
        assert_eq!(read_budget.each(), LEAST);
        shares.clear();
        assert_eq!(read_budget.each(), ALL);
    }
}

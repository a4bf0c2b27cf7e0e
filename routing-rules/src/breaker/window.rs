//! The results of the last ten seconds, in slots of one second.
//!
//! A window is fed by one reader with differences of the workers' counters and is cut to what a [`Layout`] counts. It
//! neither judges nor reads a clock. Time that goes back is taken as time that stands still.

use super::Layout;

/// Counts of the last ten seconds.
#[derive(Clone, Debug)]
pub struct Window {
    /// Slots one after the other, each a row.
    slots: Box<[u32]>,
    /// The sum of the slots.
    total: Box<[u64]>,
    /// The second the newest slot stands for.
    newest: u64,
}

impl Window {
    /// An empty window for rows of this layout.
    pub fn new(layout: &Layout) -> Self {
        let cells = layout.cells();
        Self { slots: vec![0; cells * SLOTS].into(), total: vec![0; cells].into(), newest: 0 }
    }

    /// Lets go of what is older than ten seconds.
    pub fn advance(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        let gone = second.saturating_sub(self.newest).min(SLOTS as u64);
        self.newest = self.newest.max(second);
        for back in 0..gone {
            let slot = self.slot(self.newest - back);
            for (total, count) in self.total.iter_mut().zip(&mut self.slots[slot]) {
                *total -= u64::from(std::mem::take(count));
            }
        }
    }

    /// Adds what was counted since the last time. A row that is too long is cut, one that is too short has zeros.
    pub fn add(&mut self, now_ms: u64, row: &[u64]) {
        self.advance(now_ms);
        let slot = self.slot(self.newest);
        let cells = self.total.iter_mut().zip(&mut self.slots[slot]);
        for ((total, count), more) in cells.zip(row) {
            // The slot saturates, and the total stays the sum of the slots.
            let more = u32::try_from(*more).unwrap_or(u32::MAX).min(u32::MAX - *count);
            *count += more;
            *total += u64::from(more);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.total.fill(0);
    }

    /// The row of the whole window.
    pub fn total(&self) -> &[u64] {
        &self.total
    }

    fn slot(&self, second: u64) -> std::ops::Range<usize> {
        let (cells, index) = (self.total.len(), (second % SLOTS as u64) as usize);
        index * cells..(index + 1) * cells
    }
}

const SLOTS: usize = 10;

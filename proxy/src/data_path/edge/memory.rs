//! The memory that the encoders of one worker may take. An answer takes its share before its first byte, and for as long as it is
//! being compressed, which is as long as its client likes: so there is a limit, and who finds nothing left is not compressed for.

use std::cell::Cell;
use std::rc::Rc;

/// What is left.
pub(crate) struct EncoderMemory {
    bytes: Rc<Cell<usize>>,
}

/// What one encoder takes, until dropped.
pub(super) struct Share {
    of: Rc<Cell<usize>>,
    bytes: usize,
}

impl Default for EncoderMemory {
    fn default() -> Self {
        Self { bytes: Rc::new(Cell::new(ALL)) }
    }
}

impl EncoderMemory {
    /// So many bytes of it, if they are left.
    pub(super) fn take(&self, bytes: usize) -> Option<Share> {
        self.bytes.set(self.bytes.get().checked_sub(bytes)?);
        Some(Share { of: Rc::clone(&self.bytes), bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.set(self.of.get() + self.bytes);
    }
}

/// Of one worker, in bytes: answers of unknown length to some forty clients at once with zstd, or 160 with gzip. Most answers are
/// shorter and over within milliseconds.
const ALL: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let memory = EncoderMemory::default();
        let shares: Vec<Share> = std::iter::from_fn(|| memory.take(ALL / 10)).collect();
        assert_eq!(shares.len(), 10);
        drop(shares);
        assert!(memory.take(ALL).is_some() && memory.take(ALL + 1).is_none());
    }
}

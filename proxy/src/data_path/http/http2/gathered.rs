//! What a connection has to write in one turn, kept until the turn ends.
//!
//! h2 writes each part of an answer by itself. Answers of many streams are often ready in the same turn: together they cost one
//! call of the system, and one record of TLS, where each would cost its own. Large parts are not worth a copy and go out at once.

use std::cell::Cell;
use std::io::IoSlice;

/// Bytes that the stream has not been given.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// So many of them are written.
    written: usize,
}

impl Gathered {
    /// Keeps all of `bufs` if there is room for them. Returns whether there was.
    pub(super) fn keep(&mut self, bufs: &[IoSlice<'_>]) -> bool {
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.left().len() + length > ROOM {
            return false;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.take();
        }
        self.bytes.drain(..self.written);
        self.written = 0;
        bufs.iter().for_each(|buf| self.bytes.extend_from_slice(buf));
        true
    }

    /// What is to be written before all that follows.
    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many more bytes are written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.left().is_empty() {
            // Whoever has nothing to write needs no room, and most have nothing most of the time.
            self.bytes.clear();
            self.written = 0;
            SPARE.set(std::mem::take(&mut self.bytes));
        }
    }
}

/// Bytes that are kept at most: a record of TLS, a frame of HTTP/2.
const ROOM: usize = 16 << 10;

thread_local! {
    /// What the last connection that wrote has left.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_left_in_order_until_it_is_written() {
        let mut gathered = Gathered::default();
        assert!(gathered.keep(&[IoSlice::new(b"one "), IoSlice::new(b"two ")]));
        gathered.advance(5);
        assert_eq!(gathered.left(), b"wo ");
        assert!(gathered.keep(&[IoSlice::new(b"three")]));
        assert_eq!(gathered.left(), b"wo three");
        assert!(!gathered.keep(&[IoSlice::new(&vec![0; ROOM])]));
        assert_eq!(gathered.left(), b"wo three");
        gathered.advance(8);
        assert!(gathered.left().is_empty());
        assert_eq!(gathered.bytes.capacity(), 0);
    }
}

//! What is at the endpoints of an upstream, as one worker knows it: its own requests exactly, those of the other workers as
//! of a moment ago.
//!
//! Only what a request asks for is looked at, so that a choice among many endpoints costs no more than one among few.

use std::cell::Cell;

/// A number that the other workers write, read anew when it is asked for and older than [`STALE_US`]: reading it for every
/// request would take it out of its writers' caches.
#[derive(Default)]
pub(super) struct Look(Cell<Option<(u64, u32)>>);

impl Look {
    pub(super) fn at(&self, now_us: u64, read: impl FnOnce() -> u32) -> u32 {
        match self.0.get() {
            Some((looked_us, number)) if now_us.saturating_sub(looked_us) < STALE_US => number,
            _ => {
                let number = read();
                self.0.set(Some((now_us, number)));
                number
            }
        }
    }
}

/// 16 workers and pauses of 200 ms at each endpoint: p99 56 ms when the others' loads are 2 ms old, as when they are exact;
/// 70 ms when they are 50 ms old, 186 ms without them (`routing-rules/tests/simulation`).
const STALE_US: u64 = 2_000;

//! How often clients have requests end in a reset, by where they come from and over all workers: who is ended on one
//! connection could go on with the next.
//!
//! A table of fixed size, which sources find their place in by a keyed hash. Those that share a place share its counts, and
//! nobody can choose whom to share with; a connection is never ended for what others did alone. Nothing is counted here
//! while nothing is reset.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::snapshot::client_network;

/// The counts of all sources.
pub(super) struct Resets {
    hashing: RandomState,
    places: Box<[Counts]>,
}

/// One source, as one of its connections sees it.
pub(super) struct Source {
    resets: Arc<Resets>,
    place: usize,
}

#[derive(Default)]
struct Counts {
    /// Which stretch of time they are of.
    window: AtomicU64,
    streams: AtomicU32,
    resets: AtomicU32,
}

impl Resets {
    pub(super) fn new() -> Self {
        Self { hashing: RandomState::new(), places: (0..PLACES).map(|_| Counts::default()).collect() }
    }

    pub(super) fn of(self: &Arc<Self>, peer: IpAddr) -> Source {
        let place = self.hashing.hash_one(client_network(peer)) as usize % PLACES;
        Source { resets: Arc::clone(self), place }
    }
}

impl Source {
    /// Counts requests of a connection, and resets among them. Returns how many of each its source had in this window.
    pub(super) fn count(&self, window: u64, streams: u32, resets: u32) -> (u32, u32) {
        let counts = &self.resets.places[self.place];
        let before = counts.window.swap(window, Relaxed);
        if before != window {
            // Two workers may both begin the window, and one of them lose what the other has counted: a few of a hundred.
            counts.streams.store(0, Relaxed);
            counts.resets.store(0, Relaxed);
        }
        let streams = counts.streams.fetch_add(streams, Relaxed).saturating_add(streams);
        let resets = counts.resets.fetch_add(resets, Relaxed).saturating_add(resets);
        (streams, resets)
    }
}

/// 64 KiB in all; far more than there are sources with resets in ten seconds.
const PLACES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_source_are_counted_together_and_begin_anew_with_the_window() {
        let resets = Arc::new(Resets::new());
        let of = |peer: &str| resets.of(peer.parse().expect("an address"));
        let (one, same, other) = (of("2001:db8::1"), of("2001:db8::ffff:2"), of("192.0.2.1"));
        assert_eq!(one.place, same.place);
        assert_eq!((one.count(7, 10, 3), same.count(7, 20, 4)), ((10, 3), (30, 7)));
        assert!(other.place == one.place || other.count(7, 1, 1) == (1, 1));
        assert_eq!(same.count(8, 1, 1), (1, 1));
    }
}

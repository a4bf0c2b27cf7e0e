//! How many requests each key has in flight, in memory that is bounded and used as far as there are keys.
//!
//! A key belongs to one set of eight slots; a slot is one atomic number, so that a count changes with one
//! compare-and-exchange and needs no lock. A slot whose count has come down to 0 is anybody's. Two workers that put the
//! same key into a set at the same moment, while a third leaves it, may put it into two slots: counts of a key are summed up,
//! so such a race lets one request too many in at most for each worker. Where all eight slots are taken by others a request
//! is let in without being counted.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Counts by key.
pub(super) struct InFlightCounts {
    /// Made when they are first used: most limits have few clients at a time.
    pages: [OnceLock<Box<Page>>; PAGES],
}

/// What a request of a key meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is counted until [`InFlightCounts::leave`].
    Counted(Slot),
    /// It goes on without being counted, because the table is full there.
    Uncounted,
    /// Its key has as many in flight as it may have.
    Full,
}

/// Where a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    page: usize,
    set: usize,
    way: usize,
}

type Page = [Set; SETS];

/// The slots a key may be in: each the key's tag above its count.
#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl Default for InFlightCounts {
    fn default() -> Self {
        Self { pages: array::from_fn(|_| OnceLock::new()) }
    }
}

impl InFlightCounts {
    /// Counts a request of the key with this hash, unless there are `limit` already.
    pub(super) fn enter(&self, hash: u64, limit: u32) -> Entry {
        let (page, set) = (hash as usize % PAGES, hash as usize / PAGES % SETS);
        let tag = hash & !COUNT;
        let ways = &self.pages[page].get_or_init(Box::default)[set].0;
        loop {
            let seen: [u64; WAYS] = array::from_fn(|way| ways[way].load(Relaxed));
            let is_own = |bits: &u64| bits & !COUNT == tag && bits & COUNT > 0;
            let count: u64 = seen.iter().filter(|bits| is_own(bits)).map(|bits| bits & COUNT).sum();
            if count >= u64::from(limit) {
                return Entry::Full;
            }
            let own = seen.iter().position(is_own);
            let Some(way) = own.or_else(|| seen.iter().position(|bits| bits & COUNT == 0)) else {
                return Entry::Uncounted;
            };
            let next = if own.is_some() { seen[way] + 1 } else { tag | 1 };
            if ways[way].compare_exchange(seen[way], next, Relaxed, Relaxed).is_ok() {
                return Entry::Counted(Slot { page, set, way });
            }
        }
    }

    /// A request that was counted is no longer in flight.
    pub(super) fn leave(&self, Slot { page, set, way }: Slot) {
        if let Some(page) = self.pages[page].get() {
            page[set].0[way].fetch_sub(1, Relaxed);
        }
    }
}

const WAYS: usize = 8;
/// 2 KiB in a page, 512 KiB in all. With 30,000 keys at the same time one of 200 finds all eight slots taken.
const SETS: usize = 32;
const PAGES: usize = 256;
/// A count is at most 1,000,000. What is left for the tag are the 44 upper bits of the hash.
const COUNT: u64 = (1 << 20) - 1;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn each_key_has_its_own_count() {
        let counts = InFlightCounts::default();
        let hashing = RandomState::new();
        let enter = |key: u32| counts.enter(hashing.hash_one(key), 2);
        let slots: Vec<_> = (0..1_000).map(|key| (enter(key), enter(key), enter(key))).collect();
        for (first, second, third) in slots {
            let Entry::Counted(slot) = first else { panic!("{first:?}") };
            assert_eq!((second, third), (first, Entry::Full));
            counts.leave(slot);
            counts.leave(slot);
        }
        assert_ne!(enter(1), Entry::Full);
    }

    #[test]
    fn a_flood_of_keys_is_let_in_and_takes_no_more_memory() {
        let counts = InFlightCounts::default();
        let hashing = RandomState::new();
        let entries: Vec<Entry> = (0..200_000).map(|key: u32| counts.enter(hashing.hash_one(key), 1)).collect();
        let counted = entries.iter().filter(|entry| matches!(entry, Entry::Counted(_))).count();
        let uncounted = entries.iter().filter(|entry| **entry == Entry::Uncounted).count();
        // Keys fall where they like: seldom is a slot left.
        let slots = PAGES * SETS * WAYS;
        assert!((slots - 20..=slots).contains(&counted) && counted + uncounted > 199_990, "{counted}, {uncounted}");
        for entry in entries {
            if let Entry::Counted(slot) = entry {
                counts.leave(slot);
            }
        }
        let pages = counts.pages.iter().filter_map(OnceLock::get);
        assert!(pages.flat_map(|page| page.iter()).all(|set| set.0.iter().all(|bits| bits.load(Relaxed) & COUNT == 0)));
    }

    #[test]
    fn workers_keep_the_limit_together() {
        let (counts, hash) = (InFlightCounts::default(), RandomState::new().hash_one(7));
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let run = || {
            for _ in 0..100_000 {
                if let Entry::Counted(slot) = counts.enter(hash, 3) {
                    most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                    inside.fetch_sub(1, Relaxed);
                    counts.leave(slot);
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
        // Nobody else's key is there, so there is no race for slots.
        assert!(most.into_inner() <= 3);
    }
}

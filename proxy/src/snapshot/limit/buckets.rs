//! The token buckets of a rate limit, in memory that is bounded and used as far as there are clients.
//!
//! Workers share the buckets without a lock. One token costs one compare-and-exchange; a bucket that is put in the place of
//! another claims the slot first, so that nobody takes a token of the wrong one. In a race of threads that are
//! interrupted in the middle of it a client may get its burst twice; nobody is refused who has a token.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use routing_rules::limit::{Rate, Slot, Taken, slot};

/// Buckets by key.
pub(in crate::snapshot) struct Buckets {
    rate: Rate,
    /// Made when they are first used: most limits have few clients at a time.
    pages: [OnceLock<Box<Page>>; PAGES],
}

/// One bucket that all share.
pub(super) struct Bucket {
    rate: Rate,
    full_at: AtomicU64,
}

type Page = [Set; SETS];

/// The slots a key may be in.
#[derive(Default)]
#[repr(align(128))]
struct Set([Shared; WAYS]);

/// Key and number of a bucket; key 0 is nobody's.
#[derive(Default)]
struct Shared {
    key: AtomicU64,
    full_at: AtomicU64,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: AtomicU64::new(0) }
    }

    pub(super) fn take(&self, now_us: u64) -> Taken {
        loop {
            let full_at = self.full_at.load(Acquire);
            let token = self.rate.take(full_at, now_us);
            if !matches!(token, Ok(next) if !swap(&self.full_at, full_at, next)) {
                return Taken { token: token.map(drop), evicted: false };
            }
        }
    }
}

impl Buckets {
    pub(in crate::snapshot) fn new(rate: Rate) -> Self {
        Self { rate, pages: array::from_fn(|_| OnceLock::new()) }
    }

    /// Takes a token from the bucket of a key with this hash.
    pub(in crate::snapshot) fn take(&self, hash: u64, now_us: u64) -> Taken {
        let (key, set) = (hash.clamp(1, CLAIMED - 1), self.set(hash));
        for spins in 0..u64::MAX {
            let seen = set.look();
            if seen.iter().any(|(key, _)| *key == CLAIMED) && spins < PATIENCE {
                std::hint::spin_loop();
                continue;
            }
            let taken = match slot(&seen, key, now_us) {
                Some(Slot::Found(place)) => self.take_in(&set.0[place], seen[place], now_us),
                Some(Slot::Free(place)) => self.put_in(&set.0[place], seen[place], key, now_us, false),
                Some(Slot::Evicts(place)) => self.put_in(&set.0[place], seen[place], key, now_us, true),
                None => break,
            };
            if let Some(taken) = taken {
                return taken;
            }
        }
        Taken { token: Ok(()), evicted: false }
    }

    /// Gives a token back. A bucket that has given way to another since then is full again anyhow.
    pub(in crate::snapshot) fn give_back(&self, hash: u64) {
        let (key, set) = (hash.clamp(1, CLAIMED - 1), self.set(hash));
        while let Some(shared) = set.0.iter().find(|shared| shared.key.load(Acquire) == key) {
            let full_at = shared.full_at.load(Acquire);
            if swap(&shared.full_at, full_at, self.rate.give_back(full_at)) {
                return;
            }
        }
    }

    /// Takes from a bucket that is there. `None` if another worker was quicker.
    fn take_in(&self, shared: &Shared, (_, full_at): (u64, u64), now_us: u64) -> Option<Taken> {
        let token = self.rate.take(full_at, now_us);
        let is_done = !matches!(token, Ok(next) if !swap(&shared.full_at, full_at, next));
        is_done.then(|| Taken { token: token.map(drop), evicted: false })
    }

    /// Takes from a bucket that is full, and puts it in the place of another. `None` if another worker was quicker.
    fn put_in(
        &self,
        shared: &Shared,
        (old, full_at): (u64, u64),
        key: u64,
        now_us: u64,
        evicted: bool,
    ) -> Option<Taken> {
        if old == CLAIMED {
            // All are claimed, by threads that do not run: nothing is known, so nobody is refused.
            return Some(Taken { token: Ok(()), evicted: false });
        }
        if !swap(&shared.key, old, CLAIMED) {
            return None;
        }
        if shared.full_at.load(Acquire) != full_at {
            shared.key.store(old, Release);
            return None;
        }
        let token = self.rate.take(0, now_us).map(|full_at| shared.full_at.store(full_at, Release));
        shared.key.store(key, Release);
        Some(Taken { token, evicted })
    }

    fn set(&self, hash: u64) -> &Set {
        let (page, set) = (hash as usize % PAGES, hash as usize / PAGES % SETS);
        &self.pages[page].get_or_init(Box::default)[set]
    }
}

impl Set {
    /// Keys and numbers; those being claimed are nobody's choice.
    fn look(&self) -> [(u64, u64); WAYS] {
        array::from_fn(|place| {
            let key = self.0[place].key.load(Acquire);
            let full_at = self.0[place].full_at.load(Acquire);
            (key, if key == CLAIMED { u64::MAX } else { full_at })
        })
    }
}

fn swap(place: &AtomicU64, old: u64, new: u64) -> bool {
    place.compare_exchange(old, new, AcqRel, Acquire).is_ok()
}

/// The key of a slot that is about to get another.
const CLAIMED: u64 = u64::MAX;

const WAYS: usize = 8;
/// 4 KiB in a page, 1 MiB in all: 65,536 clients whose buckets are not full, at the same time.
const SETS: usize = 32;
const PAGES: usize = 256;

/// A claim takes two stores; who waits longer goes on without.
const PATIENCE: u64 = 100;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};
    use std::time::Duration;

    use super::*;

    fn hourly(burst: u32) -> Rate {
        Rate::new(1, Duration::from_secs(3_600), burst)
    }

    /// How many of the threads' requests, each for all of the values, get a token.
    fn granted(buckets: &Buckets, values: u64, rounds: usize) -> usize {
        let hashing = RandomState::new();
        let take = |value: u64| buckets.take(hashing.hash_one(value), 1).token.is_ok();
        let run = || (0..rounds).map(|_| (0..values).filter(|value| take(*value)).count()).sum::<usize>();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        })
    }

    #[test]
    fn workers_share_each_token_once() {
        for (values, burst) in [(1, 1), (1, 1_000), (500, 7)] {
            let granted = granted(&Buckets::new(hourly(burst)), values, 300);
            let wanted = (values * u64::from(burst.min(1_200))) as usize;
            // Each of the four threads may be interrupted while it puts a bucket in its place.
            let at_most = wanted + 4 * burst as usize;
            assert!((wanted..=at_most).contains(&granted), "{granted}: {values} values, {burst} at once");
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let buckets = Buckets::new(hourly(2));
        let take = |now_us| buckets.take(7, now_us).token.is_ok();
        assert!(take(1) && take(1) && !take(1));
        buckets.give_back(7);
        assert!(take(1) && !take(1));
        buckets.give_back(8);
        assert!(!take(1), "that was another one's");
    }

    #[test]
    fn a_flood_of_keys_evicts_and_takes_no_more_memory() {
        let (buckets, hashing) = (Buckets::new(hourly(2)), RandomState::new());
        let mut evicted = 0;
        for value in 0..200_000_u32 {
            let taken = buckets.take(hashing.hash_one(value), 1);
            assert_eq!(taken.token, Ok(()));
            evicted += usize::from(taken.evicted);
        }
        assert!(evicted >= 200_000 - PAGES * SETS * WAYS, "{evicted}");
        let later = 3 * 3_600_000_000;
        let evicts = |value: u32| buckets.take(hashing.hash_one(value), later).evicted;
        // So few that no set has more than eight of them: one of 100 million runs would.
        assert_eq!((0..1_000).filter(|value| evicts(*value)).count(), 0, "full buckets give way freely");
    }
}

//! Token buckets by key, in bounded memory.
//!
//! A key belongs to one set of eight slots. If all are taken by others, the bucket that is fullest gives way: a full one
//! loses nothing, and another gives one client its burst back. So a flood of keys costs accuracy, counted by the caller, and
//! never memory. Keys are hashes with a secret seed, or a client could aim at another's set. [`slot`] is the rule alone, for
//! who keeps the slots in atomics; [`Table`] owns its slots.

use super::{Rate, Wait};

/// Where the bucket of a key is, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It is there.
    Found(usize),
    /// It can be put there, and nobody loses anything.
    Free(usize),
    /// It can be put there; the bucket of somebody else, which is not full, is forgotten.
    Evicts(usize),
}

/// Finds a key among the slots of its set: pairs of key and [`Rate`]'s number. Nothing if there are no slots.
pub fn slot(set: &[(u64, u64)], key: u64, now_us: u64) -> Option<Slot> {
    if let Some(index) = set.iter().position(|(own, full_at)| *own == key && *full_at != 0) {
        return Some(Slot::Found(index));
    }
    let (index, (_, full_at)) = set.iter().enumerate().min_by_key(|(_, (_, full_at))| *full_at)?;
    match Rate::is_full(*full_at, now_us) {
        true => Some(Slot::Free(index)),
        false => Some(Slot::Evicts(index)),
    }
}

/// Buckets of many keys.
#[derive(Clone, Debug)]
pub struct Table {
    rate: Rate,
    slots: Box<[(u64, u64)]>,
    /// The number of sets less one; sets are a power of two.
    mask: u64,
}

/// What came of taking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was one.
    pub token: Result<(), Wait>,
    /// Whether another bucket that was not full was forgotten: the table is too small for its traffic.
    pub evicted: bool,
}

impl Table {
    /// For about so many keys at a time, 8 at least and 2^24 at most.
    pub fn new(rate: Rate, keys: usize) -> Self {
        let sets = keys.clamp(WAYS, 1 << 24).div_ceil(WAYS).next_power_of_two();
        Self { rate, slots: vec![(0, 0); sets * WAYS].into(), mask: sets as u64 - 1 }
    }

    /// Takes a token from the bucket of a key. A bucket that is not there is full.
    pub fn take(&mut self, key: u64, now_us: u64) -> Taken {
        let start = (key & self.mask) as usize * WAYS;
        let set = &mut self.slots[start..start + WAYS];
        let found = slot(set, key, now_us);
        let (index, full_at, evicted) = match found {
            Some(Slot::Found(index)) => (index, set[index].1, false),
            Some(Slot::Free(index)) => (index, 0, false),
            Some(Slot::Evicts(index)) => (index, 0, true),
            None => return Taken { token: Ok(()), evicted: false },
        };
        let taken = self.rate.take(full_at, now_us);
        if let Ok(full_at) = taken {
            set[index] = (key, full_at);
        }
        Taken { token: taken.map(|_| ()), evicted }
    }
}

const WAYS: usize = 8;

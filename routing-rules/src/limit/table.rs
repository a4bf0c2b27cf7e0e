//! Token buckets by key, in bounded memory.
//!
//! A key belongs to one set of eight slots. If all are taken by others, the bucket that is fullest gives way: a full one
//! loses nothing, and another gives one client its burst back. So a flood of keys costs accuracy, counted by the caller, and
//! never memory. Keys are hashes with a secret seed, or a client could aim at another's set. The slots themselves are the
//! caller's, who keeps them in atomics.

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

/// What came of taking a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was one.
    pub token: Result<(), Wait>,
    /// Whether another bucket that was not full was forgotten: the table is too small for its traffic.
    pub evicted: bool,
}

//! What a store of records has to do. There is one for each source of rules that can write.

use std::fmt;
use std::pin::Pin;

use routing_rules::rules::Name;

use super::Entry;

/// Whether an entry may be written where the newest has this number, or 0 if there is none.
///
/// # Errors
/// Somebody else has written a newer one.
pub(super) fn follows(newest: u64, entry: &Entry) -> Result<(), StoreError> {
    match newest == 0 || entry.record.number == newest + 1 {
        true => Ok(()),
        false => Err(StoreError::Overtaken),
    }
}

/// An answer that takes a while.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps the newest record of each release, and those before.
///
/// Records are numbered, and one with the number n is written only where n - 1 is the newest, or where there is none: whoever
/// reads, decides and writes notices that somebody else was faster.
pub trait Store: Send + Sync {
    /// The newest entry of a release, as the store has it at this moment, and at which revision that was written; 0 if nobody
    /// else follows.
    fn newest<'a>(&'a self, release: &'a Name) -> Answer<'a, Option<(Entry, i64)>>;

    /// Adds an entry behind the one whose number is lower by one, which was written at that revision. Returns at which revision of
    /// the store, for those that wait until all instances have it; 0 if there are no others.
    fn add<'a>(&'a self, release: &'a Name, entry: &'a Entry, behind: i64) -> Answer<'a, i64>;

    /// The last entries of a release, the newest first: no more than so many.
    fn history<'a>(&'a self, release: &'a Name, most: usize) -> Answer<'a, Vec<Entry>>;
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Somebody else has written a newer entry.
    Overtaken,
    /// Whoever asks may not: another instance is in charge of what happens by itself.
    NotInCharge,
    /// It cannot be reached, or not be written.
    Unreachable(String),
    /// What it has cannot be read.
    Damaged(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overtaken => f.write_str("somebody else has changed the release meanwhile"),
            Self::NotInCharge => f.write_str("another instance leads the fleet"),
            Self::Unreachable(reason) => write!(f, "the state of releases cannot be stored: {reason}"),
            Self::Damaged(reason) => write!(f, "the stored state cannot be read: {reason}"),
        }
    }
}

/// Entries of one release that are kept.
pub(super) const MOST_ENTRIES: usize = 500;

//! Passwords that were right lately. What was right stays so as long as its stored hash does, which is part of the digest; so those
//! in use stay known, and only those that nobody uses, or that are too many, are forgotten.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::looks::Digest;

/// Those of this time, and those of the time before.
pub(super) struct Known {
    now: HashSet<Digest>,
    before: HashSet<Digest>,
    since: Instant,
}

impl Known {
    pub(super) fn new(since: Instant) -> Self {
        Self { now: HashSet::new(), before: HashSet::new(), since }
    }

    /// Whether it is one of them. That is a use.
    pub(super) fn has(&mut self, digest: &Digest, at: Instant) -> bool {
        self.turn(at);
        self.now.contains(digest) || (self.before.remove(digest) && self.now.insert(*digest))
    }

    pub(super) fn insert(&mut self, digest: Digest, at: Instant) {
        self.turn(at);
        self.now.insert(digest);
    }

    /// Forgets what is old, or too much.
    fn turn(&mut self, at: Instant) {
        let age = at.saturating_duration_since(self.since);
        if age < REMEMBER && self.now.len() < MOST_KNOWN {
            return;
        }
        self.before = if age < 2 * REMEMBER { std::mem::take(&mut self.now) } else { HashSet::new() };
        self.now.clear();
        self.since = at;
    }
}

/// How long a password that nobody uses is known, at least; twice as long at most.
const REMEMBER: Duration = Duration::from_secs(5 * 60);

/// And how many, of each time: a third of a mebibyte.
const MOST_KNOWN: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest
    }

    #[test]
    fn what_was_right_is_forgotten_in_time() {
        let start = Instant::now();
        let mut known = Known::new(start);
        known.insert(digest(1), start);
        assert!(known.has(&digest(1), start + REMEMBER / 2));
        assert!(!known.has(&digest(1), start + 2 * REMEMBER));
        known.insert(digest(2), start + 2 * REMEMBER);
        assert!(!known.has(&digest(2), start + 4 * REMEMBER), "nobody asked meanwhile");
    }

    #[test]
    fn what_is_in_use_stays_known() {
        let start = Instant::now();
        let mut known = Known::new(start);
        known.insert(digest(1), start);
        for minute in 1..60 {
            assert!(known.has(&digest(1), start + minute * REMEMBER / 5), "{minute}");
        }
    }

    #[test]
    fn no_more_are_known_than_may_be() {
        let start = Instant::now();
        let mut known = Known::new(start);
        (0..100_000).for_each(|number| known.insert(digest(number), start));
        assert!(known.now.len() + known.before.len() <= 2 * MOST_KNOWN);
        assert!(known.has(&digest(99_999), start));
    }
}

//! Failures in a row, as one number that all workers share.
//!
//! The number fits into an atomic: a worker computes the next one and writes it only if it differs, which a success does
//! at most ten times a second. So a healthy endpoint costs a load, and a dead one is known to all workers at the last of
//! the failures. Nothing here reads a clock or owns the atomic.

use super::Outcome;

/// The rule: this many failures in a row.
///
/// ```
/// # use routing_rules::breaker::{Outcome, Streak};
/// let streak = Streak::new(2);
/// let mut state = Streak::start(0);
/// state = streak.next(state, Outcome::NetworkError, 10);
/// assert!(!streak.is_full(state));
/// state = streak.next(state, Outcome::Answer(503), 20);
/// assert!(streak.is_full(state));
/// assert!(!streak.is_full(streak.next(state, Outcome::Answer(200), 30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    limit: u16,
}

impl Streak {
    /// A streak is full after this many failures; of 0 it never is.
    pub fn new(limit: u16) -> Self {
        Self { limit }
    }

    /// The state from which nothing has been seen: also the time from which on timeouts are patient.
    pub fn start(now_ms: u64) -> u64 {
        pack(now_ms, 0)
    }

    /// The state after a result. A timeout counts only when nothing has succeeded for a second: a slow route beside quick
    /// ones would otherwise fill the streak of an endpoint that works.
    pub fn next(self, state: u64, outcome: Outcome, now_ms: u64) -> u64 {
        let (success_ms, failures) = unpack(state);
        let quiet_ms = now_ms.saturating_sub(success_ms);
        match outcome {
            Outcome::Answer(_) if !outcome.is_failure() => match failures == 0 && quiet_ms < FRESH_MS {
                true => state,
                false => pack(now_ms.max(success_ms), 0),
            },
            Outcome::Timeout if quiet_ms < PATIENCE_MS + FRESH_MS => state,
            _ => pack(success_ms, failures.saturating_add(1)),
        }
    }

    /// Whether the failures in a row are enough to open.
    pub fn is_full(self, state: u64) -> bool {
        self.limit > 0 && unpack(state).1 >= self.limit
    }
}

/// The failures stand in the low bits; 48 bits of milliseconds are 8,900 years.
fn pack(success_ms: u64, failures: u16) -> u64 {
    success_ms.min(u64::MAX >> COUNT_BITS) << COUNT_BITS | u64::from(failures)
}

fn unpack(state: u64) -> (u64, u16) {
    (state >> COUNT_BITS, state as u16)
}

const COUNT_BITS: u32 = 16;
/// How old the time of the last success may be before a further success writes it anew.
const FRESH_MS: u64 = 100;
const PATIENCE_MS: u64 = 1_000;

//! What became of requests that were to be mirrored, counted by outcome.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::add;

/// What became of a request that was to be mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// An endpoint answered, whatever it said.
    Answered,
    /// No connection, or no valid answer.
    Failed,
    /// No answer in time.
    TimedOut,
    /// Not sent: no endpoint took it.
    NoEndpoint,
    /// Not sent: too many were under way.
    TooMany,
    /// Not sent: the body was too large.
    TooLarge,
    /// Not sent: the request did not come whole.
    Incomplete,
}

/// What one worker counted. Only that worker writes.
#[derive(Default)]
#[repr(align(128))]
pub struct MirrorTally([AtomicU64; Mirrored::ALL.len()]);

impl Mirrored {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Failed,
        Self::TimedOut,
        Self::NoEndpoint,
        Self::TooMany,
        Self::TooLarge,
        Self::Incomplete,
    ];

    /// A stable word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::NoEndpoint => "no_endpoint",
            Self::TooMany => "too_many",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
        }
    }
}

impl MirrorTally {
    /// Counts one.
    pub fn count(&self, outcome: Mirrored) {
        add(&self.0[outcome as usize], 1);
    }

    /// How many had this outcome.
    pub fn total(&self, outcome: Mirrored) -> u64 {
        self.0[outcome as usize].load(Relaxed)
    }
}

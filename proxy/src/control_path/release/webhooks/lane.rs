//! One release on its way to one receiver: what is to be sent next, and when.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::courier::LONGEST_PAUSE;
use crate::control_path::etcd::pause;
use crate::control_path::release::Entry;

/// A lane. It is empty most of the time.
pub(super) struct Lane {
    /// The number of the newest record that is known.
    newest: u64,
    /// The highest number that history had when it was last read, or that was sent.
    read: u64,
    /// What was read of it and is not done with, the earliest first.
    ahead: VecDeque<Entry>,
    /// Failures in a row of the first of these, or of reading.
    failures: u32,
    due: Instant,
}

impl Lane {
    /// One whose receiver was told up to this number.
    pub(super) fn new(told: u64, now: Instant) -> Self {
        Self { newest: told, read: told, ahead: VecDeque::new(), failures: 0, due: now }
    }

    /// A record came into force here.
    pub(super) fn see(&mut self, number: u64, now: Instant) {
        if self.newest != number {
            self.newest = number;
            if self.ahead.is_empty() && self.failures == 0 {
                self.due = now;
            }
        }
    }

    /// When there is something to do; never if there is nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.ahead.is_empty() || self.newest != self.read).then_some(self.due)
    }

    /// What is to be sent.
    pub(super) fn first(&self) -> Option<&Entry> {
        self.ahead.front()
    }

    /// How many changes are not done with, as far as that is known.
    pub(super) fn backlog(&self) -> u64 {
        self.ahead.len() as u64 + self.newest.saturating_sub(self.read)
    }

    /// History was read up to this number, 0 if there is none.
    pub(super) fn fill(&mut self, ahead: Vec<Entry>, newest: u64, now: Instant) {
        let is_cut = ahead.len() > MOST_AHEAD;
        self.ahead = ahead.into_iter().take(MOST_AHEAD).collect();
        // What a receiver need not know is without its rules.
        self.ahead.iter_mut().for_each(|entry| entry.rules = None);
        let last = self.ahead.back().map_or(newest, |entry| entry.record.number);
        self.read = if is_cut { last } else { newest };
        self.failures = 0;
        // A rollback that holds here only is not in history yet. Nothing tells when it is.
        self.due = if self.ahead.is_empty() && self.read != self.newest { now + LOOK_AGAIN } else { now };
    }

    /// The first is done with.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Entry> {
        (self.failures, self.due) = (0, now);
        self.ahead.pop_front()
    }

    /// It did not work. Waits at least so long, if somebody asks for that. Returns how often in a row it has not worked.
    pub(super) fn fail(&mut self, wait: Option<Duration>, now: Instant) -> u32 {
        self.failures = self.failures.saturating_add(1);
        let wait = wait.unwrap_or_default().min(LONGEST_WAIT);
        self.due = now + pause(self.failures, LONGEST_PAUSE, crate::random::seed()).max(wait);
        self.failures
    }
}

/// Entries that are kept for one lane.
const MOST_AHEAD: usize = 20;

/// The longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

const LOOK_AGAIN: Duration = Duration::from_secs(2);

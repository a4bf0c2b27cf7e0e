//! Which counters a breaker needs, and which of them a result adds to.
//!
//! A row of counters is a slice of numbers; this type knows what stands where. So a worker can keep its row in atomics of
//! its own, the sum and the difference of rows are plain arithmetic, and a condition reads any row. Only the ranges of
//! codes and the latencies that a condition asks for are counted.

use super::{Condition, Outcome};

/// What stands where in a row of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    ranges: Box<[CodeRange]>,
    latency: bool,
}

/// Status codes from one, up to but not including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeRange {
    pub(super) from: u16,
    /// Above `from`.
    pub(super) to: u16,
}

impl Layout {
    pub(super) fn new(mut ranges: Vec<CodeRange>, latency: bool) -> Self {
        ranges.sort_by_key(|range| (range.from, range.to));
        ranges.dedup();
        Self { ranges: ranges.into(), latency }
    }

    /// What a breaker counts that has this condition, or none and opens by streaks only.
    pub fn of(condition: Option<&Condition>) -> Self {
        condition.map(|condition| condition.layout().clone()).unwrap_or_default()
    }

    /// How many counters a row has.
    pub fn cells(&self) -> usize {
        self.latency_at() + if self.latency { BUCKETS } else { 0 }
    }

    /// The counters that go up by one when a request ended so, after this time until the head of the response; `None` if the
    /// time says nothing.
    ///
    /// An outcome that is no result of its own ([`Outcome::BodyCut`]) adds to what has been counted before.
    pub fn touched(&self, outcome: Outcome, elapsed_us: Option<u64>) -> impl Iterator<Item = usize> {
        let always = [
            (RESULTS, outcome.is_result()),
            (NETWORK_ERRORS, outcome.is_network_error()),
            (FAILURES, outcome.is_failure()),
        ];
        let always = always.into_iter().filter(|(_, counts)| *counts).map(|(cell, _)| cell);
        let code = outcome.code();
        let in_range = move |range: &CodeRange| code.is_some_and(|code| (range.from..range.to).contains(&code));
        let codes = self.ranges.iter().enumerate().filter(move |(_, range)| in_range(range));
        let codes = codes.map(|(index, _)| CODES + index);
        let elapsed_us = elapsed_us.filter(|_| self.latency && outcome.has_latency());
        let latency = elapsed_us.map(|elapsed_us| self.latency_at() + bucket(elapsed_us));
        always.chain(codes).chain(latency)
    }

    /// Results in a row.
    pub fn results(counts: &[u64]) -> u64 {
        count(counts, RESULTS)
    }

    /// Network errors in a row.
    pub fn network_errors(counts: &[u64]) -> u64 {
        count(counts, NETWORK_ERRORS)
    }

    /// Network errors and answers of 500 and above in a row.
    pub fn failures(counts: &[u64]) -> u64 {
        count(counts, FAILURES)
    }

    pub(super) fn codes(&self, counts: &[u64], range: CodeRange) -> u64 {
        self.ranges.iter().position(|own| *own == range).map_or(0, |index| count(counts, CODES + index))
    }

    /// The latency that this percent of the answers do not exceed, rounded up to the end of its bucket (by 4 % at most); 0 without answers.
    pub(super) fn latency_ms(&self, counts: &[u64], percent: f64) -> f64 {
        let buckets = counts.get(self.latency_at()..self.cells()).unwrap_or_default();
        let total: u64 = buckets.iter().fold(0, |total, count| total.saturating_add(*count));
        let rank = (percent / 100.0 * total as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        let reached = buckets.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen as f64 >= rank
        });
        reached.map_or(0.0, |index| LOWEST_MS * ((index + 1) as f64 / PER_OCTAVE).exp2())
    }

    fn latency_at(&self) -> usize {
        CODES + self.ranges.len()
    }
}

fn count(counts: &[u64], cell: usize) -> u64 {
    counts.get(cell).copied().unwrap_or(0)
}

/// floor(16 · log2(ms / 0.1)), within the buckets.
fn bucket(elapsed_us: u64) -> usize {
    let octaves = (elapsed_us as f64 / 1_000.0 / LOWEST_MS).log2();
    // A conversion to an integer saturates: less than 0 becomes 0.
    ((octaves * PER_OCTAVE) as usize).min(BUCKETS - 1)
}

const RESULTS: usize = 0;
const NETWORK_ERRORS: usize = 1;
const FAILURES: usize = 2;
const CODES: usize = 3;
const BUCKETS: usize = 256;
const PER_OCTAVE: f64 = 16.0;
const LOWEST_MS: f64 = 0.1;

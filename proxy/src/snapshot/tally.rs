//! Requests that are over, counted by status class and duration: of a worker, of a route, of a group of a release.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

use super::add;

/// Upper bounds of the request duration buckets, in seconds: a factor of about 2.5 from one to the next.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How a request ended, looked up once for all tallies that count it.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    class: usize,
    bucket: usize,
    duration_us: u64,
}

/// What one worker counted. Only that worker writes.
#[derive(Default)]
#[repr(align(128))]
pub struct Tally {
    statuses: [AtomicU64; 5],
    durations: [AtomicU64; DURATION_BOUNDS.len() + 1],
    duration_us: AtomicU64,
}

/// The sum over workers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyTotals {
    /// By status class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub statuses: [u64; 5],
    /// By duration, by [`DURATION_BOUNDS`] and above.
    pub durations: [u64; DURATION_BOUNDS.len() + 1],
    /// Sum of all durations in microseconds.
    pub duration_us: u64,
}

impl Ended {
    /// A request that ended with this status after this time.
    pub fn new(status: StatusCode, duration_us: u64) -> Self {
        let seconds = duration_us as f64 / 1e6;
        Self {
            class: usize::from(status.as_u16() / 100).clamp(1, 5) - 1,
            bucket: DURATION_BOUNDS.partition_point(|bound| *bound < seconds),
            duration_us,
        }
    }
}

impl Tally {
    /// Counts one request.
    pub fn count(&self, ended: Ended) {
        add(&self.statuses[ended.class], 1);
        add(&self.durations[ended.bucket], 1);
        add(&self.duration_us, ended.duration_us);
    }

    /// Adds these counts to a sum.
    pub fn add_to(&self, sum: &mut TallyTotals) {
        let all = |totals: &mut [u64], counters: &[AtomicU64]| {
            totals.iter_mut().zip(counters).for_each(|(total, counter)| *total += counter.load(Relaxed));
        };
        all(&mut sum.statuses, &self.statuses);
        all(&mut sum.durations, &self.durations);
        sum.duration_us += self.duration_us.load(Relaxed);
    }
}

//! What was seen in five seconds: both arms in one record, records of all proxies added up, one sum for each stratum.
//!
//! Strata are what must not be thrown together because it fails differently: regions, or rules of one release. The
//! order of strata is that of their names, so the same records give the same sums of floating-point numbers everywhere.

use std::collections::BTreeMap;

use super::{Counts, Edges, Histogram, Metric, PerMetric};

/// How long a window is, in seconds.
pub const WINDOW_S: u64 = 5;

/// What one group did. Its control consists of users whom the same rule would take if the percent were larger: nobody
/// else may be counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arm {
    /// Requests whose first attempt ended in the window.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The successes by their time to the head of the response, without upgraded and streaming ones.
    pub latencies: Histogram,
    /// Different users with a failure. It is shown, not judged.
    pub failing_users: u64,
    /// Requests that are assigned by address because they came without a cookie. It is shown, not judged.
    pub without_cookie: u64,
}

/// Both arms of one proxy and stratum, or of several proxies added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Users of the canary.
    pub canary: Arm,
    /// Users of the stable upstream whom the canary's rule matches.
    pub control: Arm,
}

/// The records of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    number: u64,
    strata: BTreeMap<String, Record>,
    missing: u32,
}

impl Arm {
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.latencies.add_all(&other.latencies);
        self.failing_users = self.failing_users.saturating_add(other.failing_users);
        self.without_cookie = self.without_cookie.saturating_add(other.without_cookie);
    }
}

impl Record {
    /// Adds another proxy's record of the same window and stratum.
    pub fn add(&mut self, other: &Self) {
        self.canary.add(&other.canary);
        self.control.add(&other.control);
    }

    /// Failures, or answers slower than the edge; the canary's edge is so many steps slower than control's.
    pub(super) fn counts(&self, metric: Metric, edges: Option<&Edges>, shift: u8) -> Counts {
        if metric == Metric::Errors {
            return Counts {
                canary_events: self.canary.failed.min(self.canary.requests),
                canary: self.canary.requests,
                control_events: self.control.failed.min(self.control.requests),
                control: self.control.requests,
            };
        }
        let Some(edge) = edges.and_then(|edges| edges.of(metric)) else { return Counts::default() };
        Counts {
            canary_events: self.canary.latencies.slower_than(edge.slower_by(shift)),
            canary: self.canary.latencies.total(),
            control_events: self.control.latencies.slower_than(edge),
            control: self.control.latencies.total(),
        }
    }
}

impl Window {
    /// The window that a moment belongs to, in seconds since 1970.
    pub fn number_at(unix_s: u64) -> u64 {
        unix_s / WINDOW_S
    }

    /// Without records, and none of them missing.
    pub fn new(number: u64) -> Self {
        Self { number, strata: BTreeMap::new(), missing: 0 }
    }

    /// Adds what one proxy saw of a stratum.
    #[must_use]
    pub fn with(mut self, stratum: &str, record: &Record) -> Self {
        match self.strata.get_mut(stratum) {
            Some(sum) => sum.add(record),
            None => drop(self.strata.insert(stratum.to_owned(), record.clone())),
        }
        self
    }

    /// So many live proxies have not reported in time.
    #[must_use]
    pub fn with_missing(self, missing: u32) -> Self {
        Self { missing, ..self }
    }

    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many live proxies have not reported.
    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// The sums by stratum, in the order of their names.
    pub(super) fn strata(&self) -> impl Iterator<Item = &Record> {
        self.strata.values()
    }

    /// All strata together.
    pub(super) fn total(&self) -> Record {
        let mut total = Record::default();
        self.strata().for_each(|record| total.add(record));
        total
    }

    /// For each metric the counts of each stratum.
    pub(super) fn counts(&self, edges: Option<&Edges>, shifts: &PerMetric<u8>) -> PerMetric<Vec<Counts>> {
        PerMetric::new(|metric| self.strata().map(|record| record.counts(metric, edges, shifts[metric])).collect())
    }
}

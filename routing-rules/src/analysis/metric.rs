//! What is compared between canary and control: failures, and how many answers are slow at four quantiles.

use std::fmt;
use std::ops::{Index, IndexMut};

/// One thing that a canary may do worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// The share of requests that failed.
    Errors,
    /// The share of answers slower than half of control's were.
    P50,
    /// The share of answers slower than three quarters of control's were.
    P75,
    /// The share of answers slower than 95 % of control's were.
    P95,
    /// The share of answers slower than 99 % of control's were.
    P99,
}

/// Something for each metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerMetric<T>([T; Metric::ALL.len()]);

/// How many events there were in how many requests, of both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Canary: failed requests, or slow answers.
    pub canary_events: u64,
    /// Canary: all requests, or all answers that were measured.
    pub canary: u64,
    /// The same for control.
    pub control_events: u64,
    /// The same for control.
    pub control: u64,
}

impl Metric {
    /// Each once, in the order in which state is kept.
    pub const ALL: [Self; 5] = [Self::Errors, Self::P50, Self::P75, Self::P95, Self::P99];

    /// A short stable word for fields and labels.
    pub fn token(self) -> &'static str {
        match self {
            Self::Errors => "err",
            Self::P50 => "p50",
            Self::P75 => "p75",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// How many in a thousand answers of control are slower than its edge; none for what is no quantile.
    pub(super) fn slow_per_mille(self) -> Option<u64> {
        match self {
            Self::Errors => None,
            Self::P50 => Some(500),
            Self::P75 => Some(250),
            Self::P95 => Some(50),
            Self::P99 => Some(10),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            quantile => quantile.token(),
        })
    }
}

impl PerMetric<f64> {
    /// 1 for each.
    pub(super) const fn ones() -> Self {
        Self([1.0; Metric::ALL.len()])
    }
}

impl<T> PerMetric<T> {
    /// What `value` says of each metric.
    pub fn new(value: impl FnMut(Metric) -> T) -> Self {
        Self(Metric::ALL.map(value))
    }

    /// Each metric with what there is for it.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, &T)> {
        Metric::ALL.into_iter().zip(&self.0)
    }

    /// What there is for each metric, in the order of [`Metric::ALL`].
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }
}

impl<T> Index<Metric> for PerMetric<T> {
    type Output = T;

    fn index(&self, metric: Metric) -> &T {
        &self.0[metric as usize]
    }
}

impl<T> IndexMut<Metric> for PerMetric<T> {
    fn index_mut(&mut self, metric: Metric) -> &mut T {
        &mut self.0[metric as usize]
    }
}

impl Counts {
    /// Adds others to these; what is too large to count stays at the largest number.
    pub(super) fn add(&mut self, other: &Self) {
        self.canary_events = self.canary_events.saturating_add(other.canary_events);
        self.canary = self.canary.saturating_add(other.canary);
        self.control_events = self.control_events.saturating_add(other.control_events);
        self.control = self.control.saturating_add(other.control);
    }
}

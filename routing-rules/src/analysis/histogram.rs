//! How many answers took how long, and where the edges lie beyond which an answer is slow (specification, §1).
//!
//! Edges are fixed at the start of a phase from what control did before. They are ends of steps, so counting slow
//! answers later is exact, and they do not depend on what they will be asked about.

use std::collections::BTreeMap;

use super::{Latency, Metric};

/// Answers by latency; most steps are empty and take no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<Latency, u64>);

/// For each quantile the last step that is not slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges([Latency; 4]);

impl Histogram {
    /// Counts answers in.
    pub fn add(&mut self, step: Latency, count: u64) {
        if count > 0 {
            let counted = self.0.entry(step).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Adds all of another one.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(step, count)| self.add(*step, *count));
    }

    /// The steps that are not empty, the quickest first.
    pub fn iter(&self) -> impl Iterator<Item = (Latency, u64)> {
        self.0.iter().map(|(step, count)| (*step, *count))
    }

    /// All answers.
    pub fn total(&self) -> u64 {
        sum(self.0.values())
    }

    /// Answers in steps slower than this one.
    pub fn slower_than(&self, edge: Latency) -> u64 {
        use std::ops::Bound::{Excluded, Unbounded};
        sum(self.0.range((Excluded(edge), Unbounded)).map(|(_, count)| count))
    }

    /// The quickest step that at most so many in a thousand answers are slower than.
    fn edge(&self, slow_per_mille: u64) -> Latency {
        let most = u128::from(self.total()) * u128::from(slow_per_mille);
        let holds = |edge: &Latency| u128::from(self.slower_than(*edge)) * 1_000 <= most;
        // Between steps that are not empty nothing changes, and in the slowest of them it holds.
        self.0.keys().copied().find(holds).unwrap_or(Latency::SLOWEST)
    }
}

impl FromIterator<(Latency, u64)> for Histogram {
    fn from_iter<I: IntoIterator<Item = (Latency, u64)>>(counts: I) -> Self {
        let mut histogram = Self::default();
        counts.into_iter().for_each(|(step, count)| histogram.add(step, count));
        histogram
    }
}

impl Edges {
    /// From control's answers of the past, the latest first, each with the seconds since they began to be counted. The
    /// last ten minutes always count, earlier ones up to six hours until there are 1000 answers. None if there is no
    /// answer.
    pub fn of_history<'a>(latest_first: impl IntoIterator<Item = (u64, &'a Histogram)>) -> Option<Self> {
        let mut sum = Histogram::default();
        for (age_s, histogram) in latest_first {
            if age_s > LONGEST_S || age_s > LATEST_S && sum.total() >= ENOUGH {
                break;
            }
            sum.add_all(histogram);
        }
        let edge = |metric: Metric| metric.slow_per_mille().map(|slow| sum.edge(slow));
        let [_, p50, p75, p95, p99] = Metric::ALL.map(edge);
        (sum.total() > 0).then_some(Self([p50?, p75?, p95?, p99?]))
    }

    /// Those whose steps these are, from p50 to p99.
    pub(super) fn at(steps: [Latency; 4]) -> Self {
        Self(steps)
    }

    /// The steps, from p50 to p99.
    pub fn steps(&self) -> [Latency; 4] {
        self.0
    }

    /// The last step that is not slow; none for errors.
    pub fn of(&self, metric: Metric) -> Option<Latency> {
        (metric as usize).checked_sub(1).and_then(|quantile| self.0.get(quantile).copied())
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

/// The last ten minutes.
const LATEST_S: u64 = 600;
/// What is older than six hours may have been another service.
const LONGEST_S: u64 = 6 * 3_600;
/// So many answers place the 99th percentile.
const ENOUGH: u64 = 1_000;

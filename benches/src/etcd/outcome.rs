//! What visits came to, and all rounds together.

use std::time::Duration;

use super::steady::Steady;
use super::{Change, Contender};
use crate::scenario::outcome::percentile;
use crate::usage::Memory;

/// What changes of one kind took.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// From the write until it was served.
    pub served_ms: Vec<f64>,
    /// Etcd's own part: from the write until it said that it has it.
    pub stored_ms: Vec<f64>,
    /// Those that were not served in time; after one no more are tried.
    pub unserved: usize,
}

impl Changes {
    pub fn add(&mut self, served: Option<Duration>, stored: Duration) {
        match served {
            Some(served) => self.served_ms.push(ms(served)),
            None => self.unserved += 1,
        }
        self.stored_ms.push(ms(stored));
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.served_ms.len() + self.unserved
    }
}

/// One visit.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    pub cold_s: f64,
    pub memory: Memory,
    pub endpoint: Changes,
    pub route: Changes,
    pub steady: Steady,
}

/// All visits to one contender with so many routes. The first reason why it could not be measured ends them.
#[derive(Clone, Debug)]
pub struct Measured {
    pub contender: Contender,
    pub routes: u32,
    pub visits: Vec<Visit>,
    pub broken: Option<String>,
}

/// Of one kind of change, all rounds.
#[derive(Clone, Debug)]
pub struct Times {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
    pub stored_p50_ms: f64,
    pub unserved: usize,
}

/// What the steady client saw, all rounds.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub asked: u64,
    pub lost: u64,
    pub first_loss: Option<String>,
    pub p99_ms: f64,
    pub most_ms: f64,
}

impl Measured {
    /// None when no change was served.
    #[must_use]
    pub fn times(&self, change: Change) -> Option<Times> {
        let changes = self.visits.iter().map(|visit| match change {
            Change::Endpoint => &visit.endpoint,
            Change::Route => &visit.route,
        });
        let changes: Vec<&Changes> = changes.collect();
        let served = ascending(changes.iter().flat_map(|changes| &changes.served_ms));
        let stored = ascending(changes.iter().flat_map(|changes| &changes.stored_ms));
        Some(Times {
            count: served.len(),
            p50_ms: percentile(&served, 0.5),
            p99_ms: percentile(&served, 0.99),
            most_ms: *served.last()?,
            stored_p50_ms: percentile(&stored, 0.5),
            unserved: changes.iter().map(|changes| changes.unserved).sum(),
        })
    }

    /// No visit broke off, and every change was served.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let all_served = |times: Times| times.unserved == 0;
        self.broken.is_none() && Change::ALL.iter().all(|change| self.times(*change).is_some_and(all_served))
    }

    /// Of the visits' figures the median, the least and the most.
    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Visit) -> f64) -> Option<[f64; 3]> {
        let figures: Vec<f64> = self.visits.iter().map(figure).collect();
        let figures = ascending(figures.iter());
        Some([percentile(&figures, 0.5), *figures.first()?, *figures.last()?])
    }

    #[must_use]
    pub fn seen(&self) -> Seen {
        let all = self.visits.iter().map(|visit| &visit.steady);
        let took = ascending(all.clone().flat_map(|steady| &steady.took_ms));
        Seen {
            asked: all.clone().map(|steady| steady.asked).sum(),
            lost: all.clone().map(|steady| steady.lost).sum(),
            first_loss: all.clone().find_map(|steady| steady.first_loss.clone()),
            p99_ms: percentile(&took, 0.99),
            most_ms: took.last().copied().unwrap_or(0.0),
        }
    }
}

fn ascending<'n>(numbers: impl Iterator<Item = &'n f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.copied().collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

//! What visits came to, and all rounds together.

use std::time::Duration;

use super::load::Asked;
use super::{Change, Contender};
use crate::compare::Spread;
use crate::scenario::outcome::percentile;
use crate::usage::Memory;

/// A start, until the first request was served and it had said that it is ready.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// From the start of the process, as the next one.
    pub ready_s: f64,
    pub served_s: f64,
    /// Processor time.
    pub cpu_s: f64,
    pub memory: Memory,
}

/// What changes of one kind took.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// From the write until it was served.
    pub served_ms: Vec<f64>,
    /// The API server's own part: from the write until it had told who waits.
    pub stored_ms: Vec<f64>,
    /// Those that were not served in time.
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
}

/// A time under load.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub asked: Asked,
    /// Of one core.
    pub core_use: f64,
}

/// A storm, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Stormed {
    pub events: u32,
    /// How long they took to be made.
    pub blown_s: f64,
    /// The load alone, before.
    pub quiet: Window,
    pub during: Window,
    pub memory_before: Memory,
    pub memory_after: Memory,
    /// How often rules came into force.
    pub swaps: Option<u64>,
    /// From the last event, which moved all pods of a Service, until they were asked; none where that did not come.
    pub slice_ms: Option<f64>,
    /// The same for an Ingress that was new with the last event.
    pub ingress_ms: Option<f64>,
    /// How long after a pod had left requests were sent that it got; ascending.
    pub stale_ms: Vec<f64>,
    /// Hosts and paths that are not served as they should be, when all is over.
    pub wrong: usize,
}

/// One visit.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    pub start: Start,
    pub slice: Changes,
    pub ingress: Changes,
    pub storm: Option<Stormed>,
}

/// All visits to one contender with so many Ingresses. The first reason why it could not be measured ends them.
#[derive(Clone, Debug)]
pub struct Measured {
    pub contender: Contender,
    pub ingresses: u32,
    pub visits: Vec<Visit>,
    pub broken: Option<String>,
}

/// Of one kind of change, all rounds.
#[derive(Clone, Debug)]
pub struct Times {
    pub count: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
    pub stored_p50_ms: f64,
    pub unserved: usize,
}

impl Measured {
    /// None when no change was served.
    #[must_use]
    pub fn times(&self, change: Change) -> Option<Times> {
        let changes = self.visits.iter().map(|visit| match change {
            Change::Slice => &visit.slice,
            Change::Ingress => &visit.ingress,
        });
        let changes: Vec<&Changes> = changes.collect();
        let served = ascending(changes.iter().flat_map(|changes| changes.served_ms.iter().copied()));
        let stored = ascending(changes.iter().flat_map(|changes| changes.stored_ms.iter().copied()));
        Some(Times {
            count: served.len(),
            p50_ms: percentile(&served, 0.5),
            p90_ms: percentile(&served, 0.9),
            p99_ms: percentile(&served, 0.99),
            most_ms: *served.last()?,
            stored_p50_ms: percentile(&stored, 0.5),
            unserved: changes.iter().map(|changes| changes.unserved).sum(),
        })
    }

    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Visit) -> f64) -> Option<Spread> {
        Spread::of(self.visits.iter().map(figure).collect())
    }

    pub fn storms(&self) -> impl Iterator<Item = &Stormed> {
        self.visits.iter().filter_map(|visit| visit.storm.as_ref())
    }

    /// Nothing was lost, late without end or wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let all_served = |change: &Change| self.times(*change).is_some_and(|times| times.unserved == 0);
        self.broken.is_none() && Change::ALL.iter().all(all_served) && self.storms().all(Stormed::is_whole)
    }
}

impl Stormed {
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed() == 0 && self.wrong == 0 && self.slice_ms.is_some() && self.ingress_ms.is_some()
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.quiet.asked.failed + self.during.asked.failed
    }

    #[must_use]
    pub fn requests(&self) -> u64 {
        let of = |window: &Window| window.asked.answered.len() as u64 + window.asked.failed;
        of(&self.quiet) + of(&self.during)
    }
}

pub(super) fn ascending(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(visits: Vec<Visit>) -> Measured {
        Measured { contender: Contender::Serin, ingresses: 20, visits, broken: None }
    }

    fn changes(served_ms: impl Iterator<Item = u32>) -> Changes {
        let served_ms: Vec<f64> = served_ms.map(f64::from).collect();
        Changes { stored_ms: vec![0.5; served_ms.len()], served_ms, unserved: 0 }
    }

    #[test]
    fn changes_of_all_rounds_are_counted_together() {
        let visit = |slice| Visit { slice, ingress: changes(1..=1), ..Visit::default() };
        let measured = measured(vec![visit(changes(51..=100)), visit(changes(1..=50))]);
        let times = measured.times(Change::Slice).unwrap();
        let found = [times.p50_ms, times.p90_ms, times.p99_ms, times.most_ms, times.stored_p50_ms];
        assert_eq!(found, [50.0, 90.0, 99.0, 100.0, 0.5]);
        assert_eq!(times.count, 100);
        assert!(measured.is_whole());
    }

    #[test]
    fn one_that_fails_or_is_not_served_is_noticed() {
        let good = Stormed { slice_ms: Some(1.0), ingress_ms: Some(1.0), ..Stormed::default() };
        let with =
            |storm| Visit { slice: changes(1..=1), ingress: changes(1..=1), storm: Some(storm), ..Visit::default() };
        assert!(measured(vec![with(good.clone())]).is_whole());
        let mut failed = good.clone();
        failed.during.asked.failed = 1;
        let never = Stormed { ingress_ms: None, ..good.clone() };
        for bad in [failed, never, Stormed { wrong: 1, ..good }] {
            assert!(!measured(vec![with(bad.clone())]).is_whole(), "{bad:?}");
        }
        let unserved =
            Visit { slice: Changes { unserved: 1, ..changes(1..=1) }, ingress: changes(1..=1), ..Visit::default() };
        assert!(!measured(vec![unserved]).is_whole());
        assert!(!measured(Vec::new()).is_whole());
    }
}

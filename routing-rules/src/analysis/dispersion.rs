//! How much more unevenly control's events come than they would by chance (specification, §4: phi).
//!
//! One user with a broken client, or one instance with a full disk, is many failures and one event. Over five minutes
//! the events of sixteen groups of users tell how much that is; evidence is divided by it. What is known of a service
//! at first is worth twenty events with a dispersion of three.
//!
//! Whose keys make up too much of everything to be fair evidence is decided elsewhere, and they are counted nowhere.

use super::{Metric, PerMetric};

/// How many groups users, or instances, are divided into.
pub const GROUPS: usize = 16;

/// Five minutes of control, by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Requests of each group.
    pub requests: [u64; GROUPS],
    /// Events of each group: failures, or answers slower than the edges of that time.
    pub events: PerMetric<[u64; GROUPS]>,
}

/// For each metric a number of at least 1; 1 is pure chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispersion(PerMetric<f64>);

impl Dispersion {
    /// Pure chance.
    pub const NONE: Self = Self(PerMetric::ones());

    /// Of control's blocks of the last six hours: grouped by user and, if there are at least four instances, by
    /// instance.
    pub fn of(by_user: &[Block], by_instance: Option<&[Block]>) -> Self {
        let of = |blocks: &[Block], metric: Metric| {
            let mut sums = Sums::default();
            blocks.iter().for_each(|block| sums.add(&block.requests, &block.events[metric]));
            sums.dispersion()
        };
        Self(PerMetric::new(|metric| {
            let by_instance = by_instance.map_or(1.0, |blocks| of(blocks, metric));
            of(by_user, metric).max(by_instance)
        }))
    }

    /// These numbers; nothing if one of them is below 1 or no number.
    pub fn at(dispersion: PerMetric<f64>) -> Option<Self> {
        let is_possible = dispersion.iter().all(|(_, dispersion)| dispersion.is_finite() && *dispersion >= 1.0);
        is_possible.then_some(Self(dispersion))
    }

    /// That of one metric.
    pub fn of_metric(&self, metric: Metric) -> f64 {
        self.0[metric]
    }
}

/// Over blocks and groups.
#[derive(Default)]
struct Sums {
    squares: f64,
    variance: f64,
    events: f64,
}

impl Sums {
    fn add(&mut self, requests: &[u64; GROUPS], events: &[u64; GROUPS]) {
        let sum = |counts: &[u64; GROUPS]| counts.iter().map(|count| *count as f64).sum::<f64>();
        let (all_requests, all_events) = (sum(requests), sum(events));
        let has = requests.iter().filter(|count| **count > 0).count();
        // Without events, or with all requests in one group, nothing can be uneven: that is no sign of evenness.
        if all_events == 0.0 || has < 2 {
            return;
        }
        for (requests, events) in requests.iter().zip(events) {
            let share = *requests as f64 / all_requests;
            let expected = all_events * share;
            self.squares += (*events as f64 - expected).powi(2);
            self.variance += expected * (1.0 - share);
        }
        self.events += all_events;
    }

    fn dispersion(&self) -> f64 {
        let raw = if self.variance > 0.0 { self.squares / self.variance } else { 0.0 };
        ((FIRST_EVENTS * FIRST + self.events * raw) / (FIRST_EVENTS + self.events)).max(1.0)
    }
}

/// What a service is taken for before it is known, and how many events that is worth.
const FIRST: f64 = 3.0;
const FIRST_EVENTS: f64 = 20.0;

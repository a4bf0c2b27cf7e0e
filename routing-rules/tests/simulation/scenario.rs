//! What is simulated: a group, its traffic, and what happens to it; and the groups that most scenarios are about.

use std::ops::Range;

use routing_rules::breaker;

use crate::process::Policy;

pub(crate) const SECOND: u64 = 1_000_000;
/// How long an endpoint works on a request, on average.
pub(crate) const MEAN_S: f64 = 0.01;

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// How many requests each endpoint serves at a time.
    pub(crate) slots: Vec<usize>,
    pub(crate) configured: Vec<f64>,
    pub(crate) per_second: f64,
    pub(crate) processes: usize,
    pub(crate) workers: usize,
    /// How old a worker's view of the others may be.
    pub(crate) view_us: u64,
    pub(crate) deadline_us: u64,
    /// How long clients wait.
    pub(crate) patience_us: Option<u64>,
    /// The part of requests that take 5 s.
    pub(crate) long: f64,
    pub(crate) policy: Policy,
    pub(crate) breaking: Breaking,
    /// When times and weights are looked at, in seconds: what was before is for learning.
    pub(crate) from_s: u64,
    pub(crate) to_s: u64,
    pub(crate) end_s: u64,
    /// What happens, and when.
    pub(crate) script: Vec<(u64, Change)>,
}

/// The breaker of each endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaking {
    Off,
    /// As it is where nothing is configured: failures in a row.
    Streak,
    /// The same and a condition.
    Condition(&'static str),
}

/// Something that happens to an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Slow(usize, f64),
    Stall(usize, u64),
    /// This part of its answers is a 500.
    Fail(usize, f64),
    /// Requests end so at once, without waiting for their turn.
    Break(usize, breaker::Outcome),
    Mend(usize),
    Away(usize, u64),
    /// Health checks say so.
    Down(usize),
    Up(usize),
    /// One more, of so many slots, that begins so slow.
    Join(usize, f64),
}

impl Scenario {
    /// So much of what the endpoints can do.
    pub(crate) fn load(self, part: f64) -> Self {
        let slots: usize = self.slots.iter().sum();
        Self { per_second: part * slots as f64 / MEAN_S, ..self }
    }

    /// Something happens.
    pub(crate) fn at(mut self, second: u64, change: Change) -> Self {
        self.script.push((second * SECOND, change));
        self
    }

    /// Something lasts for a while.
    pub(crate) fn with(self, seconds: Range<u64>, begin: Change, end: Change) -> Self {
        self.at(seconds.start, begin).at(seconds.end, end)
    }

    /// Something comes for two seconds, is gone for two, and comes again.
    pub(crate) fn every_other(self, seconds: Range<u64>, begin: Change, end: Change) -> Self {
        seconds.step_by(4).fold(self, |scenario, second| scenario.with(second..second + 2, begin, end))
    }
}

/// When faults begin.
pub(crate) const START_S: u64 = 20;

/// 8 endpoints, 4 at a time, 60 % load, one process of 4 workers, looked at while a fault of 30 s lasts.
pub(crate) fn base() -> Scenario {
    group(vec![4; 8])
}

pub(crate) fn pair() -> Scenario {
    group(vec![8; 2]).load(0.4)
}

/// 9 endpoints of three capacities.
pub(crate) fn unequal() -> Scenario {
    Scenario { to_s: 80, ..group([2, 4, 8].repeat(3)) }
}

pub(crate) fn group(slots: Vec<usize>) -> Scenario {
    let scenario = Scenario {
        configured: vec![1.0; slots.len()],
        slots,
        per_second: 0.0,
        processes: 1,
        workers: 4,
        view_us: 2_000,
        deadline_us: 10 * SECOND,
        patience_us: None,
        long: 0.0,
        policy: Policy::Dwrr,
        breaking: Breaking::Streak,
        from_s: START_S,
        to_s: START_S + 30,
        end_s: 80,
        script: Vec::new(),
    };
    scenario.load(0.6)
}

/// Every endpoint stands still for 200 ms every 5 s, each at its own time.
pub(crate) fn pauses(mut scenario: Scenario) -> Scenario {
    let step_us = 5 * SECOND / scenario.slots.len() as u64;
    for endpoint in 0..scenario.slots.len() {
        // Not one after the other in order.
        let phase_us = step_us * (3 * endpoint as u64 % scenario.slots.len() as u64);
        let times = (0..scenario.end_s).step_by(5).map(|second| second * SECOND + phase_us);
        scenario.script.extend(times.map(|at_us| (at_us, Change::Stall(endpoint, 200_000))));
    }
    scenario
}

pub(crate) fn seeds() -> u64 {
    std::env::var("SERIN_SIMULATION_SEEDS").map_or(2, |seeds| seeds.parse().expect("a number of seeds"))
}

//! What the breaker of an endpoint shares between workers and the tick: counters, failures in a row, and the gate
//! (`routing_rules::breaker`, which decides).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use routing_rules::breaker::{Admission, Breaker, Change, Gate, Layout, Outcome, ProbeEnd, Settings, Streak, Window};

use super::add;

/// What all workers read, and write only when something fails.
#[repr(align(128))]
pub struct SharedGate {
    gate: AtomicU64,
    streak: AtomicU64,
}

/// The leave of one request to go to an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// Results of a request that was let through in an earlier period are not counted.
    pub epoch: u32,
    /// Whether it is the one request that is let through to see how the endpoint is.
    pub is_probe: bool,
}

/// The results at one endpoint, counted as the breaker of its upstream wants them.
pub struct Results {
    layout: Layout,
    streak: Streak,
    /// A row for each worker, which alone writes it.
    rows: Box<[Box<[AtomicU64]>]>,
}

/// What the tick knows of an endpoint.
pub struct BreakerState {
    /// Where it stands.
    pub breaker: Breaker,
    /// What was counted lately.
    pub window: Window,
    results: Arc<Results>,
    /// The counters as they were at the last tick.
    counted: Vec<u64>,
}

impl Default for SharedGate {
    fn default() -> Self {
        Self { gate: AtomicU64::new(Gate::NEW.bits()), streak: AtomicU64::new(Streak::start(0)) }
    }
}

impl SharedGate {
    /// As it is.
    pub fn load(&self) -> Gate {
        Gate::from_bits(self.gate.load(Acquire))
    }

    /// Failures in a row.
    pub fn streak(&self) -> u64 {
        self.streak.load(Relaxed)
    }

    /// Whether a request that is `repeatable` or not might pass; nothing is claimed.
    pub fn may_pass(&self, repeatable: bool) -> bool {
        self.load().admission(repeatable) != Admission::Refused
    }

    /// The same for a request whose key is at this place from 0 to 9,999: while the endpoint comes back, those with low places
    /// pass, and always the same ones.
    pub fn may_pass_at(&self, place: u16, repeatable: bool) -> bool {
        self.load().admission_at(place, repeatable) != Admission::Refused
    }

    /// Lets a request pass, as a probe if that is what passes now.
    pub fn enter(&self, repeatable: bool) -> Option<Admitted> {
        let gate = self.load();
        match gate.admission(repeatable) {
            Admission::Pass => Some(Admitted { epoch: gate.epoch(), is_probe: false }),
            Admission::Probe(taken) if self.replace(gate, taken) => {
                Some(Admitted { epoch: taken.epoch(), is_probe: true })
            }
            Admission::Probe(_) | Admission::Refused => None,
        }
    }

    /// A probe is over.
    pub fn end_probe(&self, epoch: u32, end: ProbeEnd) {
        let mut gate = self.load();
        while let Some(after) = gate.probed(epoch, end) {
            if self.replace(gate, after) {
                return;
            }
            gate = self.load();
        }
    }

    /// Counts a result in a row; whether the row is full now.
    fn row_is_full(&self, rule: Streak, outcome: Outcome, now_ms: u64) -> bool {
        loop {
            let streak = self.streak();
            let next = rule.next(streak, outcome, now_ms);
            if next == streak || self.streak.compare_exchange(streak, next, Relaxed, Relaxed).is_ok() {
                return rule.is_full(next);
            }
        }
    }

    /// Lets nothing pass until the tick has looked, if `allowed` has room for it.
    fn trip(&self, allowed: impl FnOnce() -> bool) {
        let gate = self.load();
        if let Some(tripped) = gate.tripped()
            && allowed()
        {
            // Who changed it meanwhile has tripped it, or is the tick.
            self.replace(gate, tripped);
        }
    }

    /// Puts a gate in the place of another; `false` if it is no longer there.
    fn replace(&self, old: Gate, new: Gate) -> bool {
        self.gate.compare_exchange(old.bits(), new.bits(), AcqRel, Acquire).is_ok()
    }

    /// As at the beginning: nobody counts any more, and what was known is of another time.
    pub fn reset(&self) {
        self.streak.store(Streak::start(0), Relaxed);
        self.gate.store(Gate::NEW.bits(), Release);
    }

    /// Puts in force what a tick decided that had read `before`.
    pub fn follow(&self, before: Gate, change: &Change, now_ms: u64) {
        let Some(transition) = change.transition else {
            // One that a worker changed meanwhile is looked at by the next tick.
            self.replace(before, change.gate);
            return;
        };
        if transition.clears() {
            self.streak.store(Streak::start(now_ms), Relaxed);
        }
        self.gate.store(change.gate.bits(), Release);
    }
}

impl Results {
    /// Nothing yet.
    pub fn new(layout: Layout, streak: Streak, workers: usize) -> Self {
        let row = || (0..layout.cells()).map(|_| AtomicU64::new(0)).collect();
        let rows = (0..workers).map(|_| row()).collect();
        Self { layout, streak, rows }
    }

    /// Whether these would count the same.
    pub fn is_for(&self, layout: &Layout, streak: Streak) -> bool {
        self.layout == *layout && self.streak == streak
    }

    /// Counts a result of a worker at an endpoint with this gate. `allowed` is asked when the endpoint is to be shut at once.
    pub fn count(
        &self,
        gate: &SharedGate,
        worker: usize,
        (outcome, took_us): (Outcome, Option<u64>),
        now_ms: u64,
        allowed: impl FnOnce() -> bool,
    ) {
        let Some(row) = self.rows.get(worker) else { return };
        self.layout.touched(outcome, took_us).for_each(|cell| add(&row[cell], 1));
        if gate.row_is_full(self.streak, outcome, now_ms) {
            gate.trip(allowed);
        }
    }

    /// What was counted since `counted`, which then says what is counted by now.
    pub(super) fn take_new(&self, counted: &mut Vec<u64>) -> Vec<u64> {
        let before = std::mem::replace(counted, self.sum());
        counted.iter().zip(before).map(|(now, before)| now.wrapping_sub(before)).collect()
    }

    pub(super) fn sum(&self) -> Vec<u64> {
        let mut sum = vec![0u64; self.layout.cells()];
        for row in &self.rows {
            sum.iter_mut().zip(row).for_each(|(sum, cell)| *sum = sum.wrapping_add(cell.load(Relaxed)));
        }
        sum
    }
}

impl BreakerState {
    /// Closed.
    pub fn new(settings: Settings, results: &Arc<Results>) -> Self {
        Self {
            breaker: Breaker::new(settings),
            window: Window::new(&results.layout),
            counted: vec![0; results.layout.cells()],
            results: Arc::clone(results),
        }
    }

    /// Takes in what was counted since the last time.
    pub fn look(&mut self, settings: Settings, results: &Arc<Results>, now_ms: u64) {
        if *self.breaker.settings() != settings {
            self.breaker.set(settings);
        }
        if !Arc::ptr_eq(&self.results, results) {
            if self.results.layout != results.layout {
                self.window = Window::new(&results.layout);
            }
            self.counted = vec![0; results.layout.cells()];
            self.results = Arc::clone(results);
        }
        self.window.add(now_ms, &results.take_new(&mut self.counted));
    }

    /// Whether there is nothing to look at until the next result.
    pub fn is_at_rest(&self) -> bool {
        self.breaker.state() == routing_rules::breaker::State::Closed && Layout::results(self.window.total()) == 0
    }
}

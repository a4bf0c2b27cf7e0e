//! The breaker of an upstream as a whole: what clients got from it in the end, and what it lets through.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use routing_rules::breaker;
use routing_rules::breaker::{Admission, Change, Outcome, ProbeEnd, Transition};
use routing_rules::rules::GroupBreaker;

use super::{Admitted, Results, SharedGate};

/// The group breaker of an upstream; lives through swaps as long as it counts the same.
pub struct Group {
    gate: SharedGate,
    results: Results,
    /// For the control path alone.
    state: Mutex<State>,
    openings: AtomicU64,
}

struct State {
    breaker: breaker::GroupBreaker,
    counted: Vec<u64>,
}

impl Group {
    /// Closed.
    pub fn new(rules: &GroupBreaker, workers: usize) -> Self {
        let results = Results::new(rules.condition.layout().clone(), rules.settings.streak, workers);
        let counted = results.sum();
        let breaker = breaker::GroupBreaker::new(rules.condition.clone(), rules.settings);
        let (gate, openings) = (SharedGate::default(), AtomicU64::new(0));
        Self { gate, results, state: Mutex::new(State { breaker, counted }), openings }
    }

    /// Whether it counts what these rules want counted.
    pub fn is_for(&self, rules: &GroupBreaker) -> bool {
        self.results.is_for(rules.condition.layout(), rules.settings.streak)
    }

    /// Whether it might let a request pass whose user is at this place from 0 to 9,999; nothing is claimed.
    pub fn may_pass(&self, place: u16, repeatable: bool) -> bool {
        self.gate.load().admission_at(place, repeatable) != Admission::Refused
    }

    /// Lets a request pass.
    pub fn enter(&self, place: u16, repeatable: bool) -> Option<Admitted> {
        if self.may_pass(place, repeatable) { self.gate.enter(repeatable) } else { None }
    }

    /// What the client got in the end. `None`: nothing that says anything of the upstream.
    pub fn judge(&self, worker: usize, admitted: Admitted, result: Option<(Outcome, Option<u64>)>, now_ms: u64) {
        let end = match result {
            Some((outcome, _)) if outcome.is_failure() => ProbeEnd::Failure,
            Some(_) => ProbeEnd::Success,
            None => ProbeEnd::Abandoned,
        };
        if let Some(result) = result
            && self.gate.load().epoch() == admitted.epoch
        {
            self.results.count(&self.gate, worker, result, now_ms, || true);
        }
        if admitted.is_probe {
            self.gate.end_probe(admitted.epoch, end);
        }
    }

    /// Takes in what was counted, and moves.
    pub fn tick(&self, rules: &GroupBreaker, now_ms: u64, draw: f64) -> Change {
        let State { breaker, counted } = &mut *self.state();
        if *breaker.condition() != rules.condition || *breaker.breaker().settings() != rules.settings {
            breaker.set(rules.condition.clone(), rules.settings);
        }
        let fresh = self.results.take_new(counted);
        let before = self.gate.load();
        let change = breaker.tick(now_ms, &fresh, before, self.gate.streak(), draw);
        if change.transition.is_some_and(Transition::is_opening) {
            self.openings.fetch_add(1, Relaxed);
        }
        self.gate.follow(before, &change, now_ms);
        change
    }

    /// `closed`, `open`, `probing` or `ramp`.
    pub fn stands(&self) -> breaker::State {
        self.state().breaker.breaker().state()
    }

    /// Whether it lets nothing but probes through.
    pub fn is_out(&self) -> bool {
        self.state().breaker.breaker().is_out()
    }

    /// How often it opened.
    pub fn openings(&self) -> u64 {
        self.openings.load(Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

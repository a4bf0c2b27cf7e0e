//! The breaker of an upstream as a whole: what clients got from it in the end, and what it lets through.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::breaker;
use routing_rules::breaker::{Admission, Change, Outcome, ProbeEnd, Transition};
use routing_rules::rules::GroupBreaker;

use super::{Admitted, Results, SharedGate};

/// The group breaker of one version of an upstream.
pub struct Group {
    shared: Arc<Shared>,
    /// As this version's condition wants them counted.
    results: Arc<Results>,
}

/// What lives through swaps.
#[derive(Default)]
struct Shared {
    gate: SharedGate,
    /// For the control path alone.
    state: Mutex<Option<State>>,
    openings: AtomicU64,
    /// When it may let somebody pass again, as far as it is known.
    again_at_ms: AtomicU64,
}

struct State {
    breaker: breaker::GroupBreaker,
    results: Arc<Results>,
    counted: Vec<u64>,
}

impl Group {
    /// Under these rules. Where the one before it stands, it does.
    pub fn new(rules: &GroupBreaker, before: Option<&Self>, workers: usize) -> Self {
        let (layout, streak) = (rules.condition.layout(), rules.settings.streak);
        let known = before.map(|before| &before.results).filter(|results| results.is_for(layout, streak));
        let results = known.map_or_else(|| Arc::new(Results::new(layout.clone(), streak, workers)), Arc::clone);
        Self { shared: before.map(|before| Arc::clone(&before.shared)).unwrap_or_default(), results }
    }

    /// Whether it might let a request pass whose user is at this place from 0 to 9,999; nothing is claimed.
    pub fn may_pass(&self, place: u16, repeatable: bool) -> bool {
        self.shared.gate.load().admission_at(place, repeatable) != Admission::Refused
    }

    /// Lets a request pass.
    pub fn enter(&self, place: u16, repeatable: bool) -> Option<Admitted> {
        if self.may_pass(place, repeatable) { self.shared.gate.enter(repeatable) } else { None }
    }

    /// What the client got in the end. `None`: nothing that says anything of the upstream.
    pub fn judge(&self, worker: usize, admitted: Admitted, result: Option<(Outcome, Option<u64>)>, now_ms: u64) {
        let end = match result {
            Some((outcome, _)) if outcome.is_failure() => ProbeEnd::Failure,
            Some(_) => ProbeEnd::Success,
            None => ProbeEnd::Abandoned,
        };
        if let Some(result) = result
            && self.shared.gate.load().epoch() == admitted.epoch
        {
            self.results.count(&self.shared.gate, worker, result, now_ms, || true);
        }
        if admitted.is_probe {
            self.shared.gate.end_probe(admitted.epoch, end);
        }
    }

    /// Takes in what was counted, and moves.
    pub fn tick(&self, rules: &GroupBreaker, now_ms: u64, draw: f64) -> Change {
        let (gate, mut state) = (&self.shared.gate, self.state());
        let state = state.get_or_insert_with(|| State::new(rules, &self.results));
        let fresh = state.look(rules, &self.results);
        let before = gate.load();
        let change = state.breaker.tick(now_ms, &fresh, before, gate.streak(), draw);
        if change.transition.and_then(Transition::opening).is_some() {
            self.shared.openings.fetch_add(1, Relaxed);
        }
        let again_at_ms = now_ms.saturating_add(state.breaker.breaker().retry_after_s(now_ms).saturating_mul(1_000));
        self.shared.again_at_ms.store(again_at_ms, Relaxed);
        gate.follow(before, &change, now_ms);
        change
    }

    /// After how many seconds one that was refused may try again, at least one.
    pub fn retry_after_s(&self, now_ms: u64) -> u64 {
        self.shared.again_at_ms.load(Relaxed).saturating_sub(now_ms).div_ceil(1_000).max(1)
    }

    /// `closed`, `open`, `probing` or `ramp`.
    pub fn stands(&self) -> breaker::State {
        self.state().as_ref().map_or(breaker::State::Closed, |state| state.breaker.breaker().state())
    }

    /// Whether it lets nothing but probes through.
    pub fn is_out(&self) -> bool {
        self.state().as_ref().is_some_and(|state| state.breaker.breaker().is_out())
    }

    /// How often it opened.
    pub fn openings(&self) -> u64 {
        self.shared.openings.load(Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(rules: &GroupBreaker, results: &Arc<Results>) -> Self {
        let breaker = breaker::GroupBreaker::new(rules.condition.clone(), rules.settings);
        Self { breaker, counted: vec![0; rules.condition.layout().cells()], results: Arc::clone(results) }
    }

    /// Takes on the rules, and what was counted since the last time.
    fn look(&mut self, rules: &GroupBreaker, results: &Arc<Results>) -> Vec<u64> {
        if *self.breaker.condition() != rules.condition || *self.breaker.breaker().settings() != rules.settings {
            self.breaker.set(rules.condition.clone(), rules.settings);
        }
        if !Arc::ptr_eq(&self.results, results) {
            self.counted = vec![0; rules.condition.layout().cells()];
            self.results = Arc::clone(results);
        }
        results.take_new(&mut self.counted)
    }
}

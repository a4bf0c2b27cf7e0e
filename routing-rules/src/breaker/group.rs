//! The breaker of an upstream as a whole: when it opens, requests go to a fallback, typically from canary to stable.
//!
//! The same condition language and states as for an endpoint, fed with what clients get in the end (after retries; no
//! endpoint to be had is a failure too). It opens without looking at others: there are none. A fallback's own fallback is
//! not followed, so no request wanders.

use super::{Breaker, Cause, Change, Condition, Gate, Settings, Signs, Transition, Window};

/// A group breaker: what the control path keeps of it.
#[derive(Clone, Debug)]
pub struct GroupBreaker {
    condition: Condition,
    breaker: Breaker,
    window: Window,
}

impl GroupBreaker {
    /// Closed.
    pub fn new(condition: Condition, settings: Settings) -> Self {
        let window = Window::new(condition.layout());
        Self { condition, breaker: Breaker::new(settings), window }
    }

    /// Takes on what a new snapshot says. Where it stands, stays; results stay unless other ones are to be counted.
    pub fn set(&mut self, condition: Condition, settings: Settings) {
        if condition.layout() != self.condition.layout() {
            self.window = Window::new(condition.layout());
        }
        self.condition = condition;
        self.breaker.set(settings);
    }

    /// Its condition, whose layout says what to count.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Where it stands.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Takes what was counted since the last tick, looks at the gate and the streak as read, and moves.
    pub fn tick(&mut self, now_ms: u64, row: &[u64], gate: Gate, streak: u64, draw: f64) -> Change {
        self.window.add(now_ms, row);
        let cause = self.cause(gate, streak);
        let signs = Signs { now_ms, draw, gate, cause, hold: None, check_fails: false };
        let transition = self.breaker.step(&signs);
        if transition.is_some_and(Transition::clears) {
            self.window.clear();
        }
        Change { gate: self.breaker.gate(now_ms, gate, true), transition }
    }

    fn cause(&self, gate: Gate, streak: u64) -> Option<Cause> {
        let settings = self.breaker.settings();
        if gate.is_tripped() || settings.streak.is_full(streak) {
            return Some(Cause::Streak);
        }
        self.condition.holds_with(settings.min_requests, self.window.total()).then_some(Cause::Condition)
    }
}

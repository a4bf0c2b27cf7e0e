//! What active checks found of an endpoint, for whoever wants to see it.

use std::time::SystemTime;

use routing_rules::health::{Health, State, Thresholds};

/// The health of an endpoint that is checked.
#[derive(Clone, Debug)]
pub struct Checked {
    health: Health,
    since: SystemTime,
    last: Box<str>,
    passed: u64,
    failed: u64,
}

impl Checked {
    /// Before the first result.
    pub fn new(health: Health) -> Self {
        Self { health, since: SystemTime::now(), last: Box::default(), passed: 0, failed: 0 }
    }

    /// Takes a result in words; the new state, if that changes it.
    pub fn observe(&mut self, passed: bool, result: &str, thresholds: Thresholds) -> Option<State> {
        *if passed { &mut self.passed } else { &mut self.failed } += 1;
        self.last = result.into();
        let change = self.health.observe(passed, thresholds);
        if change.is_some() {
            self.since = SystemTime::now();
        }
        change
    }

    /// The health itself.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Since when its state is what it is.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// What the last check found; nothing before the first.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// How many results were good, and how many bad.
    pub fn counts(&self) -> (u64, u64) {
        (self.passed, self.failed)
    }
}

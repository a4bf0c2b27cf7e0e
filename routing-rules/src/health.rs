//! Whether an endpoint is well, from the results of checks that others make: `rise` good ones in a row bring it up,
//! `fall` bad ones take it down.
//!
//! It knows no check and no time. What requests say is the business of [`crate::breaker`]; results of checks are never
//! evidence for [`crate::balance`].

use std::time::Duration;

/// How many results in a row change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, until an endpoint that was down is up.
    pub rise: u32,
    /// Bad ones, until an endpoint that was up is down.
    pub fall: u32,
}

/// What is known of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There was no result yet.
    Unknown,
    /// It is well.
    Up,
    /// It is not.
    Down,
}

/// The health of one endpoint.
///
/// ```
/// # use routing_rules::health::{Health, State, Thresholds};
/// let thresholds = Thresholds { rise: 2, fall: 3 };
/// let mut health = Health::unproven();
/// assert!(!health.is_up());
/// assert_eq!(health.observe(true, thresholds), Some(State::Up));
/// assert_eq!([false, false, false].map(|passed| health.observe(passed, thresholds)), [None, None, Some(State::Down)]);
/// assert_eq!([true, true].map(|passed| health.observe(passed, thresholds)), [None, Some(State::Up)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// Whether it gets requests before its first result.
    is_trusted: bool,
    /// How many results in a row spoke against the state.
    against: u32,
}

impl Health {
    /// Of an endpoint that must show first that it is well: it joins others, who serve meanwhile.
    pub fn unproven() -> Self {
        Self { state: State::Unknown, is_trusted: false, against: 0 }
    }

    /// Of an endpoint that serves until a result says otherwise: it did so before there was a check, or there is nobody
    /// else, as when the process starts. If nobody were trusted then, the first one to pass would get all requests alone.
    pub fn trusted() -> Self {
        Self { is_trusted: true, ..Self::unproven() }
    }

    /// What is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it gets requests.
    pub fn is_up(&self) -> bool {
        match self.state {
            State::Unknown => self.is_trusted,
            state => state == State::Up,
        }
    }

    /// Takes a result; the new state, if that changes it. The first one decides: there is nothing yet that could flap.
    pub fn observe(&mut self, passed: bool, thresholds: Thresholds) -> Option<State> {
        let (seen, needed) = match passed {
            true => (State::Up, thresholds.rise),
            false => (State::Down, thresholds.fall),
        };
        self.against = if self.state == seen { 0 } else { self.against + 1 };
        let changes = self.state != seen && (self.state == State::Unknown || self.against >= needed);
        if !changes {
            return None;
        }
        (self.state, self.against) = (seen, 0);
        Some(seen)
    }
}

/// How long to wait from one check to the next: a tenth more or less by a draw, so that many processes that were started
/// together do not ask together for ever.
pub fn pause(interval: Duration, draw: u64) -> Duration {
    let part = draw as f64 / u64::MAX as f64;
    interval.mul_f64(0.9 + 0.2 * part)
}

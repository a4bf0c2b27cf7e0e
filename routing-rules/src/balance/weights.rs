//! Effective weights: what was configured, learned, ramped and broken, put together (specification of the balancing, §3).

/// What one endpoint brings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The configured weight. One that drains weighs nothing.
    pub configured: f64,
    /// What was learned: [`Learned::weight`](super::Learned::weight).
    pub learned: f64,
    /// How far the ramp is: [`Learned::ramp`](super::Learned::ramp).
    pub ramp: f64,
    /// What the breaker lets through: 0 while it is open, 1 while it is closed.
    pub breaker: f64,
    /// Whether its health is good.
    pub is_up: bool,
    /// Whether it takes no new requests because it is about to leave.
    pub is_draining: bool,
}

impl Share {
    fn effective(&self) -> f64 {
        match self.is_up && !self.is_draining {
            true => self.configured * self.learned * self.ramp * self.breaker,
            false => 0.0,
        }
    }

    fn in_panic(&self) -> f64 {
        if self.is_draining { 0.0 } else { self.configured }
    }
}

/// The weights of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// For each endpoint; only ratios matter.
    pub effective: Vec<f64>,
    /// Nobody was left, so everybody gets requests again who is not draining: trying is better than a certain
    /// refusal. To be counted.
    pub is_panic: bool,
}

impl Weights {
    /// The weights that these shares come to.
    pub fn new(shares: &[Share]) -> Self {
        let effective: Vec<f64> = shares.iter().map(Share::effective).collect();
        if effective.iter().any(|weight| *weight > 0.0) {
            return Self { effective, is_panic: false };
        }
        let effective: Vec<f64> = shares.iter().map(Share::in_panic).collect();
        let is_panic = effective.iter().any(|weight| *weight > 0.0);
        Self { effective, is_panic }
    }
}

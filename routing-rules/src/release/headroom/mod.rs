//! Headroom: how many requests each endpoint of the canary would have in flight once more users come, and whether these
//! endpoints, or those of stable, have shown that they can carry so many.
//!
//! By Little's law requests in flight are their rate times the time each takes. What the canary's endpoints have now is measured; only
//! what comes on top is predicted, from the requests of those who would come in. It knows neither clock nor endpoints: whoever
//! looks tells what came in stretches of time ([`Flow`]), and [`Carried`] keeps what endpoints have shown.
//!
//! Invariants: a larger share never predicts fewer requests; endpoints that come, with no larger weight than others have, leave no more
//! for each; and what is not known never stands in the way.

mod carried;
mod flow;
mod record;

use std::fmt;

pub use carried::{Carried, Slot};
pub use flow::{Divided, Flow, Followers, Served, predict};

use super::{ReleaseState, Status};
use crate::rules::Release;

/// The endpoints of a canary, and what is known of how much they can take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endpoints {
    count: usize,
    /// The part of all requests that the one with the largest weight gets.
    largest_part: f64,
    /// The most that one of the canary's or of stable's has carried well; nothing as long as nobody knows.
    carried: Option<f64>,
    /// Requests that one lets in at once.
    limit: Option<f64>,
}

/// What endpoints would have to carry, and what there is to say about that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// How many endpoints of the canary take requests.
    pub endpoints: usize,
    /// Requests in flight that are predicted for the endpoint with the largest weight.
    pub predicted: f64,
    /// The most that one has carried well.
    pub carried: Option<f64>,
    /// How many are let in at once, if that is limited.
    pub limit: Option<f64>,
}

impl Endpoints {
    /// Those that take requests, by their weights. `None` if there are none: that is another trouble than too few.
    pub fn new(weights: impl IntoIterator<Item = f64>, carried: Option<f64>) -> Option<Self> {
        let (mut count, mut sum, mut largest) = (0, 0.0, 0.0_f64);
        for weight in weights.into_iter().filter(|weight| *weight > 0.0) {
            (count, sum, largest) = (count + 1, sum + weight, largest.max(weight));
        }
        (count > 0).then(|| Self { count, largest_part: largest / sum, carried, limit: None })
    }

    /// The same with limits that the rules set: to requests in flight at each endpoint, and at all of them.
    #[must_use]
    pub fn limited(self, each: Option<u32>, all: Option<u32>) -> Self {
        let all = all.map(|limit| f64::from(limit) * self.largest_part);
        let limit = each.map(f64::from).into_iter().chain(all).reduce(f64::min);
        Self { limit, ..self }
    }

    /// How they stand if all of them together had so many requests in flight.
    pub fn with(&self, in_flight: f64) -> Headroom {
        let Self { count, largest_part, carried, limit } = *self;
        Headroom { endpoints: count, predicted: in_flight * largest_part, carried, limit }
    }
}

impl Headroom {
    /// Whether there is enough, as far as anybody knows.
    pub fn is_enough(&self) -> bool {
        let Self { predicted, carried, limit, .. } = *self;
        let is_within = limit.is_none_or(|limit| predicted <= limit);
        is_within && carried.is_none_or(|carried| predicted <= LEAST.max(carried * MARGIN))
    }

    /// Whether anything is known to hold against what is predicted, or it is so little that nobody needs to.
    pub fn is_known(&self) -> bool {
        self.carried.is_some() || self.limit.is_some() || self.predicted <= LEAST
    }

    /// The same in words, about a release that would be in this state.
    pub fn words(&self, rules: &Release, next: &ReleaseState) -> String {
        let Self { endpoints, predicted, carried, limit } = *self;
        let (stable, canary) = (rules.stable(), rules.canary());
        let who = match endpoints {
            1 => format!("1 endpoint of {canary} would have {} requests in flight", Figure(predicted)),
            _ => format!("{endpoints} endpoints of {canary} would have {} requests in flight each", Figure(predicted)),
        };
        let share = match next.status {
            Status::Completed => "once everybody has the canary".to_owned(),
            _ => format!("at {} %", next.share()),
        };
        let why = match (limit.filter(|limit| predicted > *limit), carried) {
            (Some(limit), _) => format!("; its limits let in no more than {}", Figure(limit)),
            (None, Some(carried)) => {
                format!("; no endpoint of {stable} or {canary} has carried more than {}", Figure(carried))
            }
            (None, None) => String::new(),
        };
        format!("{who} {share}{why}")
    }
}

/// Requests as people read them: nobody cares for a tenth of forty.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = if self.0 < 10.0 { (10.0 * self.0).round() / 10.0 } else { self.0.round() };
        write!(f, "{rounded}")
    }
}

/// So many times what was carried may be tried: half as much again. Below that every phase of a release would be a wait for
/// endpoints, as each phase is more than was ever there; above it a canary with half of stable's endpoints would take all users.
const MARGIN: f64 = 1.5;

/// Whoever serves anything at all carries so many.
const LEAST: f64 = 2.0;

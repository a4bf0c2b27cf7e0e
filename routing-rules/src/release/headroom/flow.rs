//! What came of a release lately, and what would come with another share.

use crate::release::{ReleaseState, Status};
use crate::spec::Percent;

/// What came of a release in a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// How long the stretch was, in seconds; above 0.
    pub seconds: f64,
    /// Requests in flight at all endpoints of the canary's upstream, whoever sent them, on average.
    pub in_flight: f64,
    /// The release's requests that the canary served.
    pub canary: Served,
    /// The release's requests that stable served.
    pub stable: Served,
    /// Those of the users who follow the phases, among the requests of both.
    pub followers: Followers,
}

/// Requests that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// How many.
    pub requests: u64,
    /// The sum of their times, in microseconds.
    pub time_us: u64,
}

/// Requests of users for whom a rule decides that follows the phases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Followers {
    /// Of users within the share.
    pub inside: f64,
    /// Of users outside it.
    pub outside: f64,
    /// Within which share.
    pub divided: Divided,
}

/// How those who follow the phases were divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divided {
    /// Users within this share had the canary.
    At(Percent),
    /// All had stable; those within this share will be the first to come in.
    Ahead(Percent),
    /// The release was rolled back or complete: nobody was asked.
    Ended,
}

/// How many requests the canary's endpoints would have in flight in this state, together; from stretches of time under way.
/// `None` as long as there are none.
pub fn predict<'f>(flows: impl IntoIterator<Item = &'f Flow>, next: &ReleaseState) -> Option<f64> {
    let mut sum = Sum::default();
    flows.into_iter().for_each(|flow| sum.add(flow, next));
    let Sum { seconds, in_flight_seconds, more, canary, stable } = sum;
    (seconds > 0.0).then(|| ((in_flight_seconds + more * time_s(canary, stable)) / seconds).max(0.0))
}

#[derive(Default)]
struct Sum {
    seconds: f64,
    in_flight_seconds: f64,
    /// Requests that the canary would have had besides.
    more: f64,
    canary: Served,
    stable: Served,
}

impl Sum {
    fn add(&mut self, flow: &Flow, next: &ReleaseState) {
        self.seconds += flow.seconds;
        self.in_flight_seconds += flow.in_flight * flow.seconds;
        self.more += flow.with(next) - flow.canary.requests as f64;
        self.canary.add(flow.canary);
        self.stable.add(flow.stable);
    }
}

impl Served {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.time_us += other.time_us;
    }

    fn mean_s(self) -> Option<f64> {
        (self.requests > 0).then(|| self.time_us as f64 / 1e6 / self.requests as f64)
    }
}

/// How long a request takes at the canary: as its own say, or those of stable while there are few of these.
fn time_s(canary: Served, stable: Served) -> f64 {
    let own = canary.mean_s().filter(|_| canary.requests >= ENOUGH);
    own.or_else(|| stable.mean_s()).or_else(|| canary.mean_s()).unwrap_or(0.0)
}

impl Flow {
    /// How many requests the canary would have had in this state.
    fn with(&self, next: &ReleaseState) -> f64 {
        let Followers { inside, outside, divided } = self.followers;
        let served = self.canary.requests as f64;
        // Who is in the canary group for another reason stays there.
        let others = if let Divided::Ahead(_) = divided { served } else { (served - inside).max(0.0) };
        // Of a route with several releases, each sees those who follow it, but only what it has placed.
        let all = (served + self.stable.requests as f64).max(others + inside + outside);
        let share = part(next.share());
        match divided {
            _ if next.status == Status::Completed => all,
            Divided::At(now) | Divided::Ahead(now) => others + within(inside, outside, part(now), share),
            // Nobody knows who follows the phases, so everybody is taken to.
            Divided::Ended => all * share,
        }
    }
}

/// How many of those who are inside and outside of one share are within another: all who were inside of a smaller one, and of the
/// others as many as their part says.
fn within(inside: f64, outside: f64, share: f64, other: f64) -> f64 {
    if other < share {
        inside * other / share
    } else if share < 1.0 {
        inside + outside * (other - share) / (1.0 - share)
    } else {
        inside
    }
}

fn part(share: Percent) -> f64 {
    f64::from(share.basis_points()) / f64::from(Percent::ALL.basis_points())
}

/// From so many requests on their mean time is their version's.
const ENOUGH: u64 = 20;

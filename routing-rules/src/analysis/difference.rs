//! Between which bounds the difference of the failure rates lies, pc − ps, in this phase (specification, §8).
//!
//! With a ratio of 1 the logarithm of a bet is a line over the difference, so two sums for each bet hold all windows
//! there ever were, and a bound is where the mean of the bets reaches 20: a bound is wrong with a probability of at
//! most 5 %, whenever it is read. What one window says of a difference of 0 is clipped as all evidence is, so that one
//! burst is no proof; that keeps a line a line. It is about errors: how many answers are slow depends on which edge is
//! asked for.

use super::evidence::{BETTER, Terms, WORSE, ln_sum};
use super::{Counts, Dispersion, Metric, Settings};

/// The sums of a phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    pub(super) worse: [Terms; WORSE.len()],
    pub(super) better: [Terms; BETTER.len()],
}

/// Bounds of pc − ps, from −1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The difference is at least this.
    pub lower: f64,
    /// The difference is at most this.
    pub upper: f64,
}

impl Difference {
    /// Adds the failures of one window, by stratum.
    pub fn add(&mut self, strata: &[Counts], dispersion: &Dispersion, settings: &Settings) {
        let (dispersion, clip) = (dispersion.of_metric(Metric::Errors), settings.options().clip);
        let sums = self.worse.iter_mut().zip(WORSE).chain(self.better.iter_mut().zip(BETTER));
        for (sum, bet) in sums {
            let terms = Terms::of_strata(strata, 1.0, bet);
            *sum = sum.plus(Terms { constant: terms.paid(0.0, dispersion).min(clip), slope: terms.slope / dispersion });
        }
    }

    /// The bounds by what has been added so far; −1 and 1 if that is nothing.
    pub fn interval(&self) -> Interval {
        // A lower bound is too low as long as the canary is shown to be worse than it; an upper bound is high enough if
        // the canary is shown to be better.
        Interval {
            lower: last(|difference| is_shown(&self.worse, difference)),
            upper: -last(|difference| is_shown(&self.better, -difference)),
        }
    }
}

/// Whether the bets speak against a difference.
fn is_shown(bets: &[Terms], difference: f64) -> bool {
    let paid = bets.iter().map(|terms| terms.paid(difference, 1.0)).fold(f64::NEG_INFINITY, ln_sum);
    paid - (bets.len() as f64).ln() >= SHOWN.ln()
}

/// The largest number from −1 to 1 that holds, if all below it do; −1 if none does.
fn last(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (-1.0, 1.0);
    if holds(high) {
        return high;
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        *(if holds(middle) { &mut low } else { &mut high }) = middle;
    }
    low
}

/// What the mean of the bets must reach: 5 % of being wrong.
const SHOWN: f64 = 20.0;
/// Until the bound is known to 10^−15.
const HALVINGS: u32 = 51;

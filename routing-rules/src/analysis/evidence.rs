//! How strongly a window speaks against a statement about two failure rates (specification of the analysis, §2).
//!
//! A bet pays exp(l). While pc ≤ r·ps + d it pays at most its stake on average, whatever ps is and however it changes,
//! if the bet is above 1; while pc ≥ r·ps + d if it is below. So a product of payments is a fair game at best: it ever
//! reaches x with a probability of at most 1/x (Ville), and may be looked at after every window.

use super::Counts;

/// The largest failure rate of the canary that is still acceptable: pc = ratio · ps + difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// How many times control's rate.
    pub ratio: f64,
    /// So much on top, from 0 to 1.
    pub difference: f64,
}

/// Bets that the canary is worse than the margin.
pub(super) const WORSE: [f64; 10] = [1.05, 1.1, 1.2, 1.4, 1.7, 2.2, 3.0, 5.0, 12.0, 50.0];

/// Bets that the canary is better than the margin.
pub(super) const BETTER: [f64; 8] = [0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9];

/// The logarithm of what a bet pays. 0 if one arm is empty: alone, the other says nothing.
///
/// ```
/// # use routing_rules::analysis::{Counts, Margin, evidence};
/// let margin = Margin { ratio: 1.25, difference: 0.0001 };
/// let counts = Counts { canary_events: 3, canary: 50, control_events: 2, control: 450 };
/// assert!((evidence(&counts, margin, 2.2) - 1.6779).abs() < 1e-5);
/// ```
pub fn evidence(counts: &Counts, margin: Margin, bet: f64) -> f64 {
    Terms::of(counts, margin.ratio, bet).paid(margin.difference, 1.0)
}

/// Evidence as a line over the difference d: constant − d · slope.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Terms {
    pub(super) constant: f64,
    pub(super) slope: f64,
}

impl Terms {
    pub(super) fn of(counts: &Counts, ratio: f64, bet: f64) -> Self {
        if counts.canary == 0 || counts.control == 0 {
            return Self::default();
        }
        let [canary_events, canary, control_events, control] =
            [counts.canary_events, counts.canary, counts.control_events, counts.control].map(|count| count as f64);
        let expected = ratio * canary;
        let share = (bet - 1.0) * expected / (expected + control);
        Self {
            constant: canary_events * bet.ln() - (canary_events + control_events) * share.ln_1p(),
            slope: canary * (bet - 1.0) * control / (bet * expected + control),
        }
    }

    /// Of all strata together, each with rates of its own.
    pub(super) fn of_strata(strata: &[Counts], ratio: f64, bet: f64) -> Self {
        strata.iter().map(|counts| Self::of(counts, ratio, bet)).fold(Self::default(), Self::plus)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { constant: self.constant + other.constant, slope: self.slope + other.slope }
    }

    /// The evidence at a difference, as much as it is worth by its dispersion.
    pub(super) fn paid(self, difference: f64, dispersion: f64) -> f64 {
        (self.constant - difference * self.slope) / dispersion
    }
}

/// ln(exp a + exp b); −∞ stands for nothing.
pub(super) fn ln_sum(a: f64, b: f64) -> f64 {
    let (larger, smaller) = if a >= b { (a, b) } else { (b, a) };
    match smaller {
        f64::NEG_INFINITY => larger,
        smaller => larger + (smaller - larger).exp().ln_1p(),
    }
}

//! The numbers of an analysis (specification, §3). A [`Settings`] that exists keeps both guarantees.

use super::evidence::Margin;
use super::{Metric, PerMetric};

/// What may be chosen. [`Options::default`] is what the specification proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The largest probability of a false rollback, over the whole release.
    pub alpha: f64,
    /// The largest probability that a phase lets a canary pass that is worse than allowed.
    pub beta: f64,
    /// The evidence from which on the percent stays where it is.
    pub suspect: f64,
    /// The most that one window may add to the logarithm of a bet: a burst is one event, however many fail in it.
    pub clip: f64,
    /// The shortest phase, in seconds.
    pub min_phase_s: u32,
    /// The phase after which somebody must decide, in seconds.
    pub max_phase_s: u32,
    /// From when on in a phase latency is judged, in seconds: a cold canary is slow.
    pub latency_after_s: u32,
    /// How long two groups are compared before a release, both on stable, in seconds.
    pub preflight_s: u32,
    /// What is judged, and how strictly.
    pub metrics: PerMetric<Limits>,
}

/// How much worse a canary may be in one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The part of the evidence that is staked on this metric. All together are 1; one of 0 is not judged.
    pub weight: f64,
    /// More is a reason for a rollback: so many times control's rate.
    pub rollback_ratio: f64,
    /// And so much on top, as a share of requests.
    pub rollback_difference: f64,
    /// For latency: by how many steps of 9 % the canary may be slower.
    pub rollback_shift: u8,
    /// The same ratio, for promotion.
    pub promotion_ratio: f64,
    /// How many requests more may go bad for each request of the whole rule once the next phase has begun.
    pub harm_budget: f64,
    /// For latency: by how many steps of 9 % a canary may be slower and still be promoted.
    pub promotion_shift: u8,
}

/// An option that would break a promise, or never be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct OptionError {
    /// Its name.
    pub option: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Options that were checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Options);

impl Default for Options {
    fn default() -> Self {
        let latency = |rollback_shift, promotion_shift| Limits {
            weight: 0.125,
            rollback_ratio: 1.0,
            rollback_difference: 0.0,
            rollback_shift,
            promotion_ratio: 1.0,
            harm_budget: 0.002,
            promotion_shift,
        };
        let errors = Limits {
            weight: 0.5,
            rollback_ratio: 1.25,
            rollback_difference: 0.0001,
            promotion_ratio: 1.5,
            harm_budget: 0.001,
            ..Limits::default()
        };
        Self {
            alpha: 0.01,
            beta: 0.05,
            suspect: 10.0,
            clip: 3.5,
            min_phase_s: 120,
            max_phase_s: 3_600,
            latency_after_s: 30,
            preflight_s: 600,
            metrics: PerMetric::new(|metric| match metric {
                Metric::Errors => errors,
                Metric::P50 | Metric::P75 => latency(1, 2),
                Metric::P95 | Metric::P99 => latency(2, 3),
            }),
        }
    }
}

impl Settings {
    /// Checks them.
    ///
    /// # Errors
    /// The first option that is out of its range.
    pub fn new(options: Options) -> Result<Self, OptionError> {
        within("alpha", options.alpha, 1e-6, 0.5)?;
        within("beta", options.beta, 1e-6, 0.5)?;
        within("suspect", options.suspect, 1.0, 1.0 / options.alpha)?;
        within("clip", options.clip, 0.1, 100.0)?;
        within("max_phase_s", options.max_phase_s.into(), 60.0, 30.0 * 86_400.0)?;
        within("min_phase_s", options.min_phase_s.into(), 5.0, options.max_phase_s.into())?;
        within("latency_after_s", options.latency_after_s.into(), 0.0, options.max_phase_s.into())?;
        within("preflight_s", options.preflight_s.into(), 0.0, 86_400.0)?;
        for (_, limits) in options.metrics.iter() {
            within("weight", limits.weight, 0.0, 1.0)?;
            within("rollback_ratio", limits.rollback_ratio, 1.0, 100.0)?;
            within("rollback_difference", limits.rollback_difference, 0.0, 1.0)?;
            within("rollback_shift", limits.rollback_shift.into(), 0.0, MOST_SHIFT)?;
            within("promotion_ratio", limits.promotion_ratio, 1.0, 100.0)?;
            within("harm_budget", limits.harm_budget, 0.0, 1.0)?;
            within("promotion_shift", limits.promotion_shift.into(), 0.0, MOST_SHIFT)?;
        }
        // More than one in all would be more evidence than there are stakes.
        let weights: f64 = options.metrics.iter().map(|(_, limits)| limits.weight).sum();
        within("the sum of all weights", weights, 1.0 - 1e-9, 1.0 + 1e-9)?;
        Ok(Self(options))
    }

    /// What was checked.
    pub fn options(&self) -> &Options {
        &self.0
    }

    pub(super) fn limits(&self, metric: Metric) -> &Limits {
        &self.0.metrics[metric]
    }

    /// The metrics that are judged.
    pub(super) fn judged(&self) -> impl Iterator<Item = Metric> {
        Metric::ALL.into_iter().filter(|metric| self.limits(*metric).weight > 0.0)
    }

    /// What ln E must reach for a rollback.
    pub(super) fn ln_rollback(&self) -> f64 {
        -self.0.alpha.ln()
    }

    /// What ln G must reach for a promotion.
    pub(super) fn ln_promotion(&self) -> f64 {
        -self.0.beta.ln()
    }

    pub(super) fn rollback_shifts(&self) -> PerMetric<u8> {
        PerMetric::new(|metric| self.limits(metric).rollback_shift)
    }

    pub(super) fn promotion_shifts(&self) -> PerMetric<u8> {
        PerMetric::new(|metric| self.limits(metric).promotion_shift)
    }
}

impl Limits {
    pub(super) fn rollback(&self) -> Margin {
        Margin { ratio: self.rollback_ratio, difference: self.rollback_difference }
    }

    /// The same harm is a larger difference while fewer users would meet it: `next_share` of them, from 0 to 1.
    pub(super) fn promotion(&self, next_share: f64) -> Margin {
        Margin { ratio: self.promotion_ratio, difference: self.harm_budget / next_share }
    }
}

/// Sixteen times as slow is not a little slower.
const MOST_SHIFT: f64 = 32.0;

/// NaN is nowhere.
fn within(option: &'static str, value: f64, least: f64, most: f64) -> Result<(), OptionError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OptionError { option, reason: format!("{value} is not from {least} to {most}") })
}

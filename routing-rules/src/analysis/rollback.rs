//! Evidence that the canary is worse than it may be, over a whole release (specification of the analysis, §4).
//!
//! There is a stake of 1 in all. A part of it is put on every bet at the start of a phase and once a minute after that;
//! what is left is the reserve. The whole is a fair game at best while the canary is as good as it must be, so it
//! reaches 1/alpha with a probability of at most alpha, over the release and however often it is looked at. Nothing
//! ever puts it back.
//!
//! The first phases, as many as were said at the beginning, have a series of stakes each, which all together come to
//! the stake of 1. A phase beyond these, or one that is entered again, goes on with the series there is.

use super::evidence::{Terms, WORSE, ln_sum};
use super::{Counts, Dispersion, Metric, PerMetric, Settings};

/// Stakes and winnings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// How many phases have a series of stakes.
    pub(super) phases: u32,
    /// The last phase that began one, counted from 1.
    pub(super) series: u32,
    /// Stakes made in this series.
    pub(super) stakes: u32,
    /// What has not been staked, from 0 to 1.
    pub(super) reserve: f64,
    /// The logarithm of what every bet has made of its stakes.
    pub(super) winnings: PerMetric<[f64; WORSE.len()]>,
}

impl Rollback {
    /// For a release with so many phases that have a control, at least one.
    pub fn new(phases: u32) -> Self {
        let winnings = PerMetric::new(|_| [f64::NEG_INFINITY; WORSE.len()]);
        Self { phases: phases.max(1), series: 1, stakes: 0, reserve: 1.0, winnings }
    }

    /// The phase with this number begins, counted from 1. If a later one began before, nothing changes.
    pub fn begin_phase(&mut self, number: u32) {
        if number > self.series && number <= self.phases {
            (self.series, self.stakes) = (number, 0);
        }
    }

    /// Puts the next stake of the series on all bets: at the start of a phase, and every twelfth window of it.
    pub fn stake(&mut self, settings: &Settings) {
        self.stakes = self.stakes.saturating_add(1);
        let turn = f64::from(self.stakes);
        let stake = 1.0 / (f64::from(self.phases) * turn * (turn + 1.0));
        self.reserve = (self.reserve - stake).max(LEAST);
        for metric in settings.judged() {
            let share = stake * settings.limits(metric).weight / WORSE.len() as f64;
            for winnings in &mut self.winnings[metric] {
                *winnings = ln_sum(*winnings, share.ln());
            }
        }
    }

    /// Pays for one window: the counts of each stratum, by metric.
    pub fn pay(&mut self, counts: &PerMetric<Vec<Counts>>, dispersion: &Dispersion, settings: &Settings) {
        for metric in settings.judged() {
            let margin = settings.limits(metric).rollback();
            for (winnings, bet) in self.winnings[metric].iter_mut().zip(WORSE) {
                let terms = Terms::of_strata(&counts[metric], margin.ratio, bet);
                *winnings += terms.paid(margin.difference, dispersion.of_metric(metric)).min(settings.options().clip);
            }
        }
    }

    /// What has not been staked, from 0 to 1.
    pub fn reserve(&self) -> f64 {
        self.reserve
    }

    /// The logarithm of the evidence, E.
    pub fn ln_evidence(&self) -> f64 {
        let winnings = Metric::ALL.into_iter().map(|metric| self.ln_winnings(metric));
        winnings.fold(self.reserve.ln(), ln_sum)
    }

    /// The metric that most of the evidence is about; none before the first stake.
    pub fn trigger(&self) -> Option<Metric> {
        // Of equals it is the first.
        let (metric, most) = Metric::ALL
            .into_iter()
            .rev()
            .map(|metric| (metric, self.ln_winnings(metric)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        (most > f64::NEG_INFINITY).then_some(metric)
    }

    fn ln_winnings(&self, metric: Metric) -> f64 {
        self.winnings[metric].iter().copied().fold(f64::NEG_INFINITY, ln_sum)
    }
}

/// Windows from one stake to the next: a minute.
pub(super) const STAKE_EVERY: u32 = 12;
/// A reserve of nothing would have no logarithm.
pub(super) const LEAST: f64 = 1e-300;

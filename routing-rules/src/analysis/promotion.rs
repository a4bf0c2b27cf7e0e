//! Evidence that the canary is good enough for the next phase (specification of the analysis, §5).
//!
//! It starts anew with every phase and with every edit of the rules, and it is asked what it is now: what it once was
//! does not count, or a canary that has become worse would pass.

use super::evidence::{BETTER, Terms, ln_sum};
use super::{Counts, Dispersion, Metric, PerMetric, Settings};

/// Winnings of one phase, and how they have grown.
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    /// The logarithm of what every bet has made of a stake of 1.
    pub(super) winnings: PerMetric<[f64; BETTER.len()]>,
    /// Windows since it started.
    pub(super) windows: u32,
    /// ln G of every metric at the last whole minutes, the latest last.
    pub(super) minutes: [PerMetric<f64>; MINUTES],
}

impl Default for Promotion {
    fn default() -> Self {
        Self { winnings: PerMetric::new(|_| [0.0; BETTER.len()]), windows: 0, minutes: [PerMetric::default(); MINUTES] }
    }
}

impl Promotion {
    /// Pays for one window: the counts of each stratum, by metric. `next_share` is the canary's share of the next
    /// phase, above 0.
    pub fn pay(
        &mut self,
        counts: &PerMetric<Vec<Counts>>,
        next_share: f64,
        dispersion: &Dispersion,
        settings: &Settings,
    ) {
        for metric in settings.judged() {
            let margin = settings.limits(metric).promotion(next_share);
            for (winnings, bet) in self.winnings[metric].iter_mut().zip(BETTER) {
                let terms = Terms::of_strata(&counts[metric], margin.ratio, bet);
                *winnings += terms.paid(margin.difference, dispersion.of_metric(metric)).min(settings.options().clip);
            }
        }
        self.windows = self.windows.saturating_add(1);
        if self.windows.is_multiple_of(MINUTE) {
            self.minutes.rotate_left(1);
            self.minutes[MINUTES - 1] = PerMetric::new(|metric| self.ln_evidence(metric));
        }
    }

    /// The logarithm of the evidence for one metric, G.
    pub fn ln_evidence(&self, metric: Metric) -> f64 {
        let sum = self.winnings[metric].iter().copied().fold(f64::NEG_INFINITY, ln_sum);
        sum - (BETTER.len() as f64).ln()
    }

    /// Whether every metric that is judged is shown to be good enough, now.
    pub fn is_safe(&self, settings: &Settings) -> bool {
        settings.judged().all(|metric| self.ln_evidence(metric) >= settings.ln_promotion())
    }

    /// In how many windows a metric will have been shown, if its evidence grows as in the last five minutes. None if it
    /// does not grow, or in the first minute.
    pub fn windows_left(&self, metric: Metric, settings: &Settings) -> Option<f64> {
        // The oldest of them is four to five minutes old; in the first minutes it is the start, where ln G was 0.
        let oldest = self.minutes[0][metric];
        let since = self.windows.min((MINUTES as u32 - 1) * MINUTE + self.windows % MINUTE);
        let now = self.ln_evidence(metric);
        let growth = (now - oldest) / f64::from(since);
        let left = (settings.ln_promotion() - now).max(0.0);
        (self.windows >= MINUTE && growth > 0.0).then_some(left / growth)
    }
}

/// Windows of a minute.
const MINUTE: u32 = 12;
/// Whole minutes that are remembered.
pub(super) const MINUTES: usize = 5;

//! What the samples say: medians, ratios within a round, and whether the bars are met.
//!
//! A ratio is taken within each round first, then the median over rounds: a machine that is slower for a minute is
//! slower for both. Nothing here prints.

use std::collections::BTreeMap;

use crate::cases::{Case, Figure, Sample};
use crate::peers::Proxy;

/// Everything measured in one run.
#[derive(Debug, Default)]
pub struct Results {
    samples: BTreeMap<(Case, Proxy, usize), Result<Sample, String>>,
}

/// A median and what it is the median of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None of nothing.
    #[must_use]
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_unstable_by(f64::total_cmp);
        let (&least, &most) = (numbers.first()?, numbers.last()?);
        let (low, high) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }
}

impl Results {
    pub fn record(&mut self, case: Case, proxy: Proxy, round: usize, result: Result<Sample, String>) {
        self.samples.insert((case, proxy, round), result);
    }

    #[must_use]
    pub fn sample(&self, case: Case, proxy: Proxy, round: usize) -> Option<&Sample> {
        self.samples.get(&(case, proxy, round))?.as_ref().ok()
    }

    /// Measurements that could not be made, with their reasons.
    pub fn broken(&self) -> impl Iterator<Item = (Case, Proxy, usize, &str)> {
        self.samples
            .iter()
            .filter_map(|(&(case, proxy, round), result)| Some((case, proxy, round, result.as_ref().err()?.as_str())))
    }

    /// All good samples of a proxy in a case, with their rounds.
    pub fn of(&self, case: Case, proxy: Proxy) -> impl Iterator<Item = (usize, &Sample)> {
        self.samples
            .range((case, proxy, 0)..=(case, proxy, usize::MAX))
            .filter_map(|(&(_, _, round), result)| Some((round, result.as_ref().ok()?)))
    }

    #[must_use]
    pub fn spread(&self, case: Case, proxy: Proxy, number: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.of(case, proxy).map(|(_, sample)| number(sample)).collect())
    }

    /// The case's figure of one proxy as a multiple of another's, round by round.
    #[must_use]
    pub fn ratio(&self, case: Case, of: Proxy, to: Proxy) -> Option<Spread> {
        let figure = case.figure();
        let ratios = self.of(case, of).filter_map(|(round, sample)| {
            let base = figure.of(self.sample(case, to, round)?);
            (base > 0.0).then(|| figure.of(sample) / base)
        });
        Spread::of(ratios.collect())
    }

    /// The best of `among` by the case's figure.
    #[must_use]
    pub fn best(&self, case: Case, among: impl IntoIterator<Item = Proxy>) -> Option<Proxy> {
        let median = |proxy| Some((proxy, self.spread(case, proxy, |sample| case.figure().of(sample))?.median));
        among.into_iter().filter_map(median).min_by(|one, other| one.1.total_cmp(&other.1)).map(|(proxy, _)| proxy)
    }
}

/// Whom a bar compares Serin with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    BestOf(&'static [Proxy]),
    One(Proxy),
    /// A number in the figure's own unit.
    Absolute,
}

/// A number Serin is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub case: Case,
    pub against: Against,
    pub at_most: f64,
}

const PEERS: &[Proxy] = &[Proxy::Nginx, Proxy::Haproxy, Proxy::Envoy, Proxy::Traefik, Proxy::Pingora];

/// The numbers to reach. None is reached with a failure.
pub const BARS: &[Bar] = &[
    Bar { case: Case::Small, against: Against::BestOf(&[Proxy::Nginx, Proxy::Haproxy]), at_most: 1.00 },
    Bar { case: Case::Small, against: Against::One(Proxy::Relay), at_most: 1.25 },
    Bar { case: Case::Small, against: Against::One(Proxy::Pingora), at_most: 0.65 },
    Bar { case: Case::Small, against: Against::One(Proxy::Envoy), at_most: 0.40 },
    Bar { case: Case::Small, against: Against::One(Proxy::Traefik), at_most: 0.40 },
    Bar { case: Case::Medium, against: Against::BestOf(PEERS), at_most: 0.95 },
    Bar { case: Case::Large, against: Against::BestOf(PEERS), at_most: 0.95 },
    Bar { case: Case::Paced, against: Against::BestOf(PEERS), at_most: 1.10 },
    Bar { case: Case::Idle, against: Against::Absolute, at_most: 2.00 },
    Bar { case: Case::OneEach, against: Against::BestOf(PEERS), at_most: 1.10 },
    Bar { case: Case::Reload, against: Against::Absolute, at_most: 1.20 },
    Bar { case: Case::TlsSmall, against: Against::BestOf(PEERS), at_most: 1.00 },
    Bar { case: Case::TlsMedium, against: Against::BestOf(PEERS), at_most: 1.00 },
    Bar { case: Case::TlsFull, against: Against::BestOf(PEERS), at_most: 1.00 },
    Bar { case: Case::TlsResumed, against: Against::BestOf(PEERS), at_most: 1.00 },
    Bar { case: Case::Http2, against: Against::BestOf(PEERS), at_most: 1.00 },
    Bar { case: Case::Http2Clear, against: Against::BestOf(PEERS), at_most: 1.00 },
];

/// A bar and what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub bar: Bar,
    /// Who it came out to be compared with.
    pub with: Option<Proxy>,
    /// None when one of the two is missing.
    pub measured: Option<Spread>,
}

impl Verdict {
    #[must_use]
    pub fn of(bar: Bar, results: &Results) -> Self {
        let with = match bar.against {
            Against::BestOf(among) => results.best(bar.case, among.iter().copied()),
            Against::One(proxy) => Some(proxy),
            Against::Absolute => None,
        };
        let measured = match (bar.against, with) {
            (Against::Absolute, _) => results.spread(bar.case, Proxy::Serin, |sample| bar.case.figure().of(sample)),
            (_, Some(with)) => results.ratio(bar.case, Proxy::Serin, with),
            (_, None) => None,
        };
        Self { bar, with, measured }
    }

    /// By which part of the bar it is met (positive) or missed (negative).
    #[must_use]
    pub fn margin(&self) -> Option<f64> {
        self.measured.map(|measured| 1.0 - measured.median / self.bar.at_most)
    }
}

impl Figure {
    /// How one of its numbers is written.
    #[must_use]
    pub fn write(self, number: f64) -> String {
        match self {
            Self::Cpu if number >= 100.0 => format!("{number:.0}"),
            Self::Cpu => format!("{number:.1}"),
            Self::P99 => format!("{number:.0}"),
            Self::PerConnection | Self::P99TimesQuiet => format!("{number:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(us: f64) -> Result<Sample, String> {
        Ok(Sample { user_us: us, ..Sample::default() })
    }

    fn results(rows: &[(Proxy, &[f64])]) -> Results {
        let mut results = Results::default();
        for &(proxy, rounds) in rows {
            for (round, &us) in rounds.iter().enumerate() {
                results.record(Case::Small, proxy, round, cpu(us));
            }
        }
        results
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // A machine twice as slow in the second round changes nothing.
        let results = results(&[(Proxy::Serin, &[10.0, 20.0, 10.0]), (Proxy::Nginx, &[12.0, 24.0, 12.0])]);
        let ratio = results.ratio(Case::Small, Proxy::Nginx, Proxy::Serin).unwrap();
        assert!((ratio.median - 1.2).abs() < 1e-9 && (ratio.most - ratio.least).abs() < 1e-9);
    }

    #[test]
    fn a_round_without_a_partner_does_not_count() {
        let mut results = results(&[(Proxy::Serin, &[10.0, 20.0]), (Proxy::Nginx, &[12.0, 24.0])]);
        results.record(Case::Small, Proxy::Nginx, 0, Err("did not start".to_owned()));
        assert_eq!(results.of(Case::Small, Proxy::Nginx).count(), 1);
        assert!((results.ratio(Case::Small, Proxy::Nginx, Proxy::Serin).unwrap().median - 1.2).abs() < 1e-9);
        assert_eq!(results.broken().count(), 1);
    }

    #[test]
    fn a_bar_is_met_or_missed_by_a_part_of_itself() {
        let results = results(&[
            (Proxy::Serin, &[9.0]),
            (Proxy::Nginx, &[10.0]),
            (Proxy::Haproxy, &[12.0]),
            (Proxy::Relay, &[6.0]),
        ]);
        let best = Verdict::of(BARS[0], &results);
        assert_eq!(best.with, Some(Proxy::Nginx));
        assert!((best.margin().unwrap() - 0.1).abs() < 1e-9);
        assert!((Verdict::of(BARS[1], &results).margin().unwrap() + 0.2).abs() < 1e-9);
        assert_eq!(Verdict::of(BARS[2], &results).margin(), None);
    }

    #[test]
    fn medians_of_even_counts_lie_between() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(Vec::new()), None);
    }
}

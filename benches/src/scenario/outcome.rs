//! What a run came to: shares, times, losses. The same reckoning as the simulation's, so that numbers can be compared.

use std::ops::Range;

use super::{Figure, Scenario};
use crate::load::Failures;
use crate::load::poisson::{Fate, Outcome};

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

/// One proxy in one scenario.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of requests due during the fault, and after it; those that were lost count with the time that took.
    pub during: Times,
    /// None where nothing is sent after it.
    pub after: Option<Times>,
    pub requests: usize,
    pub lost: u64,
    pub failures: Failures,
    /// Of each endpoint in each half second, as a part of its fair share.
    pub shares: Vec<Vec<f64>>,
    /// Of the watched endpoint, see `Figure`.
    pub share: f64,
    pub back_s: Option<f64>,
    /// How late the load generator itself was, at its 99th percentile.
    pub lag_p99_ms: f64,
}

impl Measured {
    /// # Errors
    /// When the run says nothing about the proxy, and why.
    pub fn new(scenario: &Scenario, load: &Outcome, counts: &[Vec<u32>]) -> Result<Self, String> {
        let got = Got { slots: &scenario.slots, counts };
        let bins = bin(scenario.end_s);
        let fault = &scenario.fault_s;
        let reached = (0..counts.len()).filter(|place| got.count(*place, 0..bin(fault.start)) > 0).count();
        if 2 * reached < counts.len() {
            return Err(format!("only {reached} of {} endpoints got requests before the fault", counts.len()));
        }
        if !load.fates.iter().any(|fate| fate.is_good && fate.due_s > fault.end - 0.5) {
            return Err("no request of the end had a right answer".to_owned());
        }
        let late = (fault.start + 5.0).min(fault.end - 0.5)..(fault.start + 10.0).min(fault.end);
        let watched = scenario.watched;
        Ok(Self {
            during: times(&load.fates, fault).ok_or("no request was due during the fault")?,
            after: times(&load.fates, &(fault.end..f64::INFINITY)),
            requests: load.fates.len(),
            lost: load.fates.iter().filter(|fate| !fate.is_good).count() as u64,
            failures: load.failures,
            shares: (0..counts.len())
                .map(|place| (0..bins).map(|bin| got.share(place, bin..bin + 1)).collect())
                .collect(),
            share: got.share(watched, bin(late.start)..bin(late.end)),
            back_s: got.back_s(watched, bin(fault.end)..bins),
            lag_p99_ms: percentile(&load.lag_ms, 0.99),
        })
    }

    /// The load generator was not on time: somebody else had its core, and perhaps the endpoints' and the proxy's.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.lag_p99_ms > LATE_MS
    }

    /// An endpoint that never had its share back has it after an infinite time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "requests of a run")]
    pub fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::Share => self.share,
            Figure::P99 => self.during.p99_ms,
            Figure::Lost => self.lost as f64,
            Figure::Back => self.back_s.unwrap_or(f64::INFINITY),
        }
    }
}

/// More is late.
const LATE_MS: f64 = 5.0;

/// What the endpoints got.
struct Got<'g> {
    slots: &'g [usize],
    counts: &'g [Vec<u32>],
}

impl Got<'_> {
    fn count(&self, place: usize, bins: Range<usize>) -> u32 {
        self.counts[place].iter().take(bins.end).skip(bins.start).sum()
    }

    /// As a part of what its slots are of all slots.
    #[expect(clippy::cast_precision_loss, reason = "a handful of endpoints")]
    fn share(&self, place: usize, bins: Range<usize>) -> f64 {
        let all: u32 = (0..self.counts.len()).map(|place| self.count(place, bins.clone())).sum();
        let fair = self.slots[place] as f64 / self.slots.iter().sum::<usize>() as f64;
        f64::from(self.count(place, bins)) / f64::from(all.max(1)) / fair
    }

    /// How many seconds after the begin of `bins` it first got 90 % of its share, for a whole second.
    #[expect(clippy::cast_precision_loss, reason = "half seconds of a run")]
    fn back_s(&self, place: usize, bins: Range<usize>) -> Option<f64> {
        let first = bins.start;
        let mut seconds = bins.map(|bin| bin..bin + 2).take_while(|second| second.end <= self.length());
        seconds.find(|second| self.share(place, second.clone()) >= 0.9).map(|second| (second.end - first) as f64 / 2.0)
    }

    fn length(&self) -> usize {
        self.counts.iter().map(Vec::len).max().unwrap_or(0)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "half seconds of a run")]
fn bin(at_s: f64) -> usize {
    (at_s * 2.0).round() as usize
}

pub(crate) fn times(fates: &[Fate], due_s: &Range<f64>) -> Option<Times> {
    let mut took: Vec<f64> = fates.iter().filter(|fate| due_s.contains(&fate.due_s)).map(|fate| fate.took_ms).collect();
    took.sort_unstable_by(f64::total_cmp);
    let times =
        || Times { p50_ms: percentile(&took, 0.5), p99_ms: percentile(&took, 0.99), p999_ms: percentile(&took, 0.999) };
    (!took.is_empty()).then(times)
}

/// Of ascending numbers.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
pub(crate) fn percentile(ascending: &[f64], part: f64) -> f64 {
    let rank = (ascending.len() as f64 * part).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Lengths, Name};

    fn scenario() -> Scenario {
        Name::Slow10.scenario(&Lengths { before_s: 5.0, fault_s: 10.0, after_s: 15.0, stall_s: 0.0 })
    }

    /// Every endpoint gets 100 in each half second; the last one less in some of them.
    fn counts(last: impl Fn(usize) -> u32) -> Vec<Vec<u32>> {
        let mut counts = vec![vec![100; 60]; 8];
        counts[7] = (0..60).map(last).collect();
        counts
    }

    fn fates() -> Vec<Fate> {
        let fate = |second: u32| Fate {
            due_s: f64::from(second),
            took_ms: f64::from(second),
            is_good: second != 7,
            status: if second == 7 { 500 } else { 200 },
            has_retry_after: false,
        };
        (0..30).map(fate).collect()
    }

    #[test]
    fn shares_and_times_are_those_of_the_fault() {
        let load = Outcome { fates: fates(), ..Outcome::default() };
        // It gets nothing from 5 s on and is back 4 s after the fault.
        let got = counts(|bin| if (10..38).contains(&bin) { 0 } else { 100 });
        let measured = Measured::new(&scenario(), &load, &got).unwrap();
        assert_eq!((measured.share, measured.back_s, measured.lost), (0.0, Some(5.0), 1));
        assert_eq!((measured.during.p50_ms, measured.during.p99_ms, measured.after.unwrap().p99_ms), (9.0, 14.0, 29.0));
        assert!((measured.shares[7][0] - 1.0).abs() < 1e-9 && measured.shares[7].len() == 60);
    }

    #[test]
    fn an_endpoint_may_not_come_back() {
        let load = Outcome { fates: fates(), ..Outcome::default() };
        let measured = Measured::new(&scenario(), &load, &counts(|bin| if bin < 10 { 100 } else { 50 })).unwrap();
        assert_eq!(measured.figure(Figure::Back), f64::INFINITY);
    }

    #[test]
    fn a_run_that_says_nothing_is_none() {
        let load = Outcome { fates: fates(), ..Outcome::default() };
        let mut got = vec![vec![0; 60]; 5];
        got.extend(vec![vec![100; 60]; 3]);
        let problem = Measured::new(&scenario(), &load, &got).unwrap_err();
        assert!(problem.contains("only 3 of 8 endpoints"), "{problem}");
        assert!(Measured::new(&scenario(), &Outcome::default(), &counts(|_| 100)).is_err());
    }
}

//! What an attack came to. A request belongs to the phase it was due in.

use std::ops::Range;

use super::crowd::Did;
use super::{Honest, Phase};
use crate::load::poisson::Outcome;
use crate::scenario::outcome::{Times, percentile, times};

/// One attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub figures: Vec<(Honest, Phase, Figures)>,
    pub memory: Memory,
    /// How much of its core the proxy used during the attack, 0 to 1.
    pub core_use: f64,
    pub did: Did,
    /// By how much Serin's counters grew, those that did.
    pub counters: Vec<(String, u64)>,
    /// How late the users themselves were, at their 99th percentile.
    pub lag_p99_ms: f64,
}

/// What became of the requests of one kind of users in one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub requests: usize,
    /// Without a right answer.
    pub failed: usize,
    pub times: Option<Times>,
}

/// Resident memory of the proxy in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub before: u64,
    /// From the attack's begin on.
    pub peak: u64,
    pub after: u64,
}

impl Memory {
    /// Of readings with their times, where an attack lasts so long.
    #[must_use]
    pub fn of(readings: &[(f64, u64)], attack_s: f64) -> Self {
        let begin = Phase::During.seconds(attack_s).start;
        let (quiet, rest) = readings.split_at(readings.partition_point(|(at_s, _)| *at_s < begin));
        let last = |readings: &[(f64, u64)]| readings.last().map_or(0, |(_, kib)| *kib);
        Self { before: last(quiet), peak: rest.iter().map(|(_, kib)| *kib).max().unwrap_or(0), after: last(rest) }
    }
}

impl Figures {
    fn of(load: &Outcome, due_s: &Range<f64>) -> Self {
        let fates = || load.fates.iter().filter(|fate| due_s.contains(&fate.due_s));
        Self {
            requests: fates().count(),
            failed: fates().filter(|fate| !fate.is_good).count(),
            times: times(&load.fates, due_s),
        }
    }
}

/// Of each kind of users in each phase.
#[must_use]
pub fn figures(loads: &[(Honest, Outcome)], attack_s: f64) -> Vec<(Honest, Phase, Figures)> {
    let each = |(honest, load): &(Honest, Outcome)| {
        Phase::ALL.map(|phase| (*honest, phase, Figures::of(load, &phase.seconds(attack_s))))
    };
    loads.iter().flat_map(each).collect()
}

/// The later of them.
#[must_use]
pub fn lag_p99_ms(loads: &[(Honest, Outcome)]) -> f64 {
    loads.iter().map(|(_, load)| percentile(&load.lag_ms, 0.99)).fold(0.0, f64::max)
}

impl Measured {
    #[must_use]
    pub fn figures(&self, honest: Honest, phase: Phase) -> Figures {
        let found = self.figures.iter().find(|(who, when, _)| (*who, *when) == (honest, phase));
        found.map(|(.., figures)| *figures).unwrap_or_default()
    }

    /// Requests of users that failed, of how many.
    #[must_use]
    pub fn failed(&self) -> (usize, usize) {
        self.figures
            .iter()
            .fold((0, 0), |(failed, all), (.., figures)| (failed + figures.failed, all + figures.requests))
    }

    /// The users were not on time: whoever had their core may have had the endpoint's, too.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        const LATE_MS: f64 = 5.0;
        self.lag_p99_ms > LATE_MS
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::poisson::Fate;

    fn fate(due_s: f64, took_ms: f64, is_good: bool) -> Fate {
        Fate { due_s, took_ms, is_good, status: 200, has_retry_after: false }
    }

    pub(in crate::attacks) fn measured() -> Measured {
        // Quiet until 5 s, an attack until 15 s, quiet until 20 s.
        let fates = vec![fate(4.9, 1.0, true), fate(5.0, 30.0, true), fate(14.9, 10.0, false), fate(15.0, 2.0, true)];
        let load = Outcome { fates, lag_ms: vec![0.1], ..Outcome::default() };
        Measured {
            figures: figures(&[(Honest::Regulars, load)], 10.0),
            memory: Memory::of(&[(0.0, 1_024), (4.9, 2_048), (5.1, 9_216), (14.0, 5_120), (19.9, 3_072)], 10.0),
            core_use: 0.5,
            did: Did { opened: 8, ended: 8, sent: 1 << 20 },
            counters: vec![("http2_excesses {of=\"ping\"}".to_owned(), 8)],
            lag_p99_ms: 0.1,
        }
    }

    #[test]
    fn a_request_belongs_to_the_phase_it_was_due_in() {
        let measured = measured();
        let during = measured.figures(Honest::Regulars, Phase::During);
        assert_eq!((during.requests, during.failed), (2, 1));
        assert_eq!(during.times.map(|times| times.p99_ms), Some(30.0));
        assert_eq!(measured.failed(), (1, 4));
        assert_eq!(measured.figures(Honest::Newcomers, Phase::During), Figures::default());
    }

    #[test]
    fn memory_is_that_before_and_the_most_since() {
        assert_eq!(measured().memory, Memory { before: 2_048, peak: 9_216, after: 3_072 });
        assert_eq!(Memory::of(&[], 10.0), Memory::default());
    }
}

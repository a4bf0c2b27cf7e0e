//! What a run came to, phase by phase. A request belongs to the phase it was due in.

use std::ops::Range;

use super::watch::Watched;
use super::{Contestant, DEADLINE_MS, Phase, capacity};
use crate::load::poisson::{Fate, Outcome};
use crate::scenario::outcome::{Times, percentile, times};

/// One contestant.
#[derive(Clone, Debug)]
pub struct Measured {
    pub phases: Vec<(Phase, Figures)>,
    /// The same for every half second.
    pub halves: Vec<Figures>,
    /// Seconds from the end of the overload until a second began in which all was well. None if there was none.
    pub recovered_s: Option<f64>,
    /// None where there is no admin API.
    pub admin: Option<Watched>,
    /// How late the load generator itself was, at its 99th percentile.
    pub lag_p99_ms: f64,
}

/// What became of the requests of some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests a second.
    pub offered: f64,
    /// Right answers within the deadline, a second.
    pub goodput: f64,
    pub accepted: Times,
    pub refused: usize,
    /// Refusals that did not say when to come again.
    pub without_retry_after: usize,
    pub refused_p99_ms: f64,
    /// No answer within the deadline.
    pub late: usize,
    /// Any other end.
    pub failed: usize,
}

impl Measured {
    /// # Errors
    /// When the run says nothing about the proxy, and why.
    pub fn new(contestant: Contestant, each_s: f64, load: &Outcome, admin: Option<Watched>) -> Result<Self, String> {
        let fates = Fates { refusal: contestant.refusal(), fates: &load.fates };
        let phases: Vec<_> = Phase::ALL.map(|phase| (phase, fates.figures(&phase.seconds(each_s)))).into();
        if phases[0].1.goodput < 0.5 * phases[0].1.offered {
            return Err(format!("it does not work even without overload: {:?}", phases[0].1));
        }
        let end_s = Phase::After.seconds(each_s).end;
        let halves = steps(0.0, 0.5).take_while(|at_s| *at_s < end_s);
        Ok(Self {
            halves: halves.map(|at_s| fates.figures(&(at_s..at_s + 0.5))).collect(),
            recovered_s: fates.recovered_s(&Phase::After.seconds(each_s), phases[0].1.accepted.p99_ms),
            phases,
            admin,
            lag_p99_ms: percentile(&load.lag_ms, 0.99),
        })
    }

    #[must_use]
    pub fn figures(&self, phase: Phase) -> &Figures {
        let (_, figures) = self.phases.iter().find(|(which, _)| *which == phase).unwrap_or(&self.phases[0]);
        figures
    }

    /// The highest goodput of any phase.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.phases.iter().map(|(_, figures)| figures.goodput).fold(0.0, f64::max)
    }

    /// The load generator was not on time: somebody else had its core, and perhaps the endpoints' and the proxy's.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.lag_p99_ms > LATE_MS
    }
}

impl Figures {
    /// Of what the endpoints can do.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.goodput / capacity()
    }
}

/// More is late: refusals are to come within 10.
const LATE_MS: f64 = 5.0;

struct Fates<'f> {
    refusal: u16,
    fates: &'f [Fate],
}

impl Fates<'_> {
    #[expect(clippy::cast_precision_loss, reason = "requests of a run")]
    fn figures(&self, due_s: &Range<f64>) -> Figures {
        let due = || self.fates.iter().filter(|fate| due_s.contains(&fate.due_s)).copied();
        let seconds = due_s.end - due_s.start;
        let of = |end: End| due().filter(move |fate| self.end(fate) == end).collect::<Vec<Fate>>();
        let [good, refused] = [End::Good, End::Refused].map(of);
        Figures {
            offered: due().count() as f64 / seconds,
            goodput: good.len() as f64 / seconds,
            accepted: times(&good, due_s).unwrap_or_default(),
            without_retry_after: refused.iter().filter(|fate| !fate.has_retry_after).count(),
            refused_p99_ms: times(&refused, due_s).unwrap_or_default().p99_ms,
            refused: refused.len(),
            late: of(End::Late).len(),
            failed: of(End::Failed).len(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the deadline")]
    fn end(&self, fate: &Fate) -> End {
        match fate.status {
            _ if fate.took_ms >= DEADLINE_MS as f64 => End::Late,
            _ if fate.is_good => End::Good,
            status if status == self.refusal => End::Refused,
            _ => End::Failed,
        }
    }

    /// Until a whole second's requests were all served, and about as quickly as normally.
    fn recovered_s(&self, after_s: &Range<f64>, normal_p99_ms: f64) -> Option<f64> {
        let is_well = |from_s: &f64| {
            let figures = self.figures(&(*from_s..from_s + 1.0));
            let all_served = figures.refused + figures.late + figures.failed == 0;
            all_served && figures.goodput > 0.0 && figures.accepted.p99_ms <= WELL * normal_p99_ms
        };
        let seconds = steps(after_s.start, 0.1).take_while(|from_s| from_s + 1.0 <= after_s.end);
        seconds.into_iter().find(is_well).map(|from_s| from_s - after_s.start)
    }
}

/// Times the normal p99.
const WELL: f64 = 1.5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Refused,
    Late,
    Failed,
}

fn steps(from_s: f64, step_s: f64) -> impl Iterator<Item = f64> {
    (0_u32..).map(move |step| from_s + f64::from(step) * step_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request every 2 ms in phases of 2 s; `end` says how it ends: time and status.
    fn load(end: impl Fn(f64) -> (f64, u16)) -> Outcome {
        let fate = |number: u32| {
            let due_s = f64::from(number) * 0.002;
            let (took_ms, status) = end(due_s);
            Fate { due_s, took_ms, is_good: status == 200, status, has_retry_after: status == 503 }
        };
        Outcome { fates: (0..5_000).map(fate).collect(), ..Outcome::default() }
    }

    #[test]
    fn every_request_has_one_end() {
        // In the second phase there is one of each.
        let ends = [(10.0, 200), (2_000.0, 200), (1.0, 503), (5.0, 0), (1_000.0, 0), (1.0, 502)];
        let load = load(|due_s| {
            let place = (due_s - 2.0) / 0.002;
            ends.iter()
                .enumerate()
                .find(|(at, _)| (*at as f64 - place).abs() < 0.5)
                .map_or((20.0, 200), |(_, end)| *end)
        });
        let measured = Measured::new(Contestant::Auto, 2.0, &load, None).unwrap();
        let figures = measured.figures(Phase::Saturated);
        assert_eq!((figures.refused, figures.late, figures.failed, figures.without_retry_after), (1, 2, 2, 0));
        assert!((figures.goodput - 497.5).abs() < 1.0 && (figures.offered - 500.0).abs() < 1.0, "{figures:?}");
        assert_eq!(measured.halves.len(), 20);
    }

    #[test]
    fn recovery_is_when_a_second_is_well() {
        // Refused until 0.35 s after the overload, slow until 0.55 s.
        let end = |due_s: f64| match due_s {
            6.0..8.35 => (1.0, 503),
            8.35..8.55 => (100.0, 200),
            _ => (20.0, 200),
        };
        let measured = Measured::new(Contestant::Auto, 2.0, &load(end), None).unwrap();
        assert!(measured.recovered_s.is_some_and(|after_s| (0.5..0.61).contains(&after_s)), "{measured:?}");
        let measured = Measured::new(
            Contestant::Auto,
            2.0,
            &load(|due_s| if due_s > 6.0 { (1.0, 503) } else { (20.0, 200) }),
            None,
        );
        assert_eq!(measured.unwrap().recovered_s, None);
    }

    #[test]
    fn a_run_that_says_nothing_is_none() {
        assert!(Measured::new(Contestant::Auto, 2.0, &load(|_| (0.1, 404)), None).is_err());
    }
}

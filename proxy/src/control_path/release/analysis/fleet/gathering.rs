//! Which windows can be closed, and with which reports: all of those who should report, or all that came in time.
//!
//! Windows come in order, each once. A report that comes when its window is closed is late: it is counted, and not used.

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::analysis::{WINDOW_S, Window};
use routing_rules::rules::Name;

use super::super::course::AHEAD;
use super::super::reporter::Report;

/// What was reported and is not closed yet.
#[derive(Default)]
pub(super) struct Gathering {
    /// The last window that was closed here.
    closed: Option<u64>,
    windows: BTreeMap<u64, BTreeMap<Box<str>, Report>>,
    reporters: BTreeMap<Box<str>, Reporter>,
    /// The newest report of each instance: at which revision of etcd it was written, and of which window it is.
    newest: BTreeMap<Box<str>, (i64, u64)>,
    /// Reports that came too late since the last window was closed, by release.
    late: BTreeMap<Name, u32>,
}

/// What is known of an instance that has reported.
struct Reporter {
    first: u64,
    last: u64,
    /// It has ended, and said so.
    has_left: bool,
}

/// A window that is complete, or whose time is over.
pub(super) struct Closable {
    pub(super) window: u64,
    pub(super) reports: BTreeMap<Box<str>, Report>,
    /// Those who should have reported.
    pub(super) absent: BTreeSet<Box<str>>,
    pub(super) late: BTreeMap<Name, u32>,
    /// Others say that it is later than the clock does by which it was closed.
    pub(super) is_behind: bool,
}

impl Closable {
    /// All releases that are reported.
    pub(super) fn releases(&self) -> BTreeSet<Name> {
        self.reports.values().flat_map(|report| report.releases.keys().cloned()).collect()
    }
}

impl Gathering {
    /// A report was written at this revision of etcd, whatever its window is.
    pub(super) fn note(&mut self, instance: &str, revision: i64, window: u64) {
        let newest = self.newest.entry(instance.into()).or_insert((revision, window));
        if revision >= newest.0 {
            *newest = (revision, window);
        }
    }

    fn is_behind(&self, now: u64) -> bool {
        self.newest.values().any(|(_, window)| *window > now + AHEAD)
    }

    /// An instance has reported, at this moment in seconds since 1970.
    pub(super) fn take(&mut self, instance: &str, report: Report, unix_s: u64) {
        let window = report.window;
        let now = Window::number_at(unix_s);
        // Its clock is wrong: it is one that does not report.
        if window > now + AHEAD {
            return;
        }
        // It was this clock that was wrong, and is right again.
        if self.closed.is_some_and(|closed| closed > now + AHEAD) && !self.is_behind(now) {
            *self = Self { newest: std::mem::take(&mut self.newest), ..Self::default() };
        }
        let fresh = || Reporter { first: window, last: window, has_left: false };
        let reporter = self.reporters.entry(instance.into()).or_insert_with(fresh);
        reporter.first = reporter.first.min(window);
        if window >= reporter.last {
            (reporter.last, reporter.has_left) = (window, report.leaves);
        }
        if self.closed.is_some_and(|closed| window <= closed) {
            for name in report.releases.into_keys() {
                let late = self.late.entry(name).or_default();
                *late = late.saturating_add(1);
            }
            return;
        }
        self.windows.entry(window).or_default().insert(instance.into(), report);
    }

    /// The next window, if it can be closed at this moment. `live` are those who are there and report.
    pub(super) fn next(&mut self, live: &BTreeSet<Box<str>>, unix_s: u64) -> Option<Closable> {
        let (&window, reports) = self.windows.first_key_value()?;
        let expected = self.reporters.iter().filter(|(_, reporter)| reporter.is_expected(window)).map(|(id, _)| id);
        // One that has not reported yet, or not for long, is expected; one that has left is not, though its key may still be there.
        let is_unheard = |id: &str| self.reporters.get(id).is_none_or(|reporter| reporter.is_silent(window));
        let unheard = live.iter().filter(|id| is_unheard(id));
        let absent: BTreeSet<_> = expected.chain(unheard).filter(|id| !reports.contains_key(*id)).cloned().collect();
        let deadline_s = window.saturating_add(1 + PATIENCE).saturating_mul(WINDOW_S);
        if !absent.is_empty() && unix_s < deadline_s {
            return None;
        }
        let (window, reports) = self.windows.pop_first()?;
        self.closed = Some(window);
        self.reporters.retain(|_, reporter| !reporter.is_forgotten(window));
        self.newest.retain(|id, _| live.contains(id));
        let is_behind = self.is_behind(Window::number_at(unix_s));
        Some(Closable { window, reports, absent, late: std::mem::take(&mut self.late), is_behind })
    }
}

impl Reporter {
    /// Whether it should report a window. One that was there a moment ago and has not said that it ends may serve users whom
    /// nobody else sees.
    fn is_expected(&self, window: u64) -> bool {
        self.first <= window && if self.has_left { window <= self.last } else { window <= self.last + REMEMBERED }
    }

    fn is_forgotten(&self, window: u64) -> bool {
        window > self.last + REMEMBERED
    }

    fn is_silent(&self, window: u64) -> bool {
        !self.has_left && self.is_forgotten(window)
    }
}

/// How many windows reports may come after theirs has ended.
const PATIENCE: u64 = 2;

/// For how many windows after its last report an instance is expected to report: two minutes. After that it is taken for dead.
const REMEMBERED: u64 = 120 / WINDOW_S;

#[cfg(test)]
mod tests {
    use super::*;

    fn live(ids: &[&str]) -> BTreeSet<Box<str>> {
        ids.iter().map(|id| (*id).into()).collect()
    }

    fn report(window: u64) -> Report {
        Report { window, ..Report::default() }
    }

    /// Number, reports and absent ones of the next window at a time.
    fn next(gathering: &mut Gathering, ids: &[&str], unix_s: u64) -> Option<(u64, usize, Vec<String>)> {
        let Closable { window, reports, absent, .. } = gathering.next(&live(ids), unix_s)?;
        Some((window, reports.len(), absent.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_window_waits_for_all_and_not_for_ever() {
        let mut gathering = Gathering::default();
        assert_eq!(next(&mut gathering, &["a", "b"], 500), None, "nothing was reported");
        gathering.take("a", report(100), 505);
        gathering.take("a", report(101), 510);
        assert_eq!(next(&mut gathering, &["a", "b"], 514), None, "b is there and has never reported");
        gathering.take("b", report(101), 510);
        assert_eq!(next(&mut gathering, &["a", "b"], 510), Some((100, 1, vec![])), "b was not there yet");
        assert_eq!(next(&mut gathering, &["a", "b"], 510), Some((101, 2, vec![])));
        gathering.take("a", report(102), 515);
        assert_eq!(next(&mut gathering, &["a", "b"], 524), None);
        assert_eq!(next(&mut gathering, &["a", "b"], 525), Some((102, 1, vec!["b".to_owned()])));
    }

    #[test]
    fn late_reports_are_counted_and_not_used() {
        let mut gathering = Gathering::default();
        gathering.take("a", report(100), 505);
        assert_eq!(next(&mut gathering, &["a"], 505), Some((100, 1, vec![])));
        let name = Name::new("r").unwrap();
        let seen = super::super::tests::seen(1, 0);
        gathering.take("b", Report { releases: [(name.clone(), seen)].into(), ..report(100) }, 520);
        gathering.take("a", report(101), 520);
        gathering.take("b", report(101), 520);
        let closable = gathering.next(&live(&["a", "b"]), 520).unwrap();
        assert_eq!((closable.window, closable.late), (101, [(name, 1)].into()));
    }

    #[test]
    fn who_is_gone_without_a_word_is_missed_for_two_minutes() {
        let mut gathering = Gathering::default();
        for window in 100..140 {
            gathering.take("a", report(window), 5 * window);
            if window == 100 {
                gathering.take("gone", report(window), 5 * window);
                gathering.take("left", Report { leaves: true, ..report(window) }, 5 * window);
            }
            let (number, count, absent) = next(&mut gathering, &["a"], 5 * window + 20).unwrap();
            assert_eq!((number, count), (window, if window == 100 { 3 } else { 1 }));
            assert_eq!(absent.len(), usize::from((101..=124).contains(&window)), "{window}");
        }
    }

    #[test]
    fn who_is_there_and_silent_is_missed_for_as_long() {
        let mut gathering = Gathering::default();
        gathering.take("silent", report(100), 505);
        for window in 100..200 {
            gathering.take("a", report(window), 5 * window);
            // Its clock is slow: what it says is always of long ago.
            if window > 100 {
                gathering.take("slow", report(window - 40), 5 * window);
            }
            let (_, _, absent) = next(&mut gathering, &["a", "silent", "slow"], 5 * window + 20).unwrap();
            assert!(window == 100 || absent == ["silent", "slow"], "{window}: {absent:?}");
        }
    }

    #[test]
    fn a_clock_that_is_far_ahead_does_not_stop_the_others() {
        let mut gathering = Gathering::default();
        gathering.take("b", report(u64::MAX), 500);
        gathering.take("b", report(100_000), 500);
        gathering.take("a", report(100), 505);
        assert_eq!(next(&mut gathering, &["a", "b"], 514), None);
        assert_eq!(next(&mut gathering, &["a", "b"], 515), Some((100, 1, vec!["b".to_owned()])));
    }
}

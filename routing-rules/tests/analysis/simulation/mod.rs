//! Hours of traffic, judged by the analysis and by what is usual elsewhere: how often a good canary is rolled back, how
//! soon a bad one, and what that costs users. `cargo xtask simulate analysis` runs it at full length and shows the
//! table.
//!
//! The traffic is drawn, what judges it is the code that serves. The same number of runs gives the same table.

mod rivals;
mod table;

use routing_rules::analysis::{Analysis, Metric, Record, Verdict, Window};

use crate::parallel;
use crate::traffic::{ALIKE, Bursts, Source, Traffic};
use rivals::{Intervals, Thresholds};

/// An hour.
const WINDOWS: u64 = 720;

/// What is wrong with the canary, from the first request of its phase on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// So many times stable's failure rate.
    Errors(f64),
    /// So much more than stable's failure rate.
    MoreErrors(f64),
    /// So many times stable's p99.
    P99(f64),
}

/// Who judges.
trait Judge {
    /// Takes a window; whether the canary is rolled back now.
    fn rolls_back(&mut self, record: &Record) -> bool;
}

/// What an hour came to.
#[derive(Clone, Debug)]
struct Hour {
    /// Who rolled back, and when: the analysis, thresholds, intervals.
    ends: [Option<End>; 3],
    /// Requests of canary users that went badly in the whole hour.
    bad: u64,
    /// The first window after which the analysis would have gone on to the next phase.
    promoted: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    windows: u64,
    bad: u64,
}

/// The analysis of a phase at 10 %.
struct Shipped {
    analysis: Analysis,
    promoted: Option<u64>,
    windows: u64,
}

impl Fault {
    fn traffic(self, bursts: Bursts) -> Traffic {
        let traffic = Traffic { bursts, ..ALIKE };
        match self {
            Self::Nothing => traffic,
            Self::Errors(times) => Traffic { canary_failing: traffic.failing * times, ..traffic },
            Self::MoreErrors(more) => Traffic { canary_failing: traffic.failing + more, ..traffic },
            Self::P99(times) => Traffic { canary_p99_times: times, ..traffic },
        }
    }

    /// Requests of the canary that went badly: failures, or answers slower than 99 % of stable's.
    fn bad(self, record: &Record, source: &Source) -> u64 {
        match (self, source.edges().of(Metric::P99)) {
            (Self::P99(_), Some(edge)) => record.canary.latencies.slower_than(edge),
            _ => record.canary.failed,
        }
    }
}

impl Shipped {
    /// Of a release with five phases. A canary that is fine has all that may ever be staked against it in this one
    /// phase.
    fn new(source: &mut Source, fault: Fault) -> Self {
        let phases = if fault == Fault::Nothing { 1 } else { 5 };
        Self { analysis: source.analysis(phases), promoted: None, windows: 0 }
    }
}

impl Judge for Shipped {
    fn rolls_back(&mut self, record: &Record) -> bool {
        self.windows += 1;
        let window = Window::new(self.windows).with("all", record);
        let verdict = self.analysis.close(&window).expect("windows come in order");
        if verdict == Verdict::Promote {
            self.promoted.get_or_insert(self.windows);
        }
        matches!(verdict, Verdict::RolledBack(_))
    }
}

/// An hour, or less if all have rolled back. Each sees the same traffic.
fn hour(fault: Fault, bursts: Bursts, seed: u64) -> Hour {
    let mut source = Source::new(fault.traffic(bursts), seed);
    let mut shipped = Shipped::new(&mut source, fault);
    let (mut thresholds, mut intervals) = (Thresholds::default(), Intervals::default());
    let mut hour = Hour { ends: [None; 3], bad: 0, promoted: None };
    for windows in 1..=WINDOWS {
        let record = source.record();
        hour.bad += fault.bad(&record, &source);
        let judges: [&mut dyn Judge; 3] = [&mut shipped, &mut thresholds, &mut intervals];
        for (end, judge) in hour.ends.iter_mut().zip(judges) {
            if end.is_none() && judge.rolls_back(&record) {
                *end = Some(End { windows, bad: hour.bad });
            }
        }
        if hour.ends.iter().all(Option::is_some) {
            break;
        }
    }
    hour.promoted = shipped.promoted;
    hour
}

/// Many hours, each with a seed of its own.
fn hours(fault: Fault, bursts: Bursts, runs: u64) -> Vec<Hour> {
    parallel::runs(runs, |seed| hour(fault, bursts, seed + 1))
}

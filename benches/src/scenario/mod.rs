//! Scenarios of balancing: what happens to which endpoint and when, and what is expected of Serin then.
//!
//! The same as the simulation in `routing-rules/tests/simulation` has under a virtual clock, with real sockets, and for
//! other proxies too. Modules in the order a run meets them: a scenario is chosen (here), its endpoints are started
//! (`endpoints`), a proxy before them is loaded while the script goes on (`run`), what came out is reckoned (`outcome`) and
//! written down (`report`).

pub mod args;

pub mod endpoints;

pub mod run;

pub mod outcome;

pub mod report;

use std::ops::Range;

use clap::ValueEnum;

use crate::faulty::Order;

/// How long a request takes on average, unless the machine is too slow for the load that means.
pub const MEAN_MS: f64 = 10.0;
pub const SIGMA: f64 = 0.8;

/// Which scenarios there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Name {
    /// Nothing is wrong
    Equal,
    /// One endpoint is 10 times slower
    Slow10,
    /// One endpoint is 3 times slower
    Slow3,
    /// Endpoints of capacity 1, 2 and 4, which nobody told the proxy
    Capacities,
    /// One endpoint takes requests and stands still, for at least 20 s
    Stall,
    /// One endpoint answers 500 at once
    Errors,
    /// One endpoint refuses connections
    Refuse,
    /// 30 % of one endpoint's answers are a 500
    Flaky30,
    /// One endpoint's process is killed and started again
    Kill,
    /// All endpoints are restarted one by one
    Deploy,
}

/// Something that happens to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    Tell(usize, Order),
    /// Its process is killed.
    Kill(usize),
    /// Its process is started again.
    Start(usize),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// What the watched endpoint gets from 5 s into its fault on, as a part of its fair share.
    Share,
    /// During the fault, in milliseconds.
    P99,
    /// Requests without a right answer, in the whole run.
    Lost,
    /// Seconds from the fault's end until the watched endpoint has 90 % of its share.
    Back,
}

/// What is expected of Serin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    pub figure: Figure,
    pub at_most: f64,
}

/// How long things last, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// Before the fault: the proxy learns what is usual.
    pub before_s: f64,
    pub fault_s: f64,
    /// Never longer after the fault than this.
    pub after_s: f64,
    /// A stall is never shorter.
    pub stall_s: f64,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: Name,
    /// How many requests each endpoint serves at a time.
    pub slots: Vec<usize>,
    /// The part of what all endpoints together can do.
    pub load: f64,
    /// The endpoint whose share is looked at.
    pub watched: usize,
    pub events: Vec<(f64, Event)>,
    /// From the first event to the last.
    pub fault_s: Range<f64>,
    pub end_s: f64,
    pub bars: Vec<Bar>,
}

impl Name {
    /// As on the command line.
    #[must_use]
    pub fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    #[must_use]
    pub fn title(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// What happens when things last so long.
    #[must_use]
    pub fn scenario(self, lengths: &Lengths) -> Scenario {
        use Figure::{Back, Lost, P99, Share};
        let one = |order| lasting(lengths.fault_s, Event::Tell(BAD, order), Event::Tell(BAD, Order::Recover));
        let base = |after_s, events, bars: &[(Figure, f64)]| self.of(lengths, after_s, events, bars);
        match self {
            Self::Equal => base(0.0, lasting_nothing(lengths), &[(P99, 52.0), (Lost, 0.0)]),
            Self::Slow10 => {
                base(15.0, one(Order::Slow(10.0)), &[(Share, 0.08), (P99, 65.0), (Lost, 0.0), (Back, 12.0)])
            }
            Self::Slow3 => base(15.0, one(Order::Slow(3.0)), &[(Share, 0.25), (P99, 62.0), (Back, 11.0)]),
            Self::Capacities => Scenario {
                slots: [2, 4, 8].repeat(3),
                load: 0.5,
                watched: 0,
                ..base(0.0, lasting_nothing(lengths), &[(P99, 57.0), (Lost, 0.0)])
            },
            Self::Stall => {
                let stall_s = lengths.fault_s.max(lengths.stall_s);
                let [begin, end] = [Order::Stall, Order::Recover].map(|order| Event::Tell(BAD, order));
                base(17.0, lasting(stall_s, begin, end), &[(Lost, 11.0), (Back, 14.0)])
            }
            Self::Errors => base(30.0, one(Order::Errors), &[(Lost, 20.0), (Back, 26.0)]),
            Self::Refuse => base(30.0, one(Order::Refuse), &[(Lost, 20.0), (Back, 26.0)]),
            Self::Flaky30 => base(15.0, one(Order::Flaky(0.3)), &[(Lost, 520.0)]),
            Self::Kill => base(30.0, lasting(lengths.fault_s, Event::Kill(BAD), Event::Start(BAD)), &[]),
            Self::Deploy => base(30.0, restarts(lengths), &[]),
        }
    }

    fn of(self, lengths: &Lengths, after_s: f64, events: Vec<(f64, Event)>, bars: &[(Figure, f64)]) -> Scenario {
        let events: Vec<_> = events.into_iter().map(|(at_s, event)| (at_s + lengths.before_s, event)).collect();
        let last_s = events.last().map_or(lengths.before_s + lengths.fault_s, |(at_s, _)| *at_s);
        Scenario {
            name: self,
            slots: vec![4; 8],
            load: 0.6,
            watched: BAD,
            events,
            fault_s: lengths.before_s..last_s,
            end_s: last_s + after_s.min(lengths.after_s),
            bars: bars.iter().map(|&(figure, at_most)| Bar { figure, at_most }).collect(),
        }
    }
}

/// The endpoint that something is wrong with.
const BAD: usize = 7;

fn lasting(seconds: f64, begin: Event, end: Event) -> Vec<(f64, Event)> {
    vec![(0.0, begin), (seconds, end)]
}

/// Looked at for as long as a fault would last, and as long again.
fn lasting_nothing(lengths: &Lengths) -> Vec<(f64, Event)> {
    vec![(2.0 * lengths.fault_s, Event::Tell(0, Order::Recover))]
}

/// Each endpoint leaves in order for half of its turn, then comes back.
fn restarts(lengths: &Lengths) -> Vec<(f64, Event)> {
    let turn_s = (lengths.fault_s / 4.0).max(0.2);
    let restart = |place: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a handful of endpoints")]
        let at_s = place as f64 * turn_s;
        [(at_s, Order::Leave), (at_s + turn_s / 2.0, Order::Recover)]
            .map(|(at_s, order)| (at_s, Event::Tell(place, order)))
    };
    (0..8).flat_map(restart).collect()
}

impl Scenario {
    /// Requests per second, when each takes so long.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a handful of endpoints")]
    pub fn rate(&self, mean_ms: f64) -> f64 {
        self.load * self.slots.iter().sum::<usize>() as f64 / mean_ms * 1e3
    }

    /// Whether the bad endpoint must be its own process.
    #[must_use]
    pub fn kills(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Kill(_)))
    }
}

impl Figure {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Share => "share of the bad endpoint, 1 is fair",
            Self::P99 => "p99 during the fault, ms",
            Self::Lost => "lost requests",
            Self::Back => "seconds until 90 % of its share",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_ends_with_all_endpoints_well() {
        let lengths = Lengths { before_s: 5.0, fault_s: 10.0, after_s: 60.0, stall_s: 20.0 };
        for name in Name::value_variants() {
            let scenario = name.scenario(&lengths);
            assert!(scenario.events.is_sorted_by(|one, next| one.0 <= next.0), "{scenario:?}");
            for place in 0..scenario.slots.len() {
                let of_place = |event: &Event| match *event {
                    Event::Tell(of, _) | Event::Kill(of) | Event::Start(of) => of == place,
                };
                let last = scenario.events.iter().rev().find(|(_, event)| of_place(event));
                let is_well = |event: &Event| matches!(event, Event::Tell(_, Order::Recover) | Event::Start(_));
                assert!(last.is_none_or(|(at_s, event)| is_well(event) && *at_s <= scenario.end_s), "{scenario:?}");
            }
        }
    }

    #[test]
    fn the_load_is_a_part_of_what_the_endpoints_can_do() {
        let lengths = Lengths { before_s: 5.0, fault_s: 10.0, after_s: 60.0, stall_s: 20.0 };
        let scenario = Name::Stall.scenario(&lengths);
        assert!((scenario.rate(MEAN_MS) - 1_920.0).abs() < 1e-6, "{}", scenario.rate(MEAN_MS));
        assert_eq!((scenario.fault_s.clone(), scenario.end_s), (5.0..25.0, 42.0));
    }
}

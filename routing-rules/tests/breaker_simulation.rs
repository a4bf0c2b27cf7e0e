//! Breakers under traffic, on a virtual clock: eight endpoints, Poisson arrivals, every worker's shortcut included.
//!
//! There are no weights that learn and no choice by load here, so the numbers show what breakers do alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use routing_rules::breaker::{
    Admission, Breaker, Condition, Gate, Hold, Layout, Member, Outcome, ProbeEnd, Settings, Streak, Transition, Window,
    tick,
};

const SECOND: u64 = 1_000_000;
const SEEDS: u64 = 10;

#[test]
fn a_failure_common_to_all_opens_nothing() {
    let mut held = 0;
    for seed in 0..SEEDS {
        let report =
            Simulation::new(seed, |_, _, draw| if draw < 0.1 { Answer::error() } else { Answer::fine() }).run(300);
        assert_eq!(report.openings, 0, "seed {seed}");
        held += report.held;
    }
    assert!(held > 0, "streaks did fill, so something was there to hold");
}

/// When all begin to fail in the same instant, the first streaks are full before the others have failed as often. That
/// may take out two or three; the rest is held, and what workers tripped is given back by the next tick.
#[test]
fn everything_failing_at_once_takes_out_few() {
    let mut worst = (0, 0);
    for seed in 0..SEEDS {
        let broken = |_, now: u64, _| if now > 30 * SECOND { Answer::error() } else { Answer::fine() };
        let report = Simulation::new(seed, broken).run(60);
        worst = (worst.0.max(report.most_out), worst.1.max(report.refused));
    }
    eprintln!("all fail from one instant on: {} of 8 out, {} requests found no gate open", worst.0, worst.1);
    assert!(worst.0 <= 3 && worst.1 == 0, "{worst:?}");
}

#[test]
fn an_endpoint_that_answers_500_costs_a_few_requests() {
    let mut worst = (0, 0);
    for seed in 0..SEEDS {
        let broken =
            |endpoint, now, _| if endpoint == 7 && during(now, 30, 60) { Answer::error() } else { Answer::fine() };
        let report = Simulation::new(seed, broken).run(120);
        assert!(during(report.opened_at[0] - 200_000, 29, 30), "seed {seed}: {:?}", report.opened_at);
        worst = (worst.0.max(report.errors), worst.1.max(report.full_again / SECOND - 60));
    }
    eprintln!("500s of one endpoint for 30 s: {} errors, full again {} s later", worst.0, worst.1);
    assert!(worst.0 <= 20, "{worst:?}");
    assert!(worst.1 <= 26, "{worst:?}");
}

#[test]
fn a_stalled_endpoint_opens_with_the_first_timeouts() {
    for seed in 0..SEEDS {
        let stalled =
            |endpoint, now, _| if endpoint == 7 && now > 30 * SECOND { Answer::stalled() } else { Answer::fine() };
        let report = Simulation::new(seed, stalled).run(60);
        let first = report.opened_at[0];
        assert!((40 * SECOND..40 * SECOND + 300_000).contains(&first), "seed {seed}: {first}");
    }
}

/// Two seconds well, two seconds broken: the breaker is open most of the time, and half of the rest is well.
#[test]
fn an_endpoint_that_flaps_is_out_most_of_the_time() {
    let mut worst = 0;
    for seed in 0..SEEDS {
        let flapping = |endpoint, now: u64, _| match endpoint == 7 && now / SECOND % 4 >= 2 {
            true => Answer::error(),
            false => Answer::fine(),
        };
        let report = Simulation::new(seed, flapping).run(300);
        assert!(report.openings > 3, "seed {seed}: {}", report.openings);
        worst = worst.max(report.errors);
    }
    eprintln!("one endpoint flaps every 2 s for 300 s: {worst} errors of 36,000 without a breaker");
    assert!(worst <= 300, "{worst}");
}

#[test]
fn a_condition_takes_out_an_endpoint_that_fails_now_and_then() {
    for seed in 0..SEEDS {
        let flaky = |endpoint, _, draw| if endpoint == 7 && draw < 0.3 { Answer::error() } else { Answer::fine() };
        let simulation = || Simulation::new(seed, flaky);
        let without = simulation().run(60).errors;
        let with = simulation().condition("ResponseCodeRatio(500, 600, 0, 600) > 0.15").run(60).errors;
        assert!(with * 5 < without, "seed {seed}: {with} errors instead of {without}");
    }
}

#[test]
fn a_condition_on_latency_takes_out_a_slow_endpoint() {
    for seed in 0..SEEDS {
        let slow =
            |endpoint, _, _| if endpoint == 7 { Answer { us: 100_000, ..Answer::fine() } } else { Answer::fine() };
        let report = Simulation::new(seed, slow).condition("LatencyAtQuantileMS(50) > 50").run(30);
        assert_eq!((report.openings > 0, report.errors), (true, 0), "seed {seed}");
        assert!(report.opened_at[0] < 2 * SECOND, "seed {seed}");
    }
}

#[test]
fn half_of_them_broken_leaves_the_other_half() {
    for seed in 0..SEEDS {
        // From 10 s on one more endpoint breaks every five seconds, up to six of eight.
        let broken = |endpoint, now: u64, _| match endpoint < 6 && now > (10 + 5 * endpoint as u64) * SECOND {
            true => Answer::error(),
            false => Answer::fine(),
        };
        let report = Simulation::new(seed, broken).run(120);
        assert!(report.most_out <= 4, "seed {seed}: {}", report.most_out);
        assert_eq!(report.refused, 0, "seed {seed}");
    }
}

#[test]
fn the_same_run_is_the_same() {
    let flaky = |_, _, draw| if draw < 0.2 { Answer::error() } else { Answer::fine() };
    let run = || Simulation::new(5, flaky).condition("ResponseCodeRatio(500, 600, 0, 600) > 0.19").run(30);
    assert_eq!(run(), run());
}

fn during(now: u64, from_s: u64, to_s: u64) -> bool {
    (from_s * SECOND..to_s * SECOND).contains(&now)
}

/// What an endpoint does with a request.
#[derive(Clone, Copy)]
struct Answer {
    outcome: Outcome,
    us: u64,
}

impl Answer {
    fn fine() -> Self {
        Self { outcome: Outcome::Answer(200), us: 10_000 }
    }

    fn error() -> Self {
        Self { outcome: Outcome::Answer(500), us: 500 }
    }

    fn stalled() -> Self {
        Self { outcome: Outcome::Timeout, us: 10 * SECOND }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Report {
    openings: usize,
    opened_at: Vec<u64>,
    held: usize,
    /// Failures that clients saw.
    errors: usize,
    /// Requests for which no gate was open.
    refused: usize,
    most_out: usize,
    /// When the last breaker closed.
    full_again: u64,
}

/// A request on its way: when it ends, its endpoint, the period it began in, whether it is a probe, and what comes of it.
type Flight = (Reverse<u64>, usize, u32, bool, u16, u64);

struct Simulation<F> {
    behaviour: F,
    condition: Option<Condition>,
    random: Random,
    endpoints: Vec<Endpoint>,
    flights: BinaryHeap<Flight>,
    trips_left: usize,
    report: Report,
}

struct Endpoint {
    breaker: Breaker,
    window: Window,
    gate: Gate,
    streak: u64,
    /// Since the last tick.
    row: Vec<u64>,
}

const ENDPOINTS: usize = 8;
const REQUESTS_PER_SECOND: f64 = 1_920.0;

impl<F: Fn(usize, u64, f64) -> Answer> Simulation<F> {
    fn new(seed: u64, behaviour: F) -> Self {
        let random = Random(seed);
        let (condition, flights, report) = (None, BinaryHeap::new(), Report::default());
        Self { behaviour, condition, random, endpoints: Vec::new(), flights, trips_left: 0, report }
    }

    fn condition(self, text: &str) -> Self {
        Self { condition: Some(text.parse().unwrap()), ..self }
    }

    fn run(mut self, seconds: u64) -> Report {
        let layout = Layout::of(self.condition.as_ref());
        self.endpoints = (0..ENDPOINTS).map(|_| Endpoint::new(&layout)).collect();
        let (mut arrival, mut next_tick) = (0, 0);
        while arrival.min(next_tick) < seconds * SECOND {
            let ending = self.flights.peek().map_or(u64::MAX, |flight| flight.0.0);
            if next_tick <= arrival.min(ending) {
                self.tick(next_tick);
                next_tick += 100_000;
            } else if ending <= arrival {
                self.end(&layout);
            } else {
                self.begin(arrival);
                arrival += (-self.random.unit().ln() / REQUESTS_PER_SECOND * SECOND as f64) as u64;
            }
        }
        self.report
    }

    /// An endpoint by weight among those that let the request through.
    fn begin(&mut self, now: u64) {
        let weights: Vec<f64> = self.endpoints.iter().map(|endpoint| endpoint.weight(now)).collect();
        let mut left = self.random.unit() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|weight| {
            left -= weight;
            *weight > 0.0 && left <= 0.0
        });
        let Some(index) = chosen else {
            self.report.refused += 1;
            return;
        };
        let answer = (self.behaviour)(index, now, self.random.unit());
        let endpoint = &mut self.endpoints[index];
        let mut probe = false;
        if let Admission::Probe(taken) = endpoint.gate.admission() {
            endpoint.gate = taken;
            probe = true;
        }
        let code =
            if answer.outcome == Outcome::Timeout { 0 } else { u16::from(answer.outcome.is_failure()) * 300 + 200 };
        self.flights.push((Reverse(now + answer.us), index, endpoint.gate.epoch(), probe, code, answer.us));
    }

    fn end(&mut self, layout: &Layout) {
        let Some((Reverse(now), index, epoch, probe, code, us)) = self.flights.pop() else { return };
        let outcome = if code == 0 { Outcome::Timeout } else { Outcome::Answer(code) };
        self.report.errors += usize::from(outcome.is_failure());
        let endpoint = &mut self.endpoints[index];
        if epoch != endpoint.gate.epoch() {
            return;
        }
        if probe {
            let end = if outcome.is_failure() { ProbeEnd::Failure } else { ProbeEnd::Success };
            endpoint.gate = endpoint.gate.probed(epoch, end).unwrap_or(endpoint.gate);
        }
        layout.touched(outcome, Some(us)).for_each(|cell| endpoint.row[cell] += 1);
        let streak = endpoint.breaker.settings().streak;
        endpoint.streak = streak.next(endpoint.streak, outcome, now / 1_000);
        if self.trips_left > 0
            && streak.is_full(endpoint.streak)
            && let Some(tripped) = endpoint.gate.tripped()
        {
            endpoint.gate = tripped;
            self.trips_left -= 1;
        }
    }

    fn tick(&mut self, now: u64) {
        let now_ms = now / 1_000;
        for endpoint in &mut self.endpoints {
            endpoint.window.add(now_ms, &endpoint.row);
            endpoint.row.fill(0);
        }
        let mut members: Vec<Member<'_>> = self.endpoints.iter_mut().map(Endpoint::member).collect();
        let random = &mut self.random;
        let ticked = tick(&mut members, self.condition.as_ref(), now_ms, || random.unit());
        self.trips_left = ticked.trips_left;
        for (endpoint, change) in self.endpoints.iter_mut().zip(&ticked.changes) {
            endpoint.gate = change.gate;
            if change.transition.is_some_and(Transition::clears) {
                endpoint.streak = Streak::start(now_ms);
            }
            self.report.see(now, change.transition, endpoint.breaker.held().map(|held| held.1));
        }
        let out = self.endpoints.iter().filter(|endpoint| endpoint.breaker.is_out()).count();
        self.report.most_out = self.report.most_out.max(out);
    }
}

impl Endpoint {
    fn new(layout: &Layout) -> Self {
        let (breaker, window) = (Breaker::new(Settings::endpoint()), Window::new(layout));
        Self { breaker, window, gate: Gate::NEW, streak: Streak::start(0), row: vec![0; layout.cells()] }
    }

    fn member(&mut self) -> Member<'_> {
        Member {
            breaker: &mut self.breaker,
            window: &mut self.window,
            gate: self.gate,
            streak: self.streak,
            available: true,
            check_fails: false,
        }
    }

    fn weight(&self, now: u64) -> f64 {
        match self.gate.admission() {
            Admission::Refused => 0.0,
            Admission::Probe(_) => 1.0,
            Admission::Pass => self.breaker.factor(now / 1_000),
        }
    }
}

impl Report {
    fn see(&mut self, now: u64, transition: Option<Transition>, held: Option<Hold>) {
        self.held += usize::from(held.is_some());
        match transition {
            Some(Transition::Opened(_) | Transition::OpenedAgain) => {
                self.openings += 1;
                self.opened_at.push(now);
            }
            Some(Transition::Closed) => self.full_again = now,
            _ => {}
        }
    }
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ mixed >> 31) >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

//! The table: scenarios, and the bar for what is measured in each. Every endpoint has the breaker it has by default.

use routing_rules::breaker;

use crate::outcome::Outcome;
use crate::process::Policy;
use crate::scenario::{Breaking, Change, SECOND, START_S, Scenario, base, group, pair, pauses, seeds, unequal};

/// A line of the table.
struct Row {
    name: &'static str,
    scenario: Scenario,
    bars: Vec<Bar>,
}

/// What must hold for every seed.
#[derive(Clone, Copy, Debug)]
enum Bar {
    /// At most so many ms.
    P99(f64),
    /// At most so many requests without a good answer.
    Lost(u64),
    /// The part of its share that an endpoint gets between two seconds, from least to most.
    Share(usize, [u64; 2], [f64; 2]),
    /// The largest part of a share that any endpoint gets while it is looked at.
    LargestShare(f64),
    /// How many seconds after an event an endpoint has 90 % of its share again.
    Back(usize, u64, f64),
    /// How much the logarithms of the learned weights move.
    Still(f64),
    /// How often breakers open, at most.
    Openings(usize),
}

impl Bar {
    /// What was measured, and whether that will do.
    fn measure(self, outcome: &mut Outcome) -> (f64, bool) {
        let at_most = |measured: f64, most: f64| (measured, measured <= most);
        match self {
            Self::P99(most) => at_most(outcome.p99_ms(), most),
            Self::Lost(most) => at_most(outcome.lost as f64, most as f64),
            Self::Share(endpoint, [from_s, to_s], [least, most]) => {
                let share = outcome.share(endpoint, from_s, to_s);
                (share, (least..=most).contains(&share))
            }
            Self::LargestShare(most) => at_most(outcome.largest_share(), most),
            Self::Back(endpoint, event_s, most) => at_most(outcome.back_s(endpoint, event_s), most),
            Self::Still(most) => at_most(outcome.std_ln_w(), most),
            Self::Openings(most) => at_most(outcome.opened_us.len() as f64, most as f64),
        }
    }
}

#[test]
fn one_endpoint_is_slow_or_far() {
    let slow = |factor| base().with(START_S..START_S + 30, Change::Slow(7, factor), Change::Slow(7, 1.0));
    check([
        Row {
            name: "one 10 times slow",
            scenario: slow(10.0),
            bars: vec![Bar::Share(7, [25, 30], [0.0, 0.08]), Bar::P99(65.0), Bar::Lost(0), Bar::Back(7, 50, 12.0)],
        },
        Row {
            name: "one 3 times slow",
            scenario: slow(3.0),
            bars: vec![Bar::Share(7, [25, 30], [0.0, 0.25]), Bar::P99(62.0), Bar::Back(7, 50, 11.0)],
        },
        Row {
            name: "one 5 ms away",
            scenario: Scenario { script: vec![(0, Change::Away(7, 5_000))], to_s: 80, ..base() },
            bars: vec![Bar::Share(7, [20, 80], [0.45, 0.75])],
        },
        Row {
            name: "two endpoints, one 3 times slow",
            scenario: pair().with(START_S..START_S + 30, Change::Slow(1, 3.0), Change::Slow(1, 1.0)),
            bars: vec![Bar::P99(96.0)],
        },
        Row {
            name: "ten of 200 endpoints 10 times slow",
            scenario: (190..200).fold(Scenario { per_second: 8_000.0, ..group(vec![4; 200]) }, |scenario, endpoint| {
                let (slow, well) = (Change::Slow(endpoint, 10.0), Change::Slow(endpoint, 1.0));
                scenario.with(START_S..START_S + 30, slow, well)
            }),
            bars: vec![Bar::P99(60.0)],
        },
        Row {
            name: "a cold newcomer",
            scenario: base().with(START_S..START_S + 20, Change::Join(4, 5.0), Change::Slow(8, 1.0)),
            bars: vec![Bar::P99(62.0), Bar::Back(8, 40, 11.0)],
        },
    ]);
}

#[test]
fn one_endpoint_stalls_or_fails() {
    let stall = |scenario: Scenario, endpoint| scenario.at(START_S, Change::Stall(endpoint, 20 * SECOND));
    let breaks = |how| base().with(START_S..START_S + 30, Change::Break(7, how), Change::Mend(7));
    check([
        Row { name: "stall of 20 s", scenario: stall(base(), 7), bars: vec![Bar::Lost(11), Bar::Back(7, 40, 14.0)] },
        Row {
            name: "stall of 20 s, clients wait 1 s",
            scenario: stall(Scenario { patience_us: Some(SECOND), ..base() }, 7),
            bars: vec![Bar::Lost(45), Bar::Back(7, 40, 14.0)],
        },
        Row { name: "two endpoints, stall of 20 s", scenario: stall(pair(), 1), bars: vec![Bar::Lost(31)] },
        Row {
            name: "one refuses",
            scenario: breaks(breaker::Outcome::NetworkError),
            bars: vec![Bar::Lost(20), Bar::Back(7, 50, 26.0)],
        },
        Row {
            name: "one answers 500 at once",
            scenario: breaks(breaker::Outcome::Answer(500)),
            bars: vec![Bar::Lost(20), Bar::Back(7, 50, 26.0)],
        },
        Row {
            name: "30 % of one endpoint's answers are errors",
            scenario: base().with(START_S..START_S + 30, Change::Fail(7, 0.3), Change::Fail(7, 0.0)),
            bars: vec![Bar::Lost(520)],
        },
    ]);
}

/// One comes and goes while another is slow: what is known of the slow one must not be lost.
#[test]
fn one_flaps_and_another_is_slow() {
    let slow = || base().with(START_S..START_S + 30, Change::Slow(7, 5.0), Change::Slow(7, 1.0));
    let flaps = |begin, end| slow().every_other(START_S..START_S + 30, begin, end);
    check([
        Row {
            name: "one is down and up, one 5 times slow",
            scenario: flaps(Change::Down(0), Change::Up(0)),
            bars: vec![Bar::P99(62.0), Bar::Lost(0)],
        },
        Row {
            name: "one refuses now and then, one 5 times slow",
            scenario: flaps(Change::Break(0, breaker::Outcome::NetworkError), Change::Mend(0)),
            bars: vec![Bar::P99(62.0)],
        },
    ]);
}

#[test]
fn nothing_is_wrong_with_one_endpoint() {
    let still = Scenario { to_s: 80, ..base() };
    check([
        Row { name: "equal, 60 %", scenario: still.clone(), bars: vec![Bar::P99(52.0), Bar::Still(0.02)] },
        Row { name: "equal, 80 %", scenario: still.clone().load(0.8), bars: vec![Bar::P99(53.0), Bar::Still(0.02)] },
        Row { name: "pauses, 60 %", scenario: pauses(still.clone()), bars: vec![Bar::P99(70.0)] },
        Row { name: "pauses, 80 %", scenario: pauses(still.load(0.8)), bars: vec![Bar::P99(80.0)] },
        Row {
            name: "one request in 1,000 takes 5 s",
            scenario: Scenario { per_second: 100.0, long: 0.001, to_s: 600, end_s: 600, ..base() },
            bars: vec![Bar::LargestShare(1.25), Bar::Still(0.5)],
        },
    ]);
}

/// The fault is behind all of them: taking one out would only load the rest.
#[test]
fn all_fail_alike() {
    let script = (0..8).map(|endpoint| (0, Change::Fail(endpoint, 0.1))).collect();
    check([Row {
        name: "10 % of all answers are errors",
        scenario: Scenario { script, to_s: 300, end_s: 300, ..base() },
        bars: vec![Bar::Openings(0)],
    }]);
}

#[test]
fn capacities_that_nobody_configured() {
    check([
        Row { name: "1:2:4, 50 %", scenario: unequal().load(0.5), bars: vec![Bar::P99(57.0), Bar::Still(0.06)] },
        Row { name: "1:2:4, 80 %", scenario: unequal().load(0.8), bars: vec![Bar::P99(61.0), Bar::Still(0.06)] },
        Row { name: "1:2:4, 95 %", scenario: unequal().load(0.95), bars: vec![Bar::P99(78.0), Bar::Still(0.06)] },
    ]);
}

#[test]
fn ten_processes() {
    let fleet = |scenario| Scenario { processes: 10, workers: 2, ..scenario };
    let slow = base().with(START_S..START_S + 30, Change::Slow(7, 10.0), Change::Slow(7, 1.0));
    check([
        Row { name: "fleet, equal", scenario: fleet(Scenario { to_s: 80, ..base() }), bars: vec![Bar::P99(52.0)] },
        Row { name: "fleet, one 10 times slow", scenario: fleet(slow), bars: vec![Bar::P99(92.0)] },
        Row {
            name: "fleet, stall of 20 s",
            scenario: fleet(base().at(START_S, Change::Stall(7, 20 * SECOND))),
            bars: vec![Bar::Lost(31)],
        },
        Row { name: "fleet, 1:2:4, 80 %", scenario: fleet(unequal().load(0.8)), bars: vec![Bar::P99(76.0)] },
    ]);
}

#[test]
fn few_requests() {
    let few = Scenario { per_second: 2.0, from_s: 100, to_s: 400, end_s: 450, ..base() };
    let slow = few.clone().with(100..400, Change::Slow(7, 10.0), Change::Slow(7, 1.0));
    check([
        Row {
            name: "2 requests per second, stall of 300 s",
            scenario: few.at(100, Change::Stall(7, 300 * SECOND)),
            bars: vec![Bar::Lost(14)],
        },
        Row {
            name: "2 requests per second, one 10 times slow",
            scenario: slow,
            bars: vec![Bar::Share(7, [100, 400], [0.0, 0.9])],
        },
    ]);
}

/// What a worker has in flight itself says too little where there are many workers.
#[test]
fn workers_must_know_of_each_other() {
    let many = pauses(Scenario { workers: 16, to_s: 80, ..base() });
    let p99 = |view_us| Scenario { view_us, ..many.clone() }.run(1).p99_ms();
    let [exact, fresh, old, own] = [0, 2_000, 50_000, u64::MAX].map(p99);
    eprintln!("p99 with views of 0, 2 and 50 ms, and with none: {exact} {fresh} {old} {own}");
    assert!(fresh < 1.1 * exact && old < 2.0 * exact && own > 2.0 * exact, "{exact} {fresh} {old} {own}");
}

#[test]
fn overload_is_no_worse_than_without_learning() {
    let overload = Scenario { deadline_us: 2 * SECOND, from_s: 0, to_s: 90, end_s: 90, ..base() }.load(1.05);
    for seed in 1..=seeds() {
        let learning = overload.run(seed).lost;
        let turns = Scenario { policy: Policy::RoundRobin, breaking: Breaking::Off, ..overload.clone() }.run(seed).lost;
        eprintln!("105 % load, seed {seed}: {learning} lost, {turns} without learning");
        assert!(learning < turns, "{learning} lost with seed {seed}, {turns} without learning");
    }
}

/// Weights alone pay for an endpoint that fails at once with every turn they leave it.
#[test]
fn without_a_breaker_instant_errors_cost_a_thousand() {
    let refuses = Change::Break(7, breaker::Outcome::NetworkError);
    let scenario = base().with(START_S..START_S + 30, refuses, Change::Mend(7));
    let lost = Scenario { breaking: Breaking::Off, ..scenario }.run(1).lost;
    eprintln!("one refuses, without a breaker: {lost} lost");
    assert!((800..1_300).contains(&lost), "{lost}");
}

/// The simulation is the one the table was made with: plain turns do as badly as they are said to.
#[test]
fn the_scale_is_right() {
    let alone = |policy, scenario| Scenario { policy, breaking: Breaking::Off, ..scenario };
    let turns = |scenario: Scenario| alone(Policy::RoundRobin, scenario).run(1);
    let slow = base().with(START_S..START_S + 30, Change::Slow(7, 10.0), Change::Slow(7, 1.0));
    let stall = base().at(START_S, Change::Stall(7, 20 * SECOND));
    let failing = base().with(START_S..START_S + 30, Change::Fail(7, 0.3), Change::Fail(7, 0.0));
    let lost = [slow.clone(), stall.clone(), failing].map(|scenario| turns(scenario).lost);
    let impatient = turns(Scenario { patience_us: Some(SECOND), ..stall }).lost;
    let p99 = [base(), base().load(0.8), pauses(base()), pauses(base().load(0.8))].map(|it| turns(it).p99_ms());
    eprintln!("by turns: {lost:?} and {impatient} lost, p99 {p99:?}");
    for (lost, table) in lost.into_iter().chain([impatient]).zip([4_355.0, 2_423.0, 2_194.0, 4_589.0]) {
        assert!((lost as f64 / table - 1.0).abs() < 0.05, "{lost}, in the table {table}");
    }
    for (p99, table) in p99.into_iter().zip([47.0, 54.0, 193.0, 211.0]) {
        assert!((p99 / table - 1.0).abs() < 0.05, "{p99}, in the table {table}");
    }
    let p99 = alone(Policy::LeastRequest, base()).run(1).p99_ms();
    assert!((p99 / 46.0 - 1.0).abs() < 0.05, "two choices: {p99}");
}

#[track_caller]
fn check(rows: impl IntoIterator<Item = Row>) {
    let mut missed = Vec::new();
    for Row { name, scenario, bars } in rows {
        for seed in 1..=seeds() {
            let mut outcome = scenario.run(seed);
            let results = bars.iter().map(|bar| (bar, bar.measure(&mut outcome)));
            for (bar, (measured, is_met)) in results {
                eprintln!("{name}, seed {seed}: {bar:?} {measured:.3}");
                if !is_met {
                    missed.push(format!("{name}, seed {seed}: {bar:?}, but it is {measured:.3}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "\n{}\n", missed.join("\n"));
}

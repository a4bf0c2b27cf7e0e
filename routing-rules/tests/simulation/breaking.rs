//! What breakers do: when they open, how many at a time, and what they leave alone.

use routing_rules::breaker;

use crate::outcome::Outcome;
use crate::process::Policy;
use crate::scenario::{Breaking, Change, SECOND, START_S, Scenario, base, seeds};

/// When all begin to fail in the same instant, the first streaks are full before the others have failed as often. That
/// may take out two or three; the rest is held, and what workers tripped is given back by the next tick.
#[test]
fn everything_failing_at_once_takes_out_few() {
    let all = (0..8).fold(base(), |scenario, endpoint| scenario.at(START_S, broken(endpoint)));
    each(&all, |seed, outcome| {
        eprintln!("all fail at once, seed {seed}: {} out, {} held", outcome.most_out, outcome.held);
        assert!(outcome.most_out <= 3 && outcome.refused == 0 && outcome.held > 0, "seed {seed}: {outcome:?}");
    });
}

/// The weight goes first; the timeouts of what was in flight then shut the gate at once.
#[test]
fn a_stalled_endpoint_opens_with_the_first_timeouts() {
    let stalled = base().at(START_S, Change::Stall(7, 60 * SECOND));
    each(&stalled, |seed, outcome| {
        let since_ms = opened_after_ms(&outcome);
        eprintln!("stall, seed {seed}: opened after {since_ms} ms");
        assert!((10_000..10_600).contains(&since_ms), "seed {seed}: opened after {since_ms} ms");
    });
}

/// Two seconds broken, two seconds well: the breaker is open most of the time.
#[test]
fn an_endpoint_that_flaps_is_out_most_of_the_time() {
    let scenario = Scenario { to_s: 320, end_s: 320, ..base() };
    let flaps = scenario.every_other(START_S..320, broken(7), Change::Mend(7));
    each(&flaps, |seed, outcome| {
        eprintln!("one flaps for 300 s, seed {seed}: {} openings, {} lost", outcome.opened_us.len(), outcome.lost);
        assert!(outcome.opened_us.len() > 3 && outcome.lost <= 300, "seed {seed}: {}", outcome.lost);
    });
}

/// Without weights that learn. It seldom fails five times in a row, and half of ten seconds must be bad before 20 % are 10 %.
#[test]
fn a_condition_takes_out_an_endpoint_that_fails_now_and_then() {
    let failing = Scenario { policy: Policy::RoundRobin, ..base() };
    let failing = failing.with(START_S..START_S + 30, Change::Fail(7, 0.2), Change::Fail(7, 0.0));
    let breaking = Breaking::Condition("ResponseCodeRatio(500, 600, 0, 600) > 0.1");
    let with = Scenario { breaking, ..failing.clone() };
    for seed in 1..=seeds() {
        let [without, with] = [&failing, &with].map(|scenario| scenario.run(seed));
        eprintln!("20 % errors, seed {seed}: {} lost with a condition, {} without", with.lost, without.lost);
        assert!(opened_after_ms(&with) < 6_000, "seed {seed}: {with:?}");
        assert!(with.lost * 2 < without.lost, "seed {seed}: {} lost instead of {}", with.lost, without.lost);
    }
}

#[test]
fn a_condition_on_latency_takes_out_a_slow_endpoint() {
    let breaking = Breaking::Condition("LatencyAtQuantileMS(99) > 500");
    let slow = Scenario { breaking, policy: Policy::RoundRobin, ..base() }.at(START_S, Change::Slow(7, 10.0));
    each(&slow, |seed, outcome| {
        let since_ms = opened_after_ms(&outcome);
        eprintln!("slow, seed {seed}: opened after {since_ms} ms");
        assert!(since_ms < 2_000, "seed {seed}: opened after {since_ms} ms");
        assert_eq!(outcome.lost, 0, "seed {seed}");
    });
}

/// One more breaks every five seconds, up to six of eight.
#[test]
fn half_of_them_broken_leaves_the_other_half() {
    let breaking = |scenario: Scenario, endpoint| scenario.at(START_S + 5 * endpoint as u64, broken(endpoint));
    let broken = (0..6).fold(Scenario { to_s: 120, end_s: 120, ..base() }.load(0.2), breaking);
    each(&broken, |seed, outcome| {
        assert!(outcome.most_out <= 4 && outcome.refused == 0, "seed {seed}: {outcome:?}");
    });
}

#[test]
fn the_same_run_is_the_same() {
    let breaking = Breaking::Condition("ResponseCodeRatio(500, 600, 0, 600) > 0.19");
    let script = (0..8).map(|endpoint| (0, Change::Fail(endpoint, 0.2))).collect();
    let scenario = Scenario { breaking, script, end_s: 30, ..base() };
    assert_eq!(scenario.run(5), scenario.run(5));
}

/// How long after the fault began the first breaker opened.
fn opened_after_ms(outcome: &Outcome) -> u64 {
    (outcome.opened_us.first().expect("one opens") - START_S * SECOND) / 1_000
}

fn broken(endpoint: usize) -> Change {
    Change::Break(endpoint, breaker::Outcome::Answer(500))
}

fn each(scenario: &Scenario, look: impl Fn(u64, Outcome)) {
    (1..=seeds()).for_each(|seed| look(seed, scenario.run(seed)));
}

//! Health from results of checks.

use std::time::Duration;

use routing_rules::health::{Health, State, Thresholds, pause};

/// Results (`+` and `-`), and after each one whether the endpoint is up (`u`) or down (`d`).
fn check((rise, fall): (u32, u32), results: &str, states: &str) {
    for mut health in [Health::unproven(), Health::trusted()] {
        let mut seen = String::new();
        for result in results.chars() {
            let before = health.state();
            let change = health.observe(result == '+', Thresholds { rise, fall });
            assert_eq!(change, (health.state() != before).then(|| health.state()), "only changes are told");
            seen.push(if health.is_up() { 'u' } else { 'd' });
        }
        assert_eq!(seen, states, "{results}");
    }
}

#[test]
fn results_in_a_row_change_the_state() {
    check((2, 3), "+--+--+---", "uuuuuuuuud");
    check((2, 3), "-+-+-++--+", "dddddduuuu");
    check((1, 1), "+-+-", "udud");
    check((3, 1), "-++-+++", "ddddddu");
    check((1, 2), "+--+-+--", "uuduuuud");
}

#[test]
fn the_first_result_decides() {
    check((100, 100), "+", "u");
    check((100, 100), "-", "d");
}

#[test]
fn before_the_first_result_only_who_is_trusted_serves() {
    for (health, serves) in [(Health::unproven(), false), (Health::trusted(), true)] {
        assert_eq!((health.state(), health.is_up()), (State::Unknown, serves));
    }
}

#[test]
fn pauses_are_a_tenth_around_the_interval() {
    let interval = Duration::from_secs(5);
    let near = |pause: Duration, ms: u64| pause.abs_diff(Duration::from_millis(ms)) < Duration::from_millis(1);
    for (draw, ms) in [(0, 4_500), (u64::MAX / 4, 4_750), (u64::MAX / 2, 5_000), (u64::MAX, 5_500)] {
        assert!(near(pause(interval, draw), ms), "{draw}: {:?}", pause(interval, draw));
    }
}

//! Counters that wrap, and the look-back over slots.

use routing_rules::balance::{Counts, Evidence, Window};

use crate::random::Random;

const SECOND: u64 = 1_000_000;

/// Whatever the clock shows and however often the counters went round, differences and ages are those of the times.
#[test]
fn wrapping_is_exact() {
    let mut random = Random(3);
    for base in [0, 1 << 40, u64::MAX - 5 * SECOND] {
        let mut counts = Counts::default();
        counts.answered.us2 = random.next();
        counts.in_flight.us2 = 0;
        let before = counts;
        let starts: Vec<u64> = (0..20).map(|_| base.wrapping_add(random.next() % (3 * SECOND))).collect();
        starts.iter().for_each(|start| counts.start(*start));
        starts[..12].iter().for_each(|start| counts.discard(*start));
        let now = base.wrapping_add(4 * SECOND);
        let ages = starts[12..].iter().map(|start| now.wrapping_sub(*start) as f64 / 1e6);
        let evidence = counts.since(&before).evidence(now);
        near(evidence.in_flight_time, ages.clone().sum());
        near(evidence.in_flight_squares, ages.map(|age| age * age).sum());
        assert_eq!((evidence.answered, evidence.answered_squares), (0.0, 0.0));
    }
}

#[test]
fn ages_beyond_the_arithmetic_stay_possible() {
    let mut counts = Counts::default();
    counts.start(0);
    counts.start(0);
    let day = 24.0 * 3_600.0;
    let Evidence { in_flight_time, in_flight_squares, .. } = counts.evidence(day as u64 * SECOND);
    near(in_flight_time, 2.0 * day);
    assert!((2.0 * day * day..=4.0 * day * day).contains(&in_flight_squares), "{in_flight_squares}");
    // A start a little after the tick, by the clock of another thread.
    assert_eq!(Counts::default().evidence(5).in_flight_time, 0.0);
    let mut early = Counts::default();
    early.start(10);
    assert_eq!((early.evidence(5).in_flight_time, early.evidence(5).in_flight_squares), (0.0, 0.0));
}

#[test]
fn every_end_is_counted_once() {
    let mut counts = Counts::default();
    (0..4).for_each(|_| counts.start(SECOND));
    counts.answer(SECOND, 3 * SECOND);
    counts.fail(SECOND, 2 * SECOND);
    counts.give_up(SECOND, 4 * SECOND);
    counts.discard(SECOND);
    let expected = Evidence {
        answered: 1.0,
        answered_time: 2.0,
        answered_squares: 4.0,
        errors: 1.0,
        errors_time: 1.0,
        given_up_time: 3.0,
        given_up_squares: 9.0,
        ..Evidence::default()
    };
    assert_eq!(counts.evidence(9 * SECOND), expected);
    let both = counts.plus(&counts);
    assert_eq!((both.results(), both.since(&counts).results()), (4, 2));
}

#[test]
fn the_look_back_is_longer_where_there_is_little() {
    // Answers in each slot, the oldest first; how many of them a look-back of 10 slots sees.
    let steady = |answers: u64| vec![answers; 100];
    let gap = |slots: usize| [vec![30; 40], vec![0; slots]].concat();
    let cases = [
        (vec![], 0),
        (steady(2), 20),
        (steady(3), 30),
        (steady(1), 20),
        (steady(0), 0),
        (gap(9), 30),
        (gap(10), 30),
        (gap(59), 30),
        (gap(60), 0),
        ([vec![19; 1], vec![0; 58], vec![1; 1]].concat(), 20),
        ([vec![19; 2], vec![0; 58], vec![1; 1]].concat(), 20),
        ([vec![500; 1], vec![0; 20], vec![1; 10]].concat(), 510),
    ];
    for (slots, expected) in cases {
        let mut counts = Counts::default();
        let mut window = Window::new(counts);
        for answers in &slots {
            (0..*answers).for_each(|_| counts.answered.add(10));
            window.close_slot(counts);
        }
        assert_eq!(window.look_back(10).results(), expected, "{slots:?}");
        window.clear();
        assert_eq!(window.look_back(10).results(), 0);
        counts.answered.add(10);
        window.close_slot(counts);
        assert_eq!(window.look_back(10).results(), 1, "what was before the clearing stays away");
    }
}

#[test]
fn the_setting_is_the_shortest_look_back() {
    let mut counts = Counts::default();
    let mut window = Window::new(counts);
    for _ in 0..70 {
        (0..30).for_each(|_| counts.answered.add(10));
        window.close_slot(counts);
    }
    let seen = [1, 4, 60, 100].map(|slots| window.look_back(slots).results());
    assert_eq!(seen, [30, 120, 1_800, 1_800]);
}

#[track_caller]
fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{value}, expected {expected}");
}

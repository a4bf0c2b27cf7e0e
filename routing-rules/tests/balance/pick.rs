//! Choosing: turns, draws, exclusions, and what the choice does to shares.

use routing_rules::balance::{Picked, Schedule, Turns, View};

use crate::random::Random;

const IDLE: fn(usize) -> u32 = |_| 0;
const ALL: fn(usize) -> bool = |_| true;

#[test]
fn where_nothing_is_in_flight_it_is_the_schedule() {
    let schedule = Schedule::new(&[4.0, 1.0, 1.0 / 16.0]);
    let mut turns = Turns::in_order(3);
    let view = View { load: IDLE, load_total: &|| 0, admits: ALL, tried: &[] };
    let mut counts = [0; 3];
    for _ in 0..100_000 {
        let picked = schedule.pick(&mut turns, &view, || unreachable!("an idle endpoint is taken without a draw"));
        counts[picked.unwrap().endpoint] += 1;
    }
    assert_eq!(counts, [79_012, 19_753, 1_235]);
}

#[test]
fn each_worker_has_its_own_order_and_the_same_shares() {
    let schedule = Schedule::new(&[4.0, 1.0, 1.0 / 16.0]);
    let mut random = Random(2);
    let view = View { load: IDLE, load_total: &|| 0, admits: ALL, tried: &[] };
    for _ in 0..20 {
        let mut turns = Turns::new(3, || random.next());
        let mut counts = [0_i32; 3];
        (0..100_000).for_each(|_| counts[schedule.turn(&mut turns, &view).unwrap().endpoint] += 1);
        let off = counts.iter().zip([79_012, 19_753, 1_235]).map(|(count, due)| (count - due).abs()).max();
        assert!(off.unwrap() <= 2, "{counts:?}");
    }
    let orders: std::collections::HashSet<Vec<usize>> = (0..100)
        .map(|_| {
            let mut turns = Turns::new(3, || random.next());
            let even = Schedule::new(&[1.0; 3]);
            (0..3).map(|_| even.turn(&mut turns, &view).unwrap().endpoint).collect()
        })
        .collect();
    assert_eq!(orders.len(), 6);
}

#[test]
fn who_was_tried_or_does_not_admit_is_passed_over() {
    let mut random = Random(4);
    let schedule = Schedule::new(&[1.0, 1.0, 0.001, 0.0]);
    let mut turns = Turns::new(4, || random.next());
    for loads in [[0, 0, 0, 0], [5, 3, 9, 0]] {
        for (tried, open, expected) in [
            (&[][..], 9, &[0, 1, 2][..]),
            (&[0], 9, &[1, 2]),
            (&[0], 1, &[2]),
            (&[2, 0], 9, &[1]),
            (&[0, 1], 2, &[]),
            (&[0, 1, 2], 9, &[]),
        ] {
            let view = View {
                load: |endpoint| loads[endpoint],
                load_total: &|| loads.iter().sum(),
                admits: |endpoint| endpoint != open,
                tried,
            };
            for _ in 0..300 {
                let mut seq_draw = || random.next();
                let picks = [
                    schedule.pick(&mut turns, &view, &mut seq_draw),
                    schedule.turn(&mut turns, &view),
                    schedule.two_choices(&turns, &view, &mut seq_draw),
                ];
                for picked in picks {
                    let endpoint = picked.map(|picked| picked.endpoint);
                    assert!(
                        endpoint.map_or(expected.is_empty(), |endpoint| expected.contains(&endpoint)),
                        "{picked:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_takes_the_request() {
    for schedule in [Schedule::new(&[]), Schedule::new(&[0.0, 0.0]), Schedule::new(&[1.0; 100])] {
        let mut turns = Turns::in_order(schedule.len());
        let view = View { load: IDLE, load_total: &|| 0, admits: |_| false, tried: &[] };
        assert_eq!(schedule.pick(&mut turns, &view, || 1), None);
        assert_eq!(schedule.turn(&mut turns, &view), None);
        assert_eq!(schedule.two_choices(&turns, &view, || 1), None);
    }
    let mut turns = Turns::in_order(1);
    let view = View { load: |_| 1_000, load_total: &|| 1_000, admits: ALL, tried: &[] };
    let alone = Schedule::new(&[3.0]).pick(&mut turns, &view, || unreachable!("there is nobody else to draw"));
    assert_eq!(alone, Some(Picked { endpoint: 0, passed_over: None }));
}

/// One endpoint answers nothing and keeps what it is given; the others answer at once.
#[test]
fn a_stalled_endpoint_is_left_alone() {
    let mut random = Random(6);
    let schedule = Schedule::new(&[1.0; 8]);
    let mut turns = Turns::new(8, || random.next());
    let (mut loads, mut guarded) = ([2_u32; 8], 0);
    for step in 0..100_000 {
        let view =
            View { load: |endpoint| loads[endpoint], load_total: &|| loads.iter().sum(), admits: ALL, tried: &[] };
        let picked = schedule.pick(&mut turns, &view, || random.next()).unwrap();
        guarded += u32::from(picked.passed_over.is_some());
        loads[picked.endpoint] += 1;
        // The other endpoints keep two in flight each.
        if picked.endpoint != 3 {
            loads[picked.endpoint] -= 1;
        }
        assert!(loads[3] <= 5, "{loads:?} after {step}");
    }
    assert!(loads[3] >= 3 && guarded < 100, "{loads:?}, {guarded}");
}

/// With loads that follow the weights, the choice keeps the shares of the weights.
#[test]
fn the_choice_keeps_shares() {
    let weights = [1.0, 1.0, 0.5, 0.25];
    let schedule = Schedule::new(&weights);
    let mut random = Random(8);
    let mut turns = Turns::new(4, || random.next());
    let (mut loads, mut counts) = ([0_u32; 4], [0_u32; 4]);
    let mut in_flight = std::collections::VecDeque::new();
    for _ in 0..200_000 {
        let view =
            View { load: |endpoint| loads[endpoint], load_total: &|| loads.iter().sum(), admits: ALL, tried: &[] };
        let endpoint = schedule.pick(&mut turns, &view, || random.next()).unwrap().endpoint;
        (loads[endpoint], counts[endpoint]) = (loads[endpoint] + 1, counts[endpoint] + 1);
        in_flight.push_back(endpoint);
        if in_flight.len() > 20 {
            loads[in_flight.pop_front().unwrap()] -= 1;
        }
    }
    for (count, weight) in counts.iter().zip(weights) {
        let share = f64::from(*count) / 200_000.0 / (weight / 2.75);
        assert!((0.95..1.05).contains(&share), "{counts:?}");
    }
}

#[test]
fn two_choices_take_the_less_busy() {
    let schedule = Schedule::new(&[1.0, 1.0]);
    let turns = Turns::in_order(2);
    let mut random = Random(1);
    let view = View { load: |endpoint| [7, 6][endpoint], load_total: &|| 13, admits: ALL, tried: &[] };
    let picks = (0..1_000).map(|_| schedule.two_choices(&turns, &view, || random.next()).unwrap().endpoint);
    // It draws the other at most five times, so the busy one is left once in about 64 times.
    let busy = picks.filter(|endpoint| *endpoint == 0).count();
    assert!(busy < 40, "{busy}");
}

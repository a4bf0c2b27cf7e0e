//! The vectors of the specification (§7), ramps, panic.

use routing_rules::balance::{Counts, Evidence, Learned, Learning, Share, Weights, newcomers_ramp, recompute};

const NOTHING: Evidence = Evidence {
    answered: 0.0,
    answered_time: 0.0,
    answered_squares: 0.0,
    errors: 0.0,
    errors_time: 0.0,
    given_up_time: 0.0,
    given_up_squares: 0.0,
    in_flight_time: 0.0,
    in_flight_squares: 0.0,
};
const GOOD: Evidence = answers(250.0, 2.5, 0.05);
const SLOW: Evidence = answers(250.0, 25.0, 5.0);
const FAILING: Evidence = Evidence { errors: 50.0, errors_time: 0.05, ..answers(200.0, 2.0, 0.04) };

const fn answers(count: f64, time: f64, squares: f64) -> Evidence {
    Evidence { answered: count, answered_time: time, answered_squares: squares, ..NOTHING }
}

/// The group, the endpoint that is looked at, its logarithm before; then its slowness, and its weight after 1 and
/// after 10 ticks.
struct Vector(&'static str, &'static [Evidence], usize, f64, Option<f64>, f64, f64);

const STUCK: Evidence = Evidence { in_flight_time: 6.0, in_flight_squares: 12.0, ..NOTHING };
const ONE_LONG: Evidence = Evidence { in_flight_time: 5.0, in_flight_squares: 25.0, ..answers(50.0, 0.5, 0.01) };
const GIVEN_UP: Evidence = Evidence { given_up_time: 20.0, given_up_squares: 20.0, ..NOTHING };
const PAIR: &[Evidence] = &[answers(300.0, 3.0, 0.06), answers(100.0, 3.0, 0.18)];
const FEW: Evidence = answers(2.0, 0.2, 0.02);

const VECTORS: &[Vector] = &[
    Vector("V1", &[GOOD, GOOD, GOOD, SLOW], 3, 0.0, Some(2.188223), 0.496585, 0.070429),
    Vector("V2, the fast", PAIR, 0, 0.0, None, 1.162688, 1.629470),
    Vector("V2, the slow", PAIR, 1, 0.0, Some(0.328375), 0.884139, 0.671075),
    Vector("V3", &[GOOD, GOOD, GOOD, STUCK], 3, 0.0, Some(5.748635), 0.496585, 0.067952),
    Vector("V4", &[GOOD, GOOD, GOOD, FAILING], 3, 0.0, Some(1.444678), 0.581727, 0.172935),
    Vector("V5", &[GOOD, GOOD, GOOD, FEW], 3, 0.0, Some(0.238235), 0.914536, 0.748726),
    Vector("V6", &[GOOD, GOOD, GOOD, ONE_LONG], 3, 0.0, Some(0.0), 1.0, 1.0),
    Vector("V7", &[GOOD, GOOD, GOOD, NOTHING], 3, -1.0, Some(0.0), 0.374062, 0.429431),
    Vector("V8", &[GOOD, GOOD, GOOD, GIVEN_UP], 3, 0.0, Some(7.436762), 0.496585, 0.067952),
    Vector("V9", &[GOOD, GOOD, GOOD, GOOD], 3, -2.5, Some(0.0), 0.105399, 0.773175),
    Vector("V10", &[GOOD, SLOW, SLOW, SLOW], 0, 0.0, None, 1.284025, 3.795791),
    Vector("V11", &[FAILING, FAILING, FAILING, FAILING], 3, 0.0, Some(0.0), 1.0, 1.0),
];

#[test]
fn weights_as_specified() {
    for Vector(name, group, place, before, slowness, after_one, after_ten) in VECTORS {
        let mut learned: Vec<Learned> = group.iter().map(|_| Learned::new(Counts::default())).collect();
        learned[*place] = learned_to(*before);
        tick(&mut learned, group);
        if let Some(slowness) = slowness {
            same(name, learned[*place].slowness(), *slowness);
        }
        same(name, learned[*place].weight(), *after_one);
        (1..10).for_each(|_| tick(&mut learned, group));
        same(name, learned[*place].weight(), *after_ten);
    }
}

/// An endpoint that was brought to this logarithm by ticks without evidence: from the floor, which ten thousand bad
/// ticks reach, it drifts upwards in small steps.
fn learned_to(ln_weight: f64) -> Learned {
    let floor = Learning { min_share: ln_weight.exp(), ..Learning::default() };
    let mut group = [GOOD, GOOD, STUCK].map(|seen| (Learned::new(Counts::default()), seen));
    if ln_weight < 0.0 {
        for _ in 0..200 {
            recompute(&floor, &mut group.each_mut().map(|(learned, seen)| (learned, *seen)));
        }
    }
    let [_, _, (learned, _)] = group;
    assert!((learned.ln_weight() - ln_weight).abs() < 1e-12, "{}", learned.ln_weight());
    learned
}

fn tick(learned: &mut [Learned], group: &[Evidence]) {
    let mut members: Vec<_> = learned.iter_mut().zip(group.iter().copied()).collect();
    recompute(&Learning::default(), &mut members);
}

/// To all digits that are given.
#[track_caller]
fn same(name: &str, value: f64, expected: f64) {
    assert!((value - expected).abs() < 5.1e-7, "{name}: {value}, expected {expected}");
}

#[test]
fn too_little_to_compare() {
    // Nobody answered anything: nothing changes, whatever is in flight.
    let mut learned = vec![learned_to(-1.0), learned_to(-0.5)];
    tick(&mut learned, &[STUCK, NOTHING]);
    let unchanged = [learned_to(-1.0), learned_to(-0.5)].map(|learned| learned.ln_weight());
    assert_eq!(learned.iter().map(Learned::ln_weight).collect::<Vec<_>>(), unchanged);
    // One alone has nobody to be compared with; what was learned fades, also of the others.
    tick(&mut learned, &[SLOW, NOTHING]);
    for (learned, before) in learned.iter().zip([-1.0_f64, -0.5]) {
        same("fading", learned.ln_weight(), before * (1.0 - 0.5 / 30.0));
    }
    let mut one = vec![learned_to(-1.0)];
    tick(&mut one, &[SLOW]);
    same("alone", one[0].ln_weight(), -(1.0 - 0.5 / 30.0));
    recompute(&Learning::default(), &mut []);
}

/// What takes no measurable time, or all of it, makes no weight that is not a number.
#[test]
fn extremes_are_numbers() {
    let instant = answers(1e6, 0.0, 0.0);
    let eternal = Evidence { in_flight_time: 1e12, in_flight_squares: 1e23, ..answers(1.0, 1e9, 1e18) };
    let errors = Evidence { errors: 1e9, errors_time: 0.0, ..NOTHING };
    for group in [[instant, instant, instant], [instant, eternal, errors], [eternal, errors, errors]] {
        let mut learned = vec![Learned::new(Counts::default()); 3];
        for _ in 0..100 {
            tick(&mut learned, &group);
            for learned in &learned {
                assert!((1.0 / 16.0 - 1e-9..=4.0 + 1e-9).contains(&learned.weight()), "{learned:?}");
            }
        }
    }
}

#[test]
fn a_breaker_that_opens_forgets() {
    let mut learned = learned_to(-2.0);
    learned.close_slot(Counts { errors: 7, ..Counts::default() });
    assert_eq!(learned.evidence(&Learning::default(), 0).errors, 7.0);
    learned.forget();
    assert_eq!((learned.weight(), learned.slowness()), (1.0, 0.0));
    assert_eq!(learned.evidence(&Learning::default(), 0), NOTHING);
}

#[test]
fn ramps() {
    let learning = Learning::default();
    let mut learned = Learned::new(Counts::default());
    assert_eq!(learned.ramp(&learning, 0), 1.0);
    learned.start_ramp(3_000_000);
    let factors = [0, 3, 8, 13, 90].map(|second| learned.ramp(&learning, second * 1_000_000));
    assert_eq!(factors, [0.1, 0.1, 0.55, 1.0, 1.0]);
    let none = Learning { slow_start_us: 0, ..learning };
    assert_eq!(learned.ramp(&none, 3_000_000), 1.0);
}

#[test]
fn what_was_counted_before_a_restart_is_no_evidence() {
    let (learning, mut counts) = (Learning::default(), Counts::default());
    let mut learned = Learned::new(counts);
    for request in 0..1_000 {
        counts.start(request);
        counts.answer(request, request + 1_000_000);
    }
    learned.restart(counts);
    learned.close_slot(counts);
    assert_eq!(learned.evidence(&learning, 2_000_000), Evidence::default());
}

#[test]
fn who_ramps() {
    for (members, newcomers, expected) in [(8, 1, true), (8, 4, true), (8, 5, false), (8, 8, false), (1, 1, false)] {
        assert_eq!(newcomers_ramp(members, newcomers), expected, "{newcomers} of {members}");
    }
}

#[test]
fn effective_weights_and_panic() {
    let good = Share { configured: 2.0, learned: 0.5, ramp: 0.5, breaker: 1.0, is_up: true, is_draining: false };
    let down = Share { is_up: false, ..good };
    let open = Share { breaker: 0.0, configured: 3.0, ..good };
    let draining = Share { is_draining: true, ..good };
    let unweighted = Share { configured: 0.0, ..good };
    let cases: &[(&[Share], &[f64], bool)] = &[
        (&[], &[], false),
        (&[good, down, open, draining, unweighted], &[0.5, 0.0, 0.0, 0.0, 0.0], false),
        (&[down, open, draining, unweighted], &[2.0, 3.0, 0.0, 0.0], true),
        (&[draining, unweighted], &[0.0, 0.0], false),
    ];
    for (shares, effective, is_panic) in cases {
        assert_eq!(Weights::new(shares), Weights { effective: effective.to_vec(), is_panic: *is_panic }, "{shares:?}");
    }
}

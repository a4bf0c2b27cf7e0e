//! Headroom: what the endpoints of a canary would carry with more users, and when that is too much.

use routing_rules::release::headroom::{Divided, Endpoints, Flow, Followers, Headroom, Served, predict};
use routing_rules::release::{ReleaseState, Status};
use routing_rules::rules::Release;
use routing_rules::spec::{Percent, ReleaseSpec};

fn percent(points: u16) -> Percent {
    Percent::from_basis_points(100 * points).unwrap()
}

fn at(points: u16) -> ReleaseState {
    ReleaseState { percent: percent(points), status: Status::Running, growth: None }
}

fn completed(points: u16) -> ReleaseState {
    at(points).with_status(Status::Completed)
}

fn served(requests: u64, each_ms: u64) -> Served {
    Served { requests, time_us: requests * each_ms * 1_000 }
}

/// Ten seconds at a share with 100 requests a second, of which each takes 40 ms.
fn steady(share: u16) -> Flow {
    let inside = 10.0 * f64::from(share);
    Flow {
        seconds: 10.0,
        in_flight: inside * 0.004,
        canary: served(inside as u64, 40),
        stable: served(1_000 - inside as u64, 40),
        followers: Followers { inside, outside: 1_000.0 - inside, divided: Divided::At(percent(share)) },
    }
}

fn predicted(flow: &Flow, next: ReleaseState) -> f64 {
    predict([flow], &next).unwrap()
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

#[test]
fn requests_in_flight_are_their_rate_times_their_time() {
    near(predicted(&steady(10), at(10)), 0.4);
    near(predicted(&steady(10), at(50)), 2.0);
    near(predicted(&steady(0), at(50)), 2.0);
    near(predicted(&steady(50), completed(50)), 4.0);
    assert_eq!(predict([], &at(50)), None);
    // The same from stretches with different shares.
    near(predict([&steady(1), &steady(20)], &at(50)).unwrap(), 2.0);
}

#[test]
fn the_canary_may_take_longer() {
    let slow = Flow { in_flight: 2.0, canary: served(100, 200), ..steady(10) };
    near(predicted(&slow, at(50)), 10.0);
    // Of a few requests nothing is learned.
    let few = Flow { canary: served(10, 200), in_flight: 0.2, ..steady(1) };
    near(predicted(&few, at(51)), 0.2 + 50.0 * 0.04);
}

#[test]
fn only_those_who_follow_the_phases_come_in() {
    // Of 100 requests a second 60 are of users whom no rule takes, or whose rule has a percent of its own.
    let followers = Followers { inside: 40.0, outside: 360.0, divided: Divided::At(percent(10)) };
    let flow = Flow { followers, canary: served(140, 40), in_flight: 0.56, stable: served(860, 40), ..steady(10) };
    near(predicted(&flow, at(55)), 0.56 + 18.0 * 0.04);
    near(predicted(&flow, completed(10)), 4.0);
    // What others send there stays there, too.
    near(predicted(&Flow { in_flight: 7.56, ..flow }, at(55)), 7.56 + 18.0 * 0.04);
}

#[test]
fn the_first_who_come_in_are_known_before() {
    let followers = Followers { inside: 300.0, outside: 700.0, divided: Divided::Ahead(percent(10)) };
    let flow = Flow { followers, ..steady(0) };
    near(predicted(&flow, at(10)), 1.2);
    near(predicted(&flow, at(5)), 0.6);
    near(predicted(&flow, at(55)), 0.04 * (30.0 + 35.0));
}

#[test]
fn after_a_rollback_everybody_is_taken_to_follow() {
    let followers = Followers { inside: 0.0, outside: 0.0, divided: Divided::Ended };
    near(predicted(&Flow { followers, ..steady(0) }, at(25)), 1.0);
}

fn headroom(in_flight: f64, weights: &[f64], carried: Option<f64>) -> Headroom {
    Endpoints::new(weights.iter().copied(), carried).unwrap().with(in_flight)
}

#[test]
fn what_was_carried_bounds_what_may_come() {
    let of_one = |in_flight| headroom(in_flight, &[1.0], Some(12.0)).is_enough();
    assert_eq!([12.0, 18.0, 18.1].map(of_one), [true, true, false]);
    assert!(headroom(36.0, &[1.0, 0.0, 1.0], Some(12.0)).is_enough());
    let unknown = headroom(1e9, &[1.0], None);
    assert!(unknown.is_enough() && !unknown.is_known(), "nobody knows");
    assert!(headroom(2.0, &[1.0], None).is_known() && headroom(1e9, &[1.0], Some(1.0)).is_known());
    assert!(headroom(2.0, &[1.0], Some(0.1)).is_enough() && !headroom(2.1, &[1.0], Some(0.1)).is_enough());
    // The largest of several gets more than the others.
    assert!(headroom(36.0, &[2.0, 1.0, 1.0], Some(12.0)).is_enough());
    assert!(!headroom(37.0, &[2.0, 1.0, 1.0], Some(12.0)).is_enough());
    assert_eq!(Endpoints::new([0.0], Some(12.0)), None);
}

#[test]
fn limits_hold_whatever_was_carried() {
    let endpoints = Endpoints::new([1.0, 1.0], Some(100.0)).unwrap();
    let enough = |each, all, in_flight| endpoints.limited(each, all).with(in_flight).is_enough();
    assert!(enough(Some(10), None, 20.0) && !enough(Some(10), None, 21.0));
    assert!(enough(None, Some(20), 20.0) && !enough(Some(100), Some(20), 21.0));
    assert!(!Endpoints::new([1.0], None).unwrap().limited(Some(1), None).with(1.5).is_enough());
}

#[test]
fn it_says_so_in_words() {
    let text = r#"{"stable": "web", "canary": "web-v2", "audience": [{"name": "all"}], "phases": [10, 50]}"#;
    let spec: ReleaseSpec = serde_json::from_str(text).unwrap();
    let rules = Release::new("r", &spec, &mut Vec::new()).unwrap();
    let words = |headroom: Headroom, next| headroom.words(&rules, &next);
    assert_eq!(
        words(headroom(123.0, &[1.0; 3], Some(12.3)), at(50)),
        "3 endpoints of web-v2 would have 41 requests in flight each at 50 %; no endpoint of web or web-v2 has carried more than 12"
    );
    let limited = Endpoints::new([1.0], Some(3.0)).unwrap().limited(Some(20), None).with(24.0);
    assert_eq!(
        words(limited, completed(50)),
        "1 endpoint of web-v2 would have 24 requests in flight once everybody has the canary; its limits let in no more than 20"
    );
    assert_eq!(
        words(headroom(1.25, &[1.0], None), at(50)),
        "1 endpoint of web-v2 would have 1.3 requests in flight at 50 %"
    );
}

/// Numbers that look like any, the same in each run.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

fn any_flow(number: &mut impl FnMut(u64) -> u64) -> Flow {
    let share = percent(number(101) as u16);
    let divided = [Divided::At(share), Divided::Ahead(share), Divided::Ended][number(3) as usize];
    let mut any = || served(number(2_000), 1 + number(100));
    let (canary, stable) = (any(), any());
    Flow {
        seconds: 1.0 + number(100) as f64 / 10.0,
        in_flight: number(1_000) as f64 / 10.0,
        canary,
        stable,
        followers: Followers { inside: number(2_000) as f64, outside: number(2_000) as f64, divided },
    }
}

#[test]
fn a_larger_share_never_predicts_less() {
    for seed in 0..2_000 {
        let mut number = numbers(seed);
        let flows: Vec<Flow> = (0..1 + number(6)).map(|_| any_flow(&mut number)).collect();
        let steps = (0..=100).map(at).chain([completed(100)]);
        let all: Vec<f64> = steps.map(|next| predict(&flows, &next).unwrap()).collect();
        assert!(all.iter().all(|it| it.is_finite() && *it >= 0.0), "{seed}: {all:?}");
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9), "{seed}: {all:?}");
    }
}

#[test]
fn more_endpoints_never_make_it_worse() {
    for seed in 0..2_000 {
        let mut number = numbers(seed);
        let largest = 1 + number(10);
        let mut weights = vec![largest as f64];
        let (in_flight, carried) = (number(1_000) as f64, Some(number(50) as f64).filter(|carried| *carried > 0.0));
        let mut before = headroom(in_flight, &weights, carried);
        for _ in 0..20 {
            weights.push((1 + number(largest)) as f64);
            let now = headroom(in_flight, &weights, carried);
            assert!(now.predicted <= before.predicted && now.is_enough() >= before.is_enough(), "{weights:?}");
            before = now;
        }
    }
}

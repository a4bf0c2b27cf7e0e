//! The hash ring: keys stay, shares follow weights, nobody is overrun.

use routing_rules::balance::{HashRing, Taking, View};

use crate::random::Random;

const IDLE: fn(usize) -> u32 = |_| 0;
const ALL: fn(usize) -> bool = |_| true;
const KEYS: u64 = 100_000;

fn endpoints(count: usize) -> Vec<(String, u16)> {
    (0..count).map(|index| (format!("10.0.0.{index}:8080"), 1)).collect()
}

fn owners(endpoints: &[(String, u16)]) -> Vec<&str> {
    let ring = HashRing::new(endpoints, 1.25);
    let view = View { load: IDLE, load_total: &|| 0, admits: ALL, tried: &[] };
    let owner =
        |key: u64| ring.pick(HashRing::hash(&key.to_be_bytes()), &view, || ring.taking(&view)).unwrap().endpoint;
    (0..KEYS).map(|key| endpoints[owner(key)].0.as_str()).collect()
}

#[test]
fn a_newcomer_takes_its_share_and_moves_nothing_else() {
    for count in [1, 2, 5, 10, 40] {
        let after = endpoints(count + 1);
        for gone in [0, count / 2, count] {
            let before = [&after[..gone], &after[gone + 1..]].concat();
            let newcomer = after[gone].0.as_str();
            let (was, is) = (owners(&before), owners(&after));
            let moved: Vec<&str> = was.iter().zip(&is).filter(|(was, is)| was != is).map(|(_, is)| *is).collect();
            assert!(moved.iter().all(|owner| *owner == newcomer), "{count}: a key moved between old endpoints");
            let share = moved.len() as f64 / KEYS as f64 * (count + 1) as f64;
            assert!((0.8..1.2).contains(&share), "{count}: {share} of its part");
        }
    }
}

#[test]
fn shares_follow_weights() {
    let mut endpoints = endpoints(6);
    for (endpoint, weight) in endpoints.iter_mut().zip([1, 2, 4, 8, 0, 100]) {
        endpoint.1 = weight;
    }
    let owners = owners(&endpoints);
    for (name, weight) in &endpoints {
        let count = owners.iter().filter(|owner| *owner == name).count() as f64;
        let due = KEYS as f64 * f64::from(*weight) / 115.0;
        assert!((count - due).abs() <= 0.2 * due, "{name}: {count}, due {due}");
    }
}

#[test]
fn many_large_weights_keep_their_shares() {
    let heavy: Vec<_> = endpoints(100).into_iter().map(|(name, _)| (name, 1_000)).collect();
    let owners = owners(&heavy);
    let most = heavy.iter().map(|(name, _)| owners.iter().filter(|owner| *owner == name).count()).max().unwrap();
    assert!(most < 1_300, "{most} of {KEYS} keys");
}

/// Every key is hot. Nobody has more than the bound allows at the moment of the pick, and nobody is refused.
#[test]
fn nobody_is_overrun() {
    let mut random = Random(3);
    for (weights, keys) in [(&[1, 1, 1, 1][..], 1), (&[1, 1, 1, 1], 50), (&[1, 2, 4, 1, 1, 1], 3), (&[5], 7)] {
        let mut endpoints = endpoints(weights.len());
        endpoints.iter_mut().zip(weights).for_each(|(endpoint, weight)| endpoint.1 = *weight);
        let ring = HashRing::new(&endpoints, 1.25);
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut loads = vec![0_u32; weights.len()];
        for in_flight in 0..2_000 {
            let view = View { load: |endpoint| loads[endpoint], load_total: &|| in_flight, admits: ALL, tried: &[] };
            let hash = HashRing::hash(&(random.next() % keys).to_be_bytes());
            let endpoint = ring.pick(hash, &view, || ring.taking(&view)).unwrap().endpoint;
            loads[endpoint] += 1;
            let bound = (1.25 * f64::from(in_flight + 1) * f64::from(weights[endpoint]) / total).ceil();
            assert!(f64::from(loads[endpoint]) <= bound, "{loads:?} of {weights:?}");
        }
    }
}

#[test]
fn who_is_away_is_walked_past_and_found_again() {
    let endpoints = endpoints(5);
    let ring = HashRing::new(&endpoints, 1.25);
    let pick = |key: u64, away: &[usize], tried: &[usize]| {
        let view = View { load: IDLE, load_total: &|| 0, admits: |endpoint| !away.contains(&endpoint), tried };
        ring.pick(HashRing::hash(&key.to_be_bytes()), &view, || ring.taking(&view)).map(|picked| picked.endpoint)
    };
    for key in 0..1_000 {
        let home = pick(key, &[], &[]).unwrap();
        let second = pick(key, &[home], &[]).unwrap();
        assert_ne!(second, home);
        assert_eq!(pick(key, &[], &[home]), Some(second), "a retry goes where all would go");
        let other = (0..5).find(|endpoint| ![home, second].contains(endpoint)).unwrap();
        assert_eq!(pick(key, &[other], &[]), Some(home), "who is away moves only its own keys");
    }
    assert_eq!(pick(1, &[0, 1, 2, 3, 4], &[]), None);
    assert_eq!(pick(1, &[0, 1, 2], &[3]), Some(4));
    let view = View { load: IDLE, load_total: &|| 0, admits: ALL, tried: &[] };
    assert_eq!(HashRing::new(&[] as &[(&str, u16)], 1.25).pick(5, &view, Taking::default), None);
    assert_eq!(HashRing::new(&[("a", 0)], 1.25).pick(5, &view, Taking::default), None);
}

/// Instances must agree, also across versions: these numbers never change.
#[test]
fn the_ring_is_a_promise() {
    assert_eq!(HashRing::hash(b"user-42"), 7_010_634_390_784_513_275);
    let endpoints = endpoints(10);
    let owners = owners(&endpoints);
    assert_eq!(owners[..6], [8, 3, 5, 0, 5, 6].map(|owner: usize| endpoints[owner].0.as_str()));
}

/// What a caller knows of a moment ago keeps keys at home as well as what is so now, as long as it is of those that take them.
#[test]
fn keys_stay_at_home_while_another_endpoint_is_out() {
    let endpoints = endpoints(4);
    let ring = HashRing::new(&endpoints, 1.25);
    let mut random = Random(11);
    // 200 requests hang at an endpoint that takes nothing more.
    let mut loads = [0, 200, 0, 0];
    let mut in_flight = std::collections::VecDeque::new();
    let (mut away, mut seen) = (0, Taking::default());
    for step in 0..20_000 {
        let view = View { load: |place| loads[place], load_total: &|| 0, admits: |place| place != 1, tried: &[] };
        if step % 20 == 0 {
            seen = ring.taking(&view);
        }
        let picked = ring.pick(random.next(), &view, || seen).unwrap();
        away += u32::from(picked.passed_over.is_some());
        loads[picked.endpoint] += 1;
        in_flight.push_back(picked.endpoint);
        if in_flight.len() > 300 {
            loads[in_flight.pop_front().unwrap()] -= 1;
        }
        let most = loads.iter().enumerate().filter(|(place, _)| *place != 1).map(|(_, load)| *load).max();
        assert!(most <= Some(150), "{loads:?}");
    }
    assert!(away < 2_000, "{away} of 20,000");
}

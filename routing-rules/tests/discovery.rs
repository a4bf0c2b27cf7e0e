//! Endpoints from answers of a name service.

use std::net::IpAddr;
use std::time::Duration;

use routing_rules::discovery::{
    Found, MOST_ENDPOINTS, Registrations, Service, Step, lifetime, of_addresses, of_services, retry_after,
};
use routing_rules::rules::{Endpoint, Weight};

/// `10.0.0.1:80 w5, …; 1 refused, 2 beyond`
fn shown(found: &Found) -> String {
    let endpoints = found.endpoints.iter().map(|one| format!("{} w{}", one.address, one.weight.get()));
    let mut text = endpoints.collect::<Vec<_>>().join(", ");
    if found.refused + found.beyond_limit > 0 {
        text += &format!("; {} refused, {} beyond", found.refused, found.beyond_limit);
    }
    text
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|ip| ip.parse().expect("an address")).collect()
}

/// Records as `priority weight port address…`, one on each line.
#[track_caller]
fn check_services(records: &str, expect: &str) {
    let mut services: Vec<Service> =
        records.lines().map(str::trim).filter(|line| !line.is_empty()).map(service).collect();
    assert_eq!(shown(&of_services(&services)), expect);
    services.reverse();
    assert_eq!(shown(&of_services(&services)), expect, "the order of an answer says nothing");
}

fn service(line: &str) -> Service {
    let mut words = line.splitn(4, ' ');
    let mut number = || words.next().expect("a number").parse().expect("a number");
    let (priority, weight, port) = (number(), number(), number());
    Service { priority, weight, port, addresses: ips(words.next().unwrap_or_default()) }
}

#[test]
fn addresses_are_endpoints_in_one_order() {
    let found = of_addresses(ips("10.0.0.2 2001:db8::1 10.0.0.1 10.0.0.2 ::ffff:10.0.0.1"), 80);
    assert_eq!(shown(&found), "10.0.0.1:80 w1, 10.0.0.2:80 w1, [2001:db8::1]:80 w1");
    assert_eq!(shown(&of_addresses(ips("0.0.0.0 224.0.0.1 10.0.0.1 ::"), 80)), "10.0.0.1:80 w1; 3 refused, 0 beyond");
    assert_eq!(of_addresses(ips(""), 80), Found::default());
}

#[test]
fn what_is_too_much_is_left_out() {
    let many = (0..MOST_ENDPOINTS as u32 + 7).rev().map(|index| IpAddr::from((0x0a00_0000 + index).to_be_bytes()));
    let found = of_addresses(many, 80);
    assert_eq!((found.endpoints.len(), found.beyond_limit, found.refused), (MOST_ENDPOINTS, 7, 0));
    assert_eq!(found.endpoints[0].address.to_string(), "10.0.0.0:80");
}

#[test]
fn weights_of_services() {
    check_services("1 10 80 10.0.0.1\n1 30 81 10.0.0.2", "10.0.0.1:80 w10, 10.0.0.2:81 w30");
    check_services("1 1000 80 10.0.0.1\n1 1 80 10.0.0.2", "10.0.0.1:80 w1000, 10.0.0.2:80 w1");
    // Larger than a weight can be: in proportion.
    check_services(
        "1 65535 80 10.0.0.1\n1 32768 80 10.0.0.2\n1 1 80 10.0.0.3",
        "10.0.0.1:80 w1000, 10.0.0.2:80 w500, 10.0.0.3:80 w1",
    );
    // 0 is a very small chance, and drains nobody.
    check_services("1 1 80 10.0.0.1\n1 0 80 10.0.0.2", "10.0.0.1:80 w1000, 10.0.0.2:80 w1");
    check_services("1 0 80 10.0.0.1\n1 0 80 10.0.0.2", "10.0.0.1:80 w1, 10.0.0.2:80 w1");
    // The addresses of one target share its weight, and one address has that of all its records.
    check_services("1 4 80 10.0.0.1 10.0.0.2\n1 4 80 10.0.0.3", "10.0.0.1:80 w2, 10.0.0.2:80 w2, 10.0.0.3:80 w4");
    check_services(
        "1 1 80 10.0.0.1 10.0.0.2\n1 1 80 10.0.0.3",
        "10.0.0.1:80 w500, 10.0.0.2:80 w500, 10.0.0.3:80 w1000",
    );
    check_services("1 2 80 10.0.0.1\n1 3 80 10.0.0.1", "10.0.0.1:80 w5");
}

#[test]
fn the_first_priority_with_an_address_serves() {
    check_services("2 1 80 10.0.0.2\n1 1 80 10.0.0.1\n3 1 80 10.0.0.3", "10.0.0.1:80 w1");
    check_services("1 1 80\n2 1 80 10.0.0.2\n2 1 80", "10.0.0.2:80 w1");
    check_services("1 1 0 10.0.0.1\n1 1 80 0.0.0.0\n2 7 80 10.0.0.2", "10.0.0.2:80 w7; 2 refused, 0 beyond");
    check_services("1 1 80", "");
}

#[test]
fn an_answer_holds_within_bounds_and_a_little_less() {
    let bounds = (Duration::from_secs(2), Duration::from_secs(100));
    for (ttl, draw, ms) in
        [(10, 0, 10_000), (10, u64::MAX, 9_000), (0, 0, 2_000), (86_400, 0, 100_000), (86_400, u64::MAX, 90_000)]
    {
        let lifetime = lifetime(Duration::from_secs(ttl), bounds, draw);
        assert!(lifetime.abs_diff(Duration::from_millis(ms)) < Duration::from_millis(1), "{ttl}: {lifetime:?}");
    }
}

#[test]
fn failures_are_tried_again_less_and_less_often() {
    for (failures, least_ms, most_ms) in
        [(1, 500, 1_000), (2, 1_000, 2_000), (4, 4_000, 8_000), (5, 5_000, 10_000), (u32::MAX, 5_000, 10_000)]
    {
        for (draw, ms) in [(0, least_ms), (u64::MAX, most_ms)] {
            let wait = retry_after(failures, draw);
            assert!(wait.abs_diff(Duration::from_millis(ms)) < Duration::from_millis(1), "{failures}: {wait:?}");
        }
    }
}

fn at(number: u8) -> Endpoint {
    Endpoint::at(format!("10.0.0.{number}:80").parse().unwrap(), Weight::USUAL).unwrap()
}

fn registered(count: u8) -> Registrations {
    let mut registrations = Registrations::default();
    (1..=count).for_each(|number| registrations.register(&[number], at(number)));
    registrations
}

fn serving(registrations: &Registrations) -> Vec<u8> {
    let last = |endpoint: &Endpoint| endpoint.address.to_string().split(['.', ':']).nth(3).unwrap().parse().unwrap();
    registrations.found().endpoints.iter().map(last).collect()
}

#[test]
fn who_leaves_is_gone_unless_most_leave_within_seconds() {
    let mut few = registered(4);
    few.leave(&[1], 0);
    few.leave(&[2], 0);
    assert_eq!((few.look(0), serving(&few)), (Step::default(), vec![3, 4]));
    // Ten seconds later it is another matter.
    few.leave(&[3], 10_000);
    assert_eq!((few.look(10_000), serving(&few)), (Step::default(), vec![4]));

    let mut most = registered(4);
    for (number, held) in [(1, 0), (2, 0), (3, 3), (4, 4)] {
        most.leave(&[number], u64::from(number));
        assert_eq!(most.look(u64::from(number)), Step { is_new_trouble: number == 3, held });
    }
    assert_eq!(serving(&most), [1, 2, 3, 4]);
    let due_ms = most.due_ms().unwrap();
    assert_eq!(due_ms, 300_003);
    most.look(due_ms - 1);
    assert_eq!(serving(&most), [1, 2, 3, 4]);
    most.look(due_ms);
    assert!(serving(&most).is_empty() && most.due_ms().is_none());
}

#[test]
fn who_comes_back_ends_the_trouble() {
    let mut registrations = registered(8);
    (1..=8).for_each(|number| registrations.leave(&[number], 0));
    assert!(registrations.look(0).is_new_trouble);
    (1..=3).for_each(|number| registrations.register(&[number], at(number)));
    assert_eq!(registrations.look(15_000), Step { is_new_trouble: false, held: 5 });
    registrations.register(&[4], at(4));
    assert_eq!((registrations.look(16_000), serving(&registrations)), (Step::default(), vec![1, 2, 3, 4]));
    // One that takes the place of the only one there was.
    let mut one = registered(1);
    one.leave(&[1], 0);
    assert_eq!(one.look(0).held, 1);
    one.register(&[2], at(2));
    assert_eq!((one.look(1), serving(&one)), (Step::default(), vec![2]));
}

#[test]
fn the_time_stands_still_while_nobody_could_come_back() {
    let mut registrations = registered(2);
    (1..=2).for_each(|number| registrations.leave(&[number], 0));
    registrations.look(0);
    registrations.wait_on(299_000);
    assert_eq!(registrations.due_ms(), Some(359_000));
    registrations.look(300_000);
    assert_eq!(serving(&registrations), [1, 2]);
    // Who went a moment ago is judged anew.
    registrations.register(&[3], at(3));
    registrations.leave(&[3], 358_000);
    assert_eq!(registrations.look(359_000).held, 1);
    assert_eq!(serving(&registrations), [3]);
}

#[test]
fn who_does_not_answer_either_has_gone() {
    let mut registrations = registered(3);
    (1..=3).for_each(|number| registrations.leave(&[number], 0));
    registrations.look(0);
    assert_eq!(registrations.held().map(|(key, _)| key[0]).collect::<Vec<_>>(), [1, 2, 3]);
    registrations.lose(&[2]);
    assert_eq!((registrations.look(1).held, serving(&registrations)), (2, vec![1, 3]));
    [1, 3].iter().for_each(|number| registrations.lose(&[*number]));
    assert_eq!((registrations.look(2), serving(&registrations)), (Step::default(), vec![]));
}

#[test]
fn what_an_earlier_process_knew_is_missed() {
    let mut registrations = registered(1);
    (1..=4).for_each(|number| registrations.miss(at(number), 0));
    assert!(registrations.look(0).is_new_trouble);
    assert_eq!(serving(&registrations), [1, 2, 3, 4]);
    registrations.register(b"another key", at(2));
    assert_eq!((registrations.look(1), serving(&registrations)), (Step::default(), vec![1, 2]));
}

#[test]
fn somebody_may_confirm_that_they_have_gone() {
    let mut registrations = registered(1);
    registrations.leave(&[1], 0);
    assert_eq!((registrations.look(0).held, serving(&registrations)), (1, vec![1]));
    registrations.confirm();
    assert_eq!((registrations.look(1), serving(&registrations)), (Step::default(), vec![]));
}

#[test]
fn one_address_is_one_endpoint() {
    let mut registrations = registered(2);
    registrations.register(&[9], at(1));
    registrations.register(&[2], at(1));
    assert_eq!(serving(&registrations), [1]);
    registrations.leave(&[1], 0);
    registrations.look(0);
    assert_eq!(serving(&registrations), [1]);
}

//! Connections opened ahead of requests.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use super::{ended, open, rules};
use crate::support::{Origin, PATIENCE, Serin, eventually};

fn warmed(serin: &Serin, result: &str) -> f64 {
    serin.metric_of("serin_endpoint_warm_connections_total", &format!("result=\"{result}\""))
}

#[test]
fn connections_are_there_before_the_first_request() {
    let origins = [Origin::named("one"), Origin::named("two")];
    let serin = Serin::serving(&rules(&origins.each_ref().map(Origin::address), "warm: 2"));
    for origin in &origins {
        origin.wait_until("connections without a request", |log| log.accepted == 2);
    }
    eventually(PATIENCE, "ready", || open(&serin) == 4.0);
    let mut client = serin.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").status, 200));
    let opened = serin.metric("serin_endpoint_connections_opened_total");
    assert_eq!((origins.each_ref().map(|origin| origin.log().accepted), opened), ([2, 2], 4.0));
    assert_eq!(warmed(&serin, "opened"), 4.0);
}

#[test]
fn an_endpoint_that_joins_is_warmed_up() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let serin = Serin::serving(&rules(&[first.address()], "warm: 3"));
    first.wait_until("warm", |log| log.accepted == 3);
    serin.reload_serving(&rules(&[first.address(), second.address()], "warm: 3"));
    second.wait_until("warm", |log| log.accepted == 3);
    serin.reload_serving(&rules(&[second.address()], "warm: 3"));
    first.wait_until("let go", |log| log.open == 0);
    assert_eq!((first.log().accepted, second.log().accepted), (3, 3));
}

#[test]
fn connections_that_end_are_replaced() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&rules(&[origin.address()], "warm: 2, idle_timeout: 100ms"));
    origin.wait_until("replaced", |log| log.accepted >= 6);
    assert!(open(&serin) <= 2.0 && ended(&serin, "idle_timeout") >= 3.0);
    serin.reload_serving(&rules(&[origin.address()], "idle_timeout: 100ms"));
    origin.wait_until("no longer", |log| log.open == 0);
}

#[test]
fn who_is_down_is_warmed_up_when_it_is_back() {
    let status = Arc::new(AtomicU16::new(503));
    let (well, now) = (Origin::named("well"), Arc::clone(&status));
    let ill = Origin::start(move |visit| visit.answer(now.load(SeqCst), &[], b"checked"));
    let labels = format!("endpoint=\"{}\"", ill.address());
    let warm = |serin: &Serin| serin.metric_of("serin_endpoint_connections_open", &labels);
    let rules = rules(&[well.address(), ill.address()], "warm: 2").replace(
        "connections:",
        "health: {path: /healthz, interval: 100ms, timeout: 60s, rise: 1, fall: 1}, connections:",
    );
    let serin = Serin::serving(&rules);
    well.wait_until("warm", |log| log.open >= 2);
    eventually(PATIENCE, "found ill", || serin.metric_of("serin_endpoint_up", &labels) == 0.0);
    // It may have been warmed up before its first check; what ends then is not replaced.
    serin.reload_serving(&rules.replace("warm: 2", "warm: 2, max_age: 1s"));
    eventually(PATIENCE, "cold", || warm(&serin) == 0.0);
    serin.reload_serving(&rules);
    assert_eq!(warm(&serin), 0.0);
    status.store(200, SeqCst);
    eventually(PATIENCE, "warm again", || warm(&serin) == 2.0);
}

/// Nobody listens at first: that is counted, harms no request and is no evidence.
#[test]
fn a_failure_is_counted_and_tried_again() {
    let well = Origin::named("well");
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let serin = Serin::serving(&rules(&[well.address(), address], "warm: 1"));
    eventually(PATIENCE, "two failures", || warmed(&serin, "failed") >= 2.0);
    assert_eq!(warmed(&serin, "opened"), 1.0);
    assert_eq!(
        serin.metric("serin_endpoint_errors_total") + serin.metric("serin_endpoint_breaker_openings_total"),
        0.0
    );
    let back = TcpListener::bind(address).expect("the port is still free");
    let _connection = back.accept().expect("it is tried again");
    eventually(PATIENCE, "counted", || warmed(&serin, "opened") == 2.0);
}

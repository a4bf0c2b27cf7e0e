//! Faults of endpoints, one at a time, under load: what clients see of each. The endpoints are processes.

mod deploy;
mod resets;

mod load;
mod process;
mod server;

use std::time::Duration;

use load::{Failure, Load};
use process::Process;

use crate::support::client::request;
use crate::support::{PATIENCE, Serin, eventually};

/// Mostly methods that may be repeated, and one that may not.
const METHODS: [&str; 8] = ["GET", "GET", "HEAD", "PUT", "DELETE", "GET", "POST", "POST"];

/// What stays out for seconds by default comes back within the test.
const BRIEF: &str = ", breaker: {open: 300ms, max_open: 300ms}";

fn endpoints() -> [Process; 3] {
    [(); 3].map(|()| Process::start())
}

fn serving(endpoints: &[Process], route: &str, upstream: &str) -> Serin {
    let addresses: Vec<String> = endpoints.iter().map(|endpoint| endpoint.address().to_string()).collect();
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app{route}}}}}\nupstreams: {{app: {{endpoints: {addresses:?}{upstream}}}}}\n"
    ));
    warm(&serin, METHODS.len());
    serin
}

/// Leaves more kept connections to every endpoint than there will be clients: the first request of a connection has
/// rules of its own.
fn warm(serin: &Serin, clients: usize) {
    let few = |serin: &Serin| serin.metric("serin_endpoint_connections_opened_total") < 3.0 * clients as f64;
    for _ in 0..10 {
        if !few(serin) {
            break;
        }
        let mut waiting: Vec<_> = (0..5 * clients).map(|_| serin.client()).collect();
        waiting.iter_mut().for_each(|client| client.send(request("GET", "/100", &[], b"")));
        waiting.iter_mut().for_each(|client| assert_eq!(client.reply().status, 200));
    }
}

/// Waits until the process that runs now has served somebody.
fn serves_again(serin: &Serin, endpoint: &Process) {
    eventually(PATIENCE, "it serves again", || serin.client().get("/").text() == endpoint.id());
}

#[test]
fn an_endpoint_that_is_killed_costs_what_may_not_be_repeated_and_is_under_way() {
    let mut endpoints = endpoints();
    let serin = serving(&endpoints, "", BRIEF);
    let load = Load::start(serin.address(), &METHODS);
    for endpoint in &mut endpoints[..2] {
        load.goes_on(200);
        endpoint.kill();
        load.goes_on(300);
        endpoint.start_again();
        serves_again(&serin, endpoint);
    }
    let outcome = load.end();
    println!("killed: {outcome:?}");
    for (method, failed) in &outcome.failed {
        assert_eq!(*method, "POST", "{outcome:?}");
        // Each client has one under way at most.
        assert!(failed.len() <= 4 && failed.iter().all(|failure| *failure == Failure::Status(502)), "{outcome:?}");
    }
}

#[test]
fn a_stall_that_is_shorter_than_the_time_limit_costs_nothing() {
    let endpoints = endpoints();
    let serin = serving(&endpoints, "", "");
    let load = Load::start(serin.address(), &METHODS);
    load.goes_on(200);
    endpoints[0].signal("STOP");
    load.goes_on(300);
    endpoints[0].signal("CONT");
    load.goes_on(100);
    let outcome = load.end();
    println!("stopped for a while: {outcome:?}");
    assert!(outcome.failed.is_empty(), "{outcome:?}");
}

#[test]
fn a_stall_that_is_longer_costs_what_waits_for_it() {
    let endpoints = endpoints();
    let serin = serving(&endpoints, ", timeouts: {request: 300ms}", BRIEF);
    let load = Load::start(serin.address(), &METHODS);
    load.goes_on(200);
    endpoints[0].signal("STOP");
    load.goes_on(600);
    endpoints[0].signal("CONT");
    serves_again(&serin, &endpoints[0]);
    let outcome = load.end();
    println!("stopped for longer: {outcome:?}");
    let failed: Vec<Failure> = outcome.failed.values().flatten().copied().collect();
    assert!(failed.iter().all(|failure| *failure == Failure::Status(504)), "{outcome:?}");
    assert!((1..=2 * METHODS.len()).contains(&failed.len()), "{outcome:?}");
    assert!(outcome.longest < Duration::from_secs(2), "{outcome:?}");
}

//! Limits of routes and upstreams: who is refused, who waits, and that nobody else notices.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use crate::support::client::request;
use crate::support::control::replace;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually, get};

/// What is left of an hour, on a machine with more to do.
const ALMOST_AN_HOUR: RangeInclusive<u64> = 3_500..=3_600;

/// An endpoint that answers as many requests as it is told to.
struct Held {
    origin: Origin,
    release: Sender<()>,
}

impl Held {
    fn start() -> Self {
        let (release, told) = channel();
        let told = Mutex::new(told);
        let origin = Origin::start(move |visit| {
            visit.read_body()?;
            let _ = told.lock().expect("no test panics here").recv();
            visit.answer(200, &[], b"app")
        });
        Self { origin, release }
    }

    fn release(&self, count: usize) {
        (0..count).for_each(|_| self.release.send(()).expect("the endpoint is there"));
    }

    fn has(&self, count: usize) {
        self.origin.wait_until("requests", |log| log.requests.len() == count);
    }
}

/// Rules with these limits of the route; four workers.
fn limited(endpoint: SocketAddr, limits: &str, more: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 4\n\
         routes: {{all: {{upstream: app, limits: {limits}{more}}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n",
    )
}

/// A client whose request is on its way.
fn asking(serin: &Serin) -> Client {
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    client
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, retry_after_s: RangeInclusive<u64>, why: &str) {
    let said_s = reply.header("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(reply.status == status && said_s.is_some_and(|said| retry_after_s.contains(&said)), "{reply:?}");
    assert!(reply.text().contains(why), "{}", reply.text());
    assert!(!reply.announces_close(), "the connection goes on");
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let origin = Origin::named("app");
    let (one, two) = (("127.0.0.1", "one"), ("127.0.0.2", "two"));
    // Who asks: an address and a value of the header field; and whether a token is there.
    let cases = [
        ("client_ip", vec![(one, true), (("127.0.0.1", "two"), false), (two, true), (two, false)]),
        ("{header: X-Key}", vec![(one, true), (("127.0.0.2", "one"), false), (two, true), (two, false)]),
        ("{header: X-Other}", vec![(one, true), (two, false)]),
        ("all", vec![(one, true), (two, false)]),
    ];
    for (by, asks) in cases {
        let limits = format!("{{rate_limit: {{rate: 1/h, burst: 1, by: {by}}}}}");
        let serin = Serin::start(&limited(origin.address(), &limits, ""));
        for ((address, key), is_admitted) in &asks {
            let reply = Client::from(address, serin.address()).request("GET", "/", &[("X-Key", key)], b"");
            match is_admitted {
                true => assert_eq!(reply.status, 200, "{by}: {address} {key}"),
                false => assert_refused(&reply, 429, ALMOST_AN_HOUR, "429 too many requests"),
            }
        }
        let refused = asks.iter().filter(|(_, is_admitted)| !is_admitted).count() as f64;
        assert_eq!(serin.metric_of("serin_route_refused_total", "route=\"all\",limit=\"rate\""), refused);
        assert_eq!(serin.metric_of("serin_request_errors_total", "rate_limited"), refused);
        assert_eq!(serin.metric("serin_route_rate_evictions_total"), 0.0);
    }
}

#[test]
fn who_comes_again_is_served() {
    let origin = Origin::named("app");
    let serin = Serin::start(&limited(origin.address(), "{rate_limit: {rate: 10/s, burst: 1}}", ""));
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 200);
    assert_refused(&client.get("/"), 429, 1..=1, "too many requests");
    eventually(PATIENCE, "a token", || get(serin.address(), "/").status == 200);
}

#[test]
fn workers_share_the_tokens() {
    let origin = Origin::named("app");
    for by in ["client_ip", "all"] {
        let limits = format!("{{rate_limit: {{rate: 1/h, burst: 30, by: {by}}}}}");
        let serin = Serin::start(&limited(origin.address(), &limits, ""));
        let (serin, ask) = (&serin, |client: &mut Client| usize::from(client.get("/").status == 200));
        let served: usize = std::thread::scope(|scope| {
            let run = move || (0..10).map(|_| ask(&mut serin.client())).sum::<usize>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(served, 30, "{by}");
    }
}

#[test]
fn a_redirect_counts_too() {
    let serin = Serin::serving(
        "routes: {all: {filters: [{redirect: {path: /new}}], limits: {rate_limit: {rate: 1/h, burst: 1}}}}\n",
    );
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 302);
    assert_refused(&client.get("/"), 429, ALMOST_AN_HOUR, "too many requests");
}

#[test]
fn tokens_survive_changes_of_everything_else() {
    let origin = Origin::named("app");
    let limits = "{rate_limit: {rate: 1/h, burst: 1}}";
    let serin = Serin::start(&limited(origin.address(), limits, ""));
    assert_eq!(get(serin.address(), "/").status, 200);
    let more = ", filters: [{add_response_header: {x-new: \"yes\"}}]";
    replace(&serin.config(), &limited(origin.address(), "{body: 1MiB, rate_limit: {rate: 1/h, burst: 1}}", more));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    assert_refused(&get(serin.address(), "/"), 429, ALMOST_AN_HOUR, "too many requests");
    replace(&serin.config(), &limited(origin.address(), "{rate_limit: {rate: 1/h, burst: 2}}", ""));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 3.0);
    let statuses = [(); 3].map(|()| get(serin.address(), "/").status);
    assert_eq!(statuses, [200, 200, 429], "another limit begins anew");
    assert_eq!(serin.metric("serin_route_refused_total"), 2.0, "and what was counted stays");
}

#[test]
fn a_route_has_so_many_in_flight() {
    let held = Held::start();
    let rules = |limit| limited(held.origin.address(), &format!("{{in_flight: {limit}}}"), "");
    let serin = Serin::start(&rules(2));
    let (mut first, mut second) = (asking(&serin), asking(&serin));
    held.has(2);
    let mut third = serin.client();
    assert_refused(&third.get("/"), 503, 1..=1, "503 too many requests in flight");
    replace(&serin.config(), &rules(3));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    third.send(request("GET", "/", &[], b""));
    held.has(3);
    assert_refused(&get(serin.address(), "/"), 503, 1..=1, "too many requests in flight");
    held.release(3);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.reply().status, 200);
    }
    held.release(1);
    assert_eq!(get(serin.address(), "/").status, 200);
    assert_eq!(serin.metric_of("serin_route_refused_total", "limit=\"in_flight\""), 2.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "route_full"), 2.0);
}

#[test]
fn who_leaves_is_no_longer_in_flight() {
    let held = Held::start();
    let serin = Serin::start(&limited(held.origin.address(), "{in_flight: 1}", ""));
    let client = asking(&serin);
    held.has(1);
    drop(client);
    serin.wait_until_quiet(PATIENCE);
    held.release(2);
    assert_eq!(get(serin.address(), "/").status, 200);
}

#[test]
fn the_log_says_which_limit_it_was() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let rules = limited(origin.address(), "{rate_limit: {rate: 1/h, burst: 1}}", "");
    let serin = Serin::start(&format!("access_log: {{to: \"{}\"}}\n{rules}", log.display()));
    let statuses = [(); 2].map(|()| get(serin.address(), "/").status);
    assert_eq!(statuses, [200, 429]);
    let words = ["\"status\":429", "\"route\":\"all\"", "\"error\":\"rate_limited\""];
    let is_told = |line: &str| words.iter().all(|word| line.contains(word));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(PATIENCE, "the line", || read().lines().any(is_told));
}

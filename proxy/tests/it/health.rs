//! Active checks of endpoints, and (below) draining one of them because somebody asks for it.

mod drain;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::control::{Program, admin};
use crate::support::origin::Log;
use crate::support::{Origin, PATIENCE, Serin, Then, eventually};

/// An endpoint that answers with its name, and to checks with the status it is told.
struct Patient {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Patient {
    fn new(name: &'static str, status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let now = Arc::clone(&status);
        let origin = Origin::start(move |visit| match visit.request.target.as_str() {
            "/healthz" => visit.answer(now.load(SeqCst), &[], b"checked"),
            _ => visit.answer(200, &[], name.as_bytes()),
        });
        Self { origin, status }
    }

    fn becomes(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    fn checks(&self) -> usize {
        self.origin.requests().iter().filter(|request| request.target == "/healthz").count()
    }
}

/// The machine may have more to do, so that only answers decide.
const CHECK: &str = "health: {path: /healthz, interval: 100ms, timeout: 60s, rise: 1, fall: 1}";
const BALANCERS: [&str; 4] =
    ["dwrr", "round_robin", "least_request", "{consistent_hash: {by: {header: x-user}, bound: 10}}"];

fn rules(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [{}], {more}}}}}\n",
        endpoints.join(", ")
    )
}

/// The names of those who serve so many users.
fn served(serin: &Serin, users: u32) -> Vec<String> {
    let mut client = serin.client();
    let ask = |user: u32| client.request("GET", "/", &[("x-user", &user.to_string())], b"").text().to_owned();
    let mut names: Vec<String> = (0..users).map(ask).collect();
    names.sort();
    names.dedup();
    names
}

fn weight(serin: &Serin, endpoint: SocketAddr) -> f64 {
    serin.metric_of("serin_endpoint_weight", &format!("endpoint=\"{endpoint}\""))
}

fn wait_for_weight(serin: &Serin, endpoint: SocketAddr, has_weight: bool) {
    eventually(PATIENCE, "the weight", || (weight(serin, endpoint) > 0.0) == has_weight);
}

/// An endpoint as the API shows it.
fn shown(serin: &Serin, upstream: &str, place: usize) -> Value {
    let upstreams: Value = serde_json::from_str(admin(admin_address(serin), "/api/v1/upstreams").text()).unwrap();
    let found = upstreams.as_array().unwrap().iter().find(|found| found["name"] == upstream).unwrap();
    found["endpoints"][place].clone()
}

fn admin_address(serin: &Serin) -> SocketAddr {
    serin.server().admin().expect("the rules open the admin API")
}

#[test]
fn who_is_not_well_gets_no_requests_whatever_divides_them() {
    for balance in BALANCERS {
        let (well, ill) = (Patient::new("well", 200), Patient::new("ill", 503));
        let serin = Serin::serving(&rules(&[well.address(), ill.address()], &format!("balance: {balance}, {CHECK}")));
        wait_for_weight(&serin, ill.address(), false);
        assert_eq!(served(&serin, 40), ["well"], "{balance}");
        ill.becomes(200);
        wait_for_weight(&serin, ill.address(), true);
        // Its share rises slowly.
        eventually(PATIENCE, balance, || served(&serin, 40) == ["ill", "well"]);
        ill.becomes(400);
        wait_for_weight(&serin, ill.address(), false);
        assert_eq!(served(&serin, 40), ["well"], "{balance}");
        assert_eq!(serin.metric("serin_upstream_panics_total"), 0.0);
    }
}

#[test]
fn one_that_comes_back_rises_slowly() {
    let (well, ill) = (Patient::new("well", 200), Patient::new("ill", 503));
    let serin = Serin::serving(&rules(
        &[well.address(), ill.address()],
        &format!("balance: {{dwrr: {{slow_start: 10m}}}}, {CHECK}"),
    ));
    wait_for_weight(&serin, ill.address(), false);
    ill.becomes(200);
    wait_for_weight(&serin, ill.address(), true);
    let weight = weight(&serin, ill.address());
    assert!((0.09..0.2).contains(&weight), "{weight}");
}

#[test]
fn results_in_a_row_are_needed() {
    let (well, ill) = (Patient::new("well", 200), Patient::new("ill", 200));
    let health = "health: {path: /healthz, interval: 100ms, timeout: 60s, rise: 3, fall: 4}";
    let serin = Serin::serving(&rules(&[well.address(), ill.address()], health));
    let ill_is = |state: &str| shown(&serin, "app", 1)["health"]["state"] == state;
    let counts = |result: &str| {
        let labels = format!("endpoint=\"{}\",result=\"{result}\"", ill.address());
        serin.metric_of("serin_health_checks_total", &labels)
    };
    eventually(PATIENCE, "up", || ill_is("up"));
    let passed = counts("passed");
    ill.becomes(500);
    eventually(PATIENCE, "down", || ill_is("down"));
    assert!(counts("failed") >= 4.0);
    let failed = counts("failed");
    ill.becomes(200);
    eventually(PATIENCE, "up again", || ill_is("up"));
    assert!(counts("passed") >= passed + 3.0 && failed >= 4.0);
    assert_eq!(serin.metric_of("serin_endpoint_up", &format!("endpoint=\"{}\"", ill.address())), 1.0);
}

#[test]
fn where_nobody_is_well_everybody_serves() {
    for balance in BALANCERS {
        let (one, other) = (Patient::new("one", 503), Patient::new("other", 503));
        let serin = Serin::serving(&rules(&[one.address(), other.address()], &format!("balance: {balance}, {CHECK}")));
        eventually(PATIENCE, "the panic", || serin.metric("serin_upstream_panics_total") == 1.0);
        assert_eq!(served(&serin, 40), ["one", "other"], "{balance}");
        let (checks, needed) = (one.checks(), one.checks() + 3);
        one.origin.wait_until("more checks", |log| {
            log.requests.iter().filter(|seen| seen.target == "/healthz").count() >= needed
        });
        assert!(one.checks() > checks);
        assert_eq!(serin.metric("serin_upstream_panics_total"), 1.0, "it is still the same one");
        other.becomes(200);
        wait_for_weight(&serin, one.address(), false);
        assert_eq!(served(&serin, 40), ["other"], "{balance}");
    }
}

#[test]
fn a_check_may_connect_and_no_more() {
    let there = Patient::new("there", 503);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serin =
        Serin::serving(&rules(&[there.address(), gone], "health: {tcp: true, interval: 100ms, timeout: 60s, fall: 1}"));
    wait_for_weight(&serin, gone, false);
    there.origin.wait_until("a connection", |log| log.accepted > 0);
    assert_eq!(there.origin.requests().len(), 0);
    assert_eq!(served(&serin, 40), ["there"]);
    let health = &shown(&serin, "app", 1)["health"];
    assert_eq!((&health["state"], &health["last"]), (&"down".into(), &"cannot connect: connection refused".into()));
    eventually(PATIENCE, "connected", || shown(&serin, "app", 0)["health"]["last"] == "connected");
    // What checks find is no evidence of how fast anybody is.
    assert_eq!(serin.metric_of("serin_endpoint_requests_total", &format!("endpoint=\"{gone}\"")), 0.0);
    assert_eq!(serin.metric_of("serin_endpoint_errors_total", &format!("endpoint=\"{gone}\"")), 0.0);
}

/// An endpoint for every way to be well or not.
fn clinic() -> Origin {
    Origin::start(|visit| match visit.request.target.as_str() {
        "/fine?deep=1" => visit.answer(200, &[], b"all is fine"),
        "/pieces" => {
            visit
                .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nall is\r\n5\r\n fine\r\n0\r\n\r\n")?;
            visit.wait_for_end()
        }
        "/endless" => {
            visit.write("HTTP/1.1 200 OK\r\n\r\n")?;
            visit.write("fine ".repeat(64 << 10))?;
            visit.wait_for_end()
        }
        "/moved" => visit.answer(301, &[("location", "/elsewhere")], b""),
        "/teapot" => visit.answer(418, &[], b""),
        "/silent" => visit.wait_for_end(),
        "/short" => {
            visit.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfine")?;
            Ok(Then::Close)
        }
        "/nonsense" => {
            visit.write("nonsense\r\n\r\n")?;
            Ok(Then::Close)
        }
        "/host" => {
            let is_right = visit.request.headers.iter().any(|(name, value)| name == "host" && value == "shop.test:81");
            visit.answer(if is_right { 200 } else { 400 }, &[], b"")
        }
        other => panic!("{other}"),
    })
}

#[test]
fn what_is_well_and_what_is_not() {
    let origin = clinic();
    let cases = [
        ("path: '/fine?deep=1'", "up", "status 200 OK"),
        ("path: '/fine?deep=1', body: is fine", "up", "status 200 OK"),
        ("path: '/fine?deep=1', body: perfect", "down", "status 200 OK, but the body does not have \"perfect\" in it"),
        ("path: /pieces, body: is fine", "up", "status 200 OK"),
        ("path: /endless, body: 'fine fine'", "up", "status 200 OK"),
        ("path: /moved", "up", "status 301 Moved Permanently"),
        ("path: /moved, status: [200-299]", "down", "status 301 Moved Permanently"),
        ("path: /teapot", "down", "status 418 I'm a teapot"),
        ("path: /teapot, status: [204, 418]", "up", "status 418 I'm a teapot"),
        ("path: /silent, timeout: 200ms", "down", "no answer within 200ms"),
        ("path: /short", "down", "the body breaks off: "),
        ("path: /nonsense", "down", "no answer: "),
        ("path: /host", "down", "status 400 Bad Request"),
        ("path: /host, host: 'shop.test:81'", "up", "status 200 OK"),
    ];
    let upstream = |(index, (check, ..)): (usize, &(&str, &str, &str))| {
        let timeout = if check.contains("timeout") { "" } else { ", timeout: 60s" };
        format!("u{index}: {{endpoints: [\"{}\"], health: {{{check}{timeout}}}}}", origin.address())
    };
    let upstreams: Vec<String> = cases.iter().enumerate().map(upstream).collect();
    let serin = Serin::serving(&format!("upstreams: {{{}}}\n", upstreams.join(", ")));
    for (index, (check, state, last)) in cases.iter().enumerate() {
        let health = || shown(&serin, &format!("u{index}"), 0)["health"].clone();
        eventually(PATIENCE, check, || health()["state"] != "unknown");
        assert_eq!(health()["state"], *state, "{check}: {}", health());
        let found = health()["last"].as_str().unwrap().to_owned();
        assert!(if last.ends_with(": ") { found.starts_with(last) } else { found == *last }, "{check}: {found}");
    }
    let request = &origin.requests()[0];
    assert_eq!(request.method, "GET");
    assert!(request.headers.contains(&("user-agent".into(), "serin-health".into())), "{request:?}");
}

/// Answers checks when it is told to.
fn held(name: &'static str) -> (Origin, Sender<()>) {
    let (go_on, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |visit| {
        if visit.request.target == "/healthz" {
            let _ = gate.lock().unwrap().recv();
        }
        visit.answer(200, &[], name.as_bytes())
    });
    (origin, go_on)
}

#[test]
fn one_that_joins_waits_for_its_first_good_check_and_one_that_goes_is_left_alone() {
    let (one, other) = (Patient::new("one", 200), Patient::new("other", 200));
    let (new, go_on) = held("new");
    let (one_at, other_at, new_at) = (one.address(), other.address(), new.address());
    let check = "balance: round_robin, health: {path: /healthz, interval: 1h, timeout: 60s}";
    let serin = Serin::serving(&rules(&[one_at, other_at], check));
    serin.reload_serving(&rules(&[one_at, other_at, new_at], check));
    new.wait_until("a check", |log| log.requests.len() == 1);
    assert_eq!(served(&serin, 40), ["one", "other"]);
    assert_eq!(shown(&serin, "app", 2)["health"]["state"], "unknown");
    go_on.send(()).unwrap();
    wait_for_weight(&serin, new_at, true);
    assert_eq!(served(&serin, 40), ["new", "one", "other"]);
    // The others' checks went on as they were: they have not been asked anew.
    assert_eq!((one.checks(), other.checks()), (1, 1));
    drop(go_on);
    let often = check.replace("1h", "100ms");
    serin.reload_serving(&rules(&[one_at, other_at, new_at], &often));
    let is_checked = |log: &Log| log.requests.iter().filter(|seen| seen.target == "/healthz").count() > 3;
    new.wait_until("checks by the new rules", is_checked);
    serin.reload_serving(&rules(&[one_at, other_at], &often));
    let (before, checks) = (new.requests().len(), one.checks());
    eventually(PATIENCE, "checks of who stayed", || one.checks() > checks + 8);
    let more = new.requests().len() - before;
    assert!(more <= 1, "{more} checks after the end");
}

#[test]
fn health_lives_through_changes_of_the_rules() {
    let (well, ill) = (Patient::new("well", 200), Patient::new("ill", 503));
    let (well_at, ill_at) = (well.address(), ill.address());
    let check = |interval: &str| {
        format!("balance: round_robin, health: {{path: /healthz, interval: {interval}, timeout: 60s}}")
    };
    let serin = Serin::serving(&rules(&[well_at, ill_at], &check("10m")));
    wait_for_weight(&serin, ill_at, false);
    serin.reload_serving(&rules(&[ill_at, well_at], &check("11m")));
    assert_eq!(served(&serin, 40), ["well"]);
    assert_eq!(shown(&serin, "app", 0)["health"]["state"], "down");
    // Without a check nobody is down.
    serin.reload_serving(&rules(&[ill_at, well_at], "balance: round_robin"));
    assert_eq!(served(&serin, 40), ["ill", "well"]);
    assert_eq!(shown(&serin, "app", 0)["health"], Value::Null);
    assert_eq!(serin.metric("serin_health_checks_total"), 0.0);
    // Whoever served before there was a check does so until it says something.
    serin.reload_serving(&rules(&[ill_at, well_at], &check("10m")));
    wait_for_weight(&serin, ill_at, false);
    assert_eq!(serin.metric("serin_upstream_panics_total"), 0.0);
}

#[test]
fn changes_are_in_the_log_with_their_reason() {
    let patient = Patient::new("app", 503);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    let listeners = "listeners: {web: {address: \"127.0.0.1:0\"}}\n";
    std::fs::write(&path, format!("{listeners}{}", rules(&[patient.address()], CHECK))).unwrap();
    let program = Program::start(&path);
    let logs = |words: &[&str]| {
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        eventually(PATIENCE, words[0], || program.log().lines().any(has_all));
    };
    let address = patient.address().to_string();
    logs(&["an endpoint is down", "status 503 Service Unavailable", &address, "app"]);
    patient.becomes(204);
    logs(&["an endpoint is up", "status 204 No Content", &address, "app"]);
}

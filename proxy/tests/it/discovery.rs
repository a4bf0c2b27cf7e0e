//! Endpoints that a real name service says: found, changed, and kept when it fails.

mod dnsmasq;
mod failures;
mod offline;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use hickory_resolver::proto::rr::RecordType;
use serde_json::Value;

use crate::support::control::{admin, replace};
use crate::support::names::{Mood, NameServer};
use crate::support::{Origin, PATIENCE, Serin, eventually, port_at_every_address};

const COMMON: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\nroutes: {all: {upstream: app}}\n";

/// An upstream whose endpoints this server says; `more` are more fields of the upstream.
fn rules(server: &NameServer, asks: &str, more: &str) -> String {
    format!(
        "upstreams: {{app: {{discovery: {{dns: {{{asks}, resolvers: [\"{}\"]}}}}, balance: round_robin{more}}}}}\n",
        server.address()
    )
}

fn start(server: &NameServer, asks: &str, more: &str) -> Serin {
    Serin::start(&format!("{COMMON}{}", rules(server, asks, more)))
}

/// How many of so many requests each endpoint answers, by name; what is no answer is told by its status.
fn served(serin: &Serin, count: usize) -> BTreeMap<String, usize> {
    let mut client = serin.client();
    let mut served = BTreeMap::new();
    for _ in 0..count {
        let reply = client.request("GET", "/", &[("Host", "a.test")], b"");
        let name = if reply.status == 200 { reply.text().to_owned() } else { reply.status.to_string() };
        *served.entry(name).or_default() += 1;
    }
    served
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// The upstream as the API shows it.
fn shown(serin: &Serin) -> Value {
    let upstreams = admin(serin.server().admin().expect("there is an API"), "/api/v1/upstreams");
    serde_json::from_str::<Value>(upstreams.text()).unwrap()[0].clone()
}

fn state(serin: &Serin) -> String {
    shown(serin)["discovery"]["state"].as_str().unwrap_or_default().to_owned()
}

fn addresses(serin: &Serin) -> Vec<String> {
    let shown = shown(serin);
    let endpoints = shown["endpoints"].as_array().unwrap();
    endpoints.iter().map(|endpoint| endpoint["address"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_addresses(serin: &Serin, expected: &[SocketAddr]) {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    eventually(PATIENCE, &expected.join(" "), || addresses(serin) == expected);
}

/// Endpoints with their names at these addresses, all with the same port.
fn same_port<const N: usize>(places: [(&str, &'static str); N]) -> ([Origin; N], u16) {
    let port = port_at_every_address();
    let bound = |ip| TcpListener::bind(format!("{ip}:{port}")).expect("the port is free at every address");
    (places.map(|(ip, name)| Origin::named_on(bound(ip), name)), port)
}

#[test]
fn addresses_of_both_families_are_endpoints_from_the_first_request_on() {
    let (origins, port) = same_port([("127.0.0.1", "v4"), ("[::1]", "v6")]);
    let server = NameServer::start("www.test 60 CNAME app.test\napp.test 60 A 127.0.0.1\napp.test 60 AAAA ::1");
    for name in ["app.test", "www.test", "APP.test."] {
        let serin = start(&server, &format!("name: {name}, port: {port}"), "");
        assert_eq!(served(&serin, 10), counts([("v4", 5), ("v6", 5)]), "{name}");
        assert_eq!(addresses(&serin), origins.each_ref().map(|origin| origin.address().to_string()));
        assert_eq!(state(&serin), "answered");
    }
    // One family alone is enough.
    server.say("app.test 60 AAAA ::1");
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    assert_eq!(served(&serin, 4), counts([("v6", 4)]));
}

/// The last of many lookups may be over a moment before anybody is told.
#[test]
fn no_listener_opens_before_every_name_was_looked_up() {
    let ([_origin], port) = same_port([("127.0.0.1", "app")]);
    let names = 0..40;
    let server =
        NameServer::start(&names.clone().map(|name| format!("n{name}.test 60 A 127.0.0.1\n")).collect::<String>());
    let route = |name: u32| format!("  n{name}: {{hosts: [n{name}.test], upstream: n{name}}}\n");
    let upstream = |name: u32| {
        let resolver = server.address();
        format!(
            "  n{name}: {{discovery: {{dns: {{name: n{name}.test, port: {port}, resolvers: [\"{resolver}\"]}}}}}}\n"
        )
    };
    let (routes, upstreams) = (names.clone().map(route), names.clone().map(upstream));
    let rules = format!("routes:\n{}upstreams:\n{}", routes.collect::<String>(), upstreams.collect::<String>());
    for _ in 0..5 {
        let serin = Serin::serving(&rules);
        let mut client = serin.client();
        for name in names.clone() {
            assert_eq!(client.request("GET", "/", &[("Host", &format!("n{name}.test"))], b"").status, 200, "n{name}");
        }
    }
}

#[test]
fn another_address_gets_the_requests_when_the_ttl_is_over_and_none_fails() {
    let (_origins, port) = same_port([("127.0.0.1", "old"), ("127.0.0.2", "new")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1");
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    assert_eq!(served(&serin, 4), counts([("old", 4)]));
    let generation = serin.server().snapshot().generation;
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            while !is_over.load(SeqCst) {
                served(&serin, 50).into_iter().for_each(|(name, count)| *seen.entry(name).or_default() += count);
            }
            seen
        });
        server.say("app.test 1 A 127.0.0.1\napp.test 1 A 127.0.0.2");
        wait_for_addresses(&serin, &[([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()]);
        server.say("app.test 1 A 127.0.0.2");
        wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
        assert_eq!(served(&serin, 4), counts([("new", 4)]));
        is_over.store(true, SeqCst);
        load.join().unwrap()
    });
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["new", "old"], "{seen:?}");
    assert_eq!(serin.server().snapshot().generation, generation, "the rules have not changed");
}

#[test]
fn services_say_ports_weights_and_priorities() {
    let (heavy, light, spare) = (Origin::named("heavy"), Origin::named("light"), Origin::named("spare"));
    let [a, b, c] = [&heavy, &light, &spare].map(|origin| origin.address().port());
    let zone = format!(
        "_http._tcp.app.test 60 SRV 1 30 {a} one.test\n_http._tcp.app.test 60 SRV 1 10 {b} two.test\n\
         _http._tcp.app.test 60 SRV 2 50 {c} two.test\none.test 60 A 127.0.0.1\ntwo.test 60 A 127.0.0.1"
    );
    for (mood, lookups) in [(Mood::Honest, 4), (Mood::Generous, 0)] {
        let server = NameServer::start(&zone);
        server.is(mood);
        let serin = start(&server, "name: _http._tcp.app.test, srv: true", "");
        assert_eq!(served(&serin, 40), counts([("heavy", 30), ("light", 10)]), "{mood:?}");
        let of_targets = server.asked().iter().filter(|asked| asked.kind != RecordType::SRV).count();
        assert_eq!(of_targets, lookups, "each target once, and only if its addresses did not come with it");
    }
    // Nobody is left of the first priority.
    let server = NameServer::start(&zone.replace("one.test", "gone.test").replace("gone.test 60 A", "x.test 60 A"));
    let serin = start(&server, "name: _http._tcp.app.test, srv: true", "");
    assert_eq!(served(&serin, 4), counts([("light", 4)]));
}

/// A drain is as good an example as any of what belongs to an endpoint.
#[test]
fn what_is_known_of_an_endpoint_survives_another_answer() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two"), ("127.0.0.3", "three")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1\napp.test 1 A 127.0.0.2");
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    let upstream = || serin.server().snapshot().upstreams.iter().flatten().next().cloned().unwrap();
    let (before, [one, two]) = (upstream(), [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], port))));
    before.endpoints[0].endpoint.drain(true);
    assert_eq!(served(&serin, 4).values().sum::<usize>(), 4);
    // The same in another order: nothing is new.
    server.say("app.test 1 A 127.0.0.2\napp.test 1 A 127.0.0.1");
    server.wait_for_more(4);
    assert!(Arc::ptr_eq(&upstream(), &before));
    server.say("app.test 1 A 127.0.0.3\napp.test 1 A 127.0.0.2\napp.test 1 A 127.0.0.1");
    wait_for_addresses(&serin, &[one, two, ([127, 0, 0, 3], port).into()]);
    let now = upstream();
    for place in 0..2 {
        assert!(Arc::ptr_eq(&now.endpoints[place].endpoint, &before.endpoints[place].endpoint));
    }
    assert_eq!(served(&serin, 4), counts([("three", 2), ("two", 2)]));
}

#[test]
fn endpoints_that_are_found_are_checked_and_ramped_as_others_are() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1\napp.test 1 A 127.0.0.9");
    let serin = start(
        &server,
        &format!("name: app.test, port: {port}"),
        ", health: {path: /, interval: 100ms, rise: 1, fall: 1}",
    );
    let weight = |host: u8| serin.metric_of("serin_endpoint_weight", &format!("127.0.0.{host}:{port}"));
    eventually(PATIENCE, "nobody is at the second", || (weight(1), weight(9)) == (1.0, 0.0));
    assert_eq!(served(&serin, 4), counts([("one", 4)]));
    server.say("app.test 1 A 127.0.0.1\napp.test 1 A 127.0.0.2");
    eventually(PATIENCE, "the newcomer is found well", || weight(2) > 0.0);
    eventually(PATIENCE, "the check of the one that has gone ends", || {
        weight(9) == 0.0 && addresses(&serin).len() == 2
    });
}

#[test]
fn a_long_answer_comes_over_tcp_and_one_that_is_too_long_is_cut() {
    let zone = |count: u32| -> String {
        let line = |index: u32| format!("app.test 1 A 10.0.{}.{}\n", index / 250, index % 250 + 1);
        (0..count).map(line).collect::<String>() + "app.test 1 A 0.0.0.0\n"
    };
    let server = NameServer::start(&zone(300));
    let serin = start(&server, "name: app.test, port: 80", "");
    assert_eq!(addresses(&serin).len(), 300);
    assert!(server.asked().iter().any(|asked| asked.by_tcp && asked.kind == RecordType::A));
    server.say(&zone(1_007));
    eventually(PATIENCE, "all that may be", || addresses(&serin).len() == 1_000);
    let left_out =
        |reason: &str| serin.metric_of("serin_discovery_addresses_left_out_total", &format!("reason=\"{reason}\""));
    assert_eq!(left_out("limit") % 7.0, 0.0);
    assert!(left_out("limit") >= 7.0 && left_out("refused") >= 2.0);
}

#[test]
fn a_change_of_one_upstream_leaves_all_else_as_it_is() {
    let server = NameServer::start("app.test 1 A 127.0.0.1\nother.test 60 A 127.0.0.1");
    let dns =
        |name: &str| format!("discovery: {{dns: {{name: {name}, port: 80, resolvers: [\"{}\"]}}}}", server.address());
    let serin = Serin::start(&format!(
        "{COMMON}upstreams: {{app: {{{}}}, other: {{{}}}, third: {{endpoints: [\"10.0.0.1:80\"]}}}}\n",
        dns("app.test"),
        dns("other.test")
    ));
    let before = serin.server().snapshot();
    let upstream = |snapshot: &serin_proxy::snapshot::Snapshot, name: &str| {
        let (id, _) = (snapshot.table.upstream_id(name).unwrap(), ());
        snapshot.upstream(id).cloned().unwrap()
    };
    server.say("app.test 1 A 127.0.0.2\nother.test 60 A 127.0.0.1");
    wait_for_addresses(&serin, &["127.0.0.2:80".parse().unwrap()]);
    let now = serin.server().snapshot();
    let is_same = |name: &str| Arc::ptr_eq(&upstream(&before, name), &upstream(&now, name));
    assert_eq!(["app", "other", "third"].map(is_same), [false, true, true]);
    let route =
        |snapshot: &serin_proxy::snapshot::Snapshot| Arc::as_ptr(snapshot.table.rules().routes().next().unwrap());
    assert_eq!(route(&before), route(&now));
}

#[test]
fn another_question_begins_with_the_endpoints_that_serve() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    let server = NameServer::start("app.test 60 A 127.0.0.1\nnew.test 60 A 127.0.0.2");
    let serin = Serin::start(&format!("{COMMON}upstreams: {{app: {{endpoints: [\"127.0.0.1:{port}\"]}}}}\n"));
    let reload = |asks: &str| {
        let generation = serin.server().snapshot().generation;
        replace(&serin.config(), &format!("{COMMON}{}", rules(&server, &format!("{asks}, port: {port}"), "")));
        eventually(PATIENCE, "new rules", || serin.server().snapshot().generation > generation);
    };
    // From a list to a name that nobody knows, to one that is known.
    reload("name: none.test");
    eventually(PATIENCE, "the lookup", || state(&serin) == "failing");
    assert_eq!(served(&serin, 2), counts([("one", 2)]));
    server.is(Mood::Silent);
    reload("name: new.test");
    assert_eq!(served(&serin, 2), counts([("one", 2)]));
    server.is(Mood::Honest);
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    assert_eq!(served(&serin, 2), counts([("two", 2)]));
    // An edit of something else asks nobody again.
    let asked = server.asked().len();
    let generation = serin.server().snapshot().generation;
    let again = rules(&server, &format!("name: new.test, port: {port}"), ", retry: {tries: 1}");
    replace(&serin.config(), &format!("{COMMON}{again}"));
    eventually(PATIENCE, "new rules", || serin.server().snapshot().generation > generation);
    assert_eq!(served(&serin, 2), counts([("two", 2)]));
    assert_eq!((server.asked().len(), state(&serin).as_str()), (asked, "answered"));
}

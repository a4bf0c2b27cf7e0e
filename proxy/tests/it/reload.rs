//! Rules change while requests are served.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serin_proxy::server::{Order, Server, StartOptions};

use crate::support::control::replace;
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually, get};

const LISTENER: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nworkers: 1\n";

fn to(origin: &Origin) -> String {
    format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n", origin.address())
}

fn main_file(origin: &Origin) -> String {
    format!("{LISTENER}{}", to(origin))
}

fn answers(serin: &Serin, name: &str) {
    eventually(PATIENCE, name, || get(serin.address(), "/").text() == name);
}

#[test]
fn a_file_renamed_over_takes_effect_within_a_tenth_of_a_second() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let serin = Serin::start(&main_file(&one));
    for round in 0..10 {
        let (origin, name) = if round % 2 == 0 { (&two, "two") } else { (&one, "one") };
        let began = Instant::now();
        replace(&serin.config(), &main_file(origin));
        answers(&serin, name);
        // A machine with more to do may be slow once; it is not slow every time.
        if began.elapsed() < Duration::from_millis(100) {
            return;
        }
    }
    panic!("no change took effect in time");
}

#[test]
fn a_request_under_way_keeps_the_rules_it_began_with() {
    let slow = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(400));
        visit.answer(200, &[], b"slow")
    });
    let fast = Origin::named("fast");
    let serin = Serin::start(&main_file(&slow));
    let mut client = serin.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    slow.wait_until("the request", |log| log.requests.len() == 1);
    replace(&serin.config(), &main_file(&fast));
    answers(&serin, "fast");
    assert_eq!(client.reply().text(), "slow");
    assert_eq!(client.get("/").text(), "fast", "the same connection, a new request, the new rules");
}

#[test]
fn a_half_written_file_drops_nothing_until_it_is_closed() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let serin = Serin::start(&main_file(&one));
    let text = main_file(&two);
    let mut file = fs::File::create(serin.config()).expect("the file is there");
    // The first line is whole and valid, and has no route.
    file.write_all(LISTENER.as_bytes()).expect("the disk has room");
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        assert_eq!(get(serin.address(), "/").text(), "one");
    }
    file.write_all(&text.as_bytes()[LISTENER.len()..]).expect("the disk has room");
    drop(file);
    answers(&serin, "two");
}

#[test]
fn a_folder_of_rule_files_is_followed() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rules = folder.path().join("rules.d");
    fs::create_dir(&rules).expect("a fresh folder");
    let config = folder.path().join("serin.yaml");
    fs::write(&config, format!("{LISTENER}sources: {{files: [\"rules.d/*.yaml\"]}}\n")).expect("room");
    let server = Server::start(StartOptions { config, ..StartOptions::default() }).expect("it starts");
    let address = server.listeners()[0].1;
    assert_eq!(get(address, "/").status, 404);
    fs::write(rules.join("a.yaml"), to(&one)).expect("room");
    eventually(PATIENCE, "a new file", || get(address, "/").status == 200);
    replace(&rules.join("a.yaml"), &to(&two));
    eventually(PATIENCE, "a replaced file", || get(address, "/").text() == "two");
    fs::remove_file(rules.join("a.yaml")).expect("it is there");
    eventually(PATIENCE, "a removed file", || get(address, "/").status == 404);
}

#[test]
fn the_links_of_a_config_map_are_switched_in_one_step() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (version, origin) in [("..1", &one), ("..2", &two)] {
        fs::create_dir(at(version)).expect("a fresh folder");
        fs::write(at(version).join("serin.yaml"), main_file(origin)).expect("room");
    }
    symlink("..1", at("..data")).expect("a fresh link");
    symlink("..data/serin.yaml", at("serin.yaml")).expect("a fresh link");
    let options = StartOptions { config: at("serin.yaml"), ..StartOptions::default() };
    let server = Server::start(options).expect("it starts");
    let address = server.listeners()[0].1;
    assert_eq!(get(address, "/").text(), "one");
    symlink("..2", at("..data_tmp")).expect("a fresh link");
    fs::rename(at("..data_tmp"), at("..data")).expect("the link is switched");
    fs::remove_dir_all(at("..1")).expect("it is there");
    eventually(PATIENCE, "the new version", || get(address, "/").text() == "two");
    assert!(server.problems().is_empty(), "{:?}", server.problems());
}

#[test]
fn listeners_open_and_close_at_run_time() {
    let origin = Origin::named("app");
    let serin = Serin::start(&main_file(&origin));
    let first = serin.address();
    let mut kept = Client::connect(first);
    assert_eq!(kept.get("/").status, 200);
    let two = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}, more: {{address: \"127.0.0.1:0\"}}}}\nworkers: 1\n{}",
        to(&origin)
    );
    replace(&serin.config(), &two);
    eventually(PATIENCE, "two listeners", || serin.server().listeners().len() == 2);
    let more = serin.server().listeners()[0].1;
    assert_eq!(get(more, "/").text(), "app");
    assert_eq!(kept.get("/").status, 200, "the other listener was not touched");
    replace(&serin.config(), &two.replace("web: {address: \"127.0.0.1:0\"}, ", ""));
    eventually(PATIENCE, "one listener", || serin.server().listeners().len() == 1);
    eventually(PATIENCE, "a closed port", || std::net::TcpStream::connect(first).is_err());
    assert!(kept.ends_within(PATIENCE), "an idle connection of a closed listener ends");
    assert_eq!(get(more, "/").text(), "app");
}

#[test]
fn a_listener_that_closes_lets_its_request_finish() {
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(300));
        visit.answer(200, &[], b"late")
    });
    let serin = Serin::start(&main_file(&origin));
    let mut client = serin.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    origin.wait_until("the request", |log| log.requests.len() == 1);
    replace(&serin.config(), &main_file(&origin).replace(LISTENER, "workers: 1\n"));
    eventually(PATIENCE, "no listener", || serin.server().listeners().is_empty());
    let reply = client.reply();
    assert_eq!(reply.text(), "late");
    assert!(reply.announces_close());
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn a_listener_may_change_its_name_and_keep_its_port() {
    let origin = Origin::named("app");
    let serin = Serin::start(&main_file(&origin));
    let address = serin.address();
    let fixed = |name: &str| format!("listeners: {{{name}: {{address: \"{address}\"}}}}\nworkers: 1\n{}", to(&origin));
    for name in ["other", "web", "again"] {
        replace(&serin.config(), &fixed(name));
        eventually(Duration::from_secs(2), name, || {
            serin.server().listeners().first().is_some_and(|(open, _)| open == name)
        });
        assert!(serin.server().problems().is_empty(), "{:?}", serin.server().problems());
        assert_eq!(get(address, "/").text(), "app");
    }
}

#[test]
fn counters_of_endpoints_survive_and_connections_to_them_too() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for round in 1..=5 {
        assert_eq!(client.get("/").status, 200);
        let text = fs::read_to_string(serin.config()).expect("it is there");
        let generation = serin.server().snapshot().generation;
        let more = format!("upstreams: {{b{round}: {{endpoints: [\"127.0.0.1:{round}\"]}}, ");
        replace(&serin.config(), &text.replace("upstreams: {", &more));
        eventually(PATIENCE, "the new rules", || serin.server().snapshot().generation > generation);
        assert!(serin.server().problems().is_empty(), "{:?}", serin.server().problems());
    }
    assert_eq!(serin.metric("serin_endpoint_requests_total"), 5.0);
    assert_eq!(origin.log().accepted, 1, "the connection to the endpoint was kept");
}

#[test]
fn trusted_proxies_change_at_run_time() {
    let origin = Origin::named("app");
    let serin = Serin::start(&main_file(&origin));
    let seen = |serin: &Serin| {
        let mut client = serin.client();
        client.request("GET", "/", &[("X-Forwarded-For", "192.0.2.7")], b"");
        let request = origin.requests().pop().expect("a request came");
        format!("{request:?}").contains("192.0.2.7")
    };
    assert!(!seen(&serin));
    replace(&serin.config(), &format!("{}trusted_proxies: [127.0.0.1]\n", main_file(&origin)));
    eventually(PATIENCE, "trust", || seen(&serin));
    replace(&serin.config(), &main_file(&origin));
    eventually(PATIENCE, "no trust", || !seen(&serin));
}

#[test]
fn an_order_to_reload_reads_files_that_gave_no_sign() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let serin = Serin::start(&main_file(&one));
    replace(&serin.config(), &main_file(&two));
    serin.server().order(Order::Reload);
    answers(&serin, "two");
}

/// A new version goes in with every request under way on a connection that stays: none may be lost.
#[test]
fn keep_alive_connections_live_through_many_reloads() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"app").map(|_| Then::Keep)
    });
    let serin = Serin::start(&main_file(&origin));
    let mut client = serin.client();
    for round in 0..100 {
        let more = format!("upstreams: {{b: {{endpoints: [\"127.0.0.1:{}\"]}}, ", round + 1);
        replace(&serin.config(), &main_file(&origin).replace("upstreams: {", &more));
        assert_eq!(client.get("/").status, 200);
    }
    let problems = serin.server().problems();
    assert!(problems.is_empty(), "{problems:?}");
    // The changes come faster than they can be told apart; the last one is what must be in force.
    eventually(PATIENCE, "the last rules", || {
        let snapshot = serin.server().snapshot();
        let ports = snapshot.upstreams.iter().flatten().flat_map(|upstream| upstream.endpoints.iter());
        ports.map(|member| member.endpoint.address().port()).any(|port| port == 100)
    });
}

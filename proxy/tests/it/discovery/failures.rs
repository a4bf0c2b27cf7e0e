//! Name services that are away, or wrong: nothing that was found is taken away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use serde_json::Value;

use super::{COMMON, addresses, counts, rules, same_port, served, shown, start, state, wait_for_addresses};
use crate::support::control::admin;
use crate::support::names::{Mood, NameServer};
use crate::support::{PATIENCE, Serin, eventually};

#[test]
fn what_was_found_last_serves_on_whatever_is_answered_then() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    for mood in [
        Mood::Fails(ResponseCode::NXDomain),
        Mood::Fails(ResponseCode::ServFail),
        Mood::Fails(ResponseCode::Refused),
        Mood::Empty,
        Mood::Silent,
    ] {
        let server = NameServer::start("app.test 1 A 127.0.0.1");
        let serin = start(&server, &format!("name: app.test, port: {port}"), "");
        server.is(mood);
        eventually(PATIENCE, "the failure", || state(&serin) == "failing");
        assert_eq!(served(&serin, 4), counts([("one", 4)]), "{mood:?}");
        let of = |result: &str| serin.metric_of("serin_discovery_lookups_total", &format!("result=\"{result}\""));
        assert!(of("failed") >= 1.0 && of("answered") >= 1.0, "{mood:?}");
        assert!(serin.metric("serin_discovery_age_seconds") > 0.5, "{mood:?}");
        let reason = shown(&serin)["discovery"]["reason"].as_str().unwrap().to_owned();
        let expected = match mood {
            Mood::Fails(ResponseCode::NXDomain) => "there is no name app.test.",
            Mood::Fails(ResponseCode::ServFail) => "A of app.test.: the server answers \"Server Failure\"",
            Mood::Fails(_) => "A of app.test.: the server answers \"Query Refused\"",
            Mood::Empty => "app.test. has no A record",
            _ => "A of app.test.: no answer in time",
        };
        assert_eq!(reason, expected);
        server.say("app.test 1 A 127.0.0.2");
        server.is(Mood::Honest);
        wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
        assert_eq!((state(&serin).as_str(), served(&serin, 4)), ("answered", counts([("two", 4)])));
    }
}

#[test]
fn a_server_that_is_killed_and_comes_back() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1");
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    let address = server.address();
    drop(server);
    eventually(PATIENCE, "the failure", || state(&serin) == "failing");
    assert_eq!(served(&serin, 4), counts([("one", 4)]));
    let _server = NameServer::start_at(address, "app.test 1 A 127.0.0.2");
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    assert_eq!(served(&serin, 4), counts([("two", 4)]));
}

#[test]
fn a_start_without_the_server_waits_a_little_answers_503_and_recovers() {
    let (_origins, port) = same_port([("127.0.0.1", "one")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1");
    server.is(Mood::Silent);
    let began = Instant::now();
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let reply = serin.client().request("GET", "/", &[("Host", "a.test")], b"");
    assert_eq!((reply.status, reply.text().lines().next()), (503, Some("503 no endpoint available")));
    let ready = admin(serin.server().admin().unwrap(), "/readyz");
    assert_eq!(ready.status, 200, "other routes have nothing to do with it: {}", ready.text());
    let told = admin(serin.server().admin().unwrap(), "/api/v1/explain?url=http://a.test/");
    let expected = "{\"upstream\":\"app\",\"asks\":\"DNS A and AAAA of app.test, port ";
    assert!(told.text().contains(expected) && told.text().contains("no answer in time"), "{}", told.text());
    server.is(Mood::Honest);
    eventually(PATIENCE, "the answer", || served(&serin, 1) == counts([("one", 1)]));
}

#[test]
fn a_start_without_the_server_serves_what_the_process_before_had_found() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1");
    let asks = format!("name: app.test, port: {port}");
    let serin = Serin::start(&format!("{COMMON}state_dir: state\n{}", rules(&server, &asks, "")));
    server.is(Mood::Silent);
    let serin = serin.restart();
    assert!(["stored", "failing"].contains(&state(&serin).as_str()), "{}", shown(&serin));
    assert_eq!(served(&serin, 4), counts([("one", 4)]), "from the first request on");
    eventually(PATIENCE, "the failure", || state(&serin) == "failing");
    let age = shown(&serin)["discovery"]["age_s"].as_f64().expect("the process before had an answer");
    assert!(age > 0.5 && serin.metric("serin_discovery_age_seconds") > 0.5, "{age}");
    server.say("app.test 1 A 127.0.0.2");
    server.is(Mood::Honest);
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    server.is(Mood::Silent);
    let serin = serin.restart();
    assert_eq!(served(&serin, 4), counts([("two", 4)]), "the newest is kept");
    // Another question is another matter.
    let other = format!("name: other.test, port: {port}");
    std::fs::write(serin.config(), format!("{COMMON}state_dir: state\n{}", rules(&server, &other, ""))).unwrap();
    assert_eq!(served(&serin.restart(), 1), counts([("503", 1)]));
}

/// A part of the first answer of a process fails, and it knows only what is stored.
#[test]
fn a_part_that_fails_after_a_start_takes_nothing_away_that_the_process_before_had_found() {
    let (_origins, port) = same_port([("127.0.0.1", "v4"), ("[::1]", "v6"), ("127.0.0.2", "new")]);
    let services = format!("srv.test 1 SRV 1 1 {port} v4.test\nsrv.test 1 SRV 1 1 {port} v6.test\n");
    let zone =
        |v4: &str| format!("app.test 1 A {v4}\napp.test 1 AAAA ::1\n{services}v4.test 1 A {v4}\nv6.test 1 AAAA ::1");
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    for asks in [format!("name: app.test, port: {port}"), "name: srv.test, srv: true".to_owned()] {
        let server = NameServer::start(&zone("127.0.0.1"));
        let serin = Serin::start(&format!("{COMMON}state_dir: state\n{}", rules(&server, &asks, "")));
        assert_eq!(served(&serin, 4), counts([("v4", 2), ("v6", 2)]), "{asks}");
        server.is_for(RecordType::AAAA, Mood::Fails(ResponseCode::ServFail));
        let serin = serin.restart();
        eventually(PATIENCE, "a part of an answer", || state(&serin) == "partial");
        assert_eq!(served(&serin, 4), counts([("v4", 2), ("v6", 2)]), "{asks}");
        // What is answered counts, however long the rest fails.
        server.say(&zone("127.0.0.2"));
        wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into(), v6]);
        // And what is stored does not once there was a whole answer.
        server.say(&format!("app.test 1 A 127.0.0.2\n{services}v4.test 1 A 127.0.0.2\nv6.test 1 A 127.0.0.2"));
        server.is(Mood::Honest);
        wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
        server.is_for(RecordType::AAAA, Mood::Fails(ResponseCode::ServFail));
        eventually(PATIENCE, "a part of an answer", || state(&serin) == "partial");
        assert_eq!(served(&serin, 2), counts([("new", 2)]), "{asks}");
    }
}

#[test]
fn an_answer_to_another_question_is_stored_also_when_it_says_the_same() {
    let (_origins, port) = same_port([("127.0.0.1", "one")]);
    let server = NameServer::start("app.test 60 A 127.0.0.1\nother.test 60 A 127.0.0.1");
    let written = format!("upstreams: {{app: {{endpoints: [\"127.0.0.1:{port}\"]}}}}\n");
    let serin = Serin::start(&format!("{COMMON}state_dir: state\n{written}"));
    let stored = serin.folder.path().join("state/endpoints.json");
    for name in ["app.test", "other.test"] {
        serin.reload(&format!(
            "{COMMON}state_dir: state\n{}",
            rules(&server, &format!("name: {name}, port: {port}"), "")
        ));
        eventually(PATIENCE, "it is stored", || {
            std::fs::read_to_string(&stored).is_ok_and(|text| text.contains(name) && !text.contains("null"))
        });
    }
    server.is(Mood::Silent);
    assert_eq!(served(&serin.restart(), 2), counts([("one", 2)]));
}

/// Some servers know nothing of AAAA and say so by failing.
#[test]
fn a_part_that_fails_takes_nothing_away() {
    let (_origins, port) = same_port([("127.0.0.1", "v4"), ("[::1]", "v6"), ("127.0.0.2", "new")]);
    let server = NameServer::start("app.test 1 A 127.0.0.1\napp.test 1 AAAA ::1");
    server.is_for(RecordType::AAAA, Mood::Fails(ResponseCode::ServFail));
    let serin = start(&server, &format!("name: app.test, port: {port}"), "");
    assert_eq!(served(&serin, 4), counts([("v4", 4)]));
    assert_eq!(state(&serin), "partial");
    assert_eq!(shown(&serin)["discovery"]["reason"], "AAAA of app.test.: the server answers \"Server Failure\"");
    server.is(Mood::Honest);
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    wait_for_addresses(&serin, &[([127, 0, 0, 1], port).into(), v6]);
    server.is_for(RecordType::AAAA, Mood::Fails(ResponseCode::ServFail));
    server.say("app.test 1 A 127.0.0.2");
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into(), v6]);
    // That there are none is an answer.
    server.is(Mood::Honest);
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    assert_eq!((state(&serin).as_str(), &shown(&serin)["discovery"]["reason"]), ("answered", &Value::Null));
}

#[test]
fn services_whose_targets_cannot_be_looked_up_stay_as_they_were() {
    let (_origins, port) = same_port([("127.0.0.1", "one"), ("127.0.0.2", "two")]);
    let services = format!("app.test 1 SRV 1 1 {port} one.test\napp.test 1 SRV 1 1 {port} two.test\n");
    let server = NameServer::start(&format!("{services}one.test 1 A 127.0.0.1\ntwo.test 1 A 127.0.0.2"));
    let serin = start(&server, "name: app.test, srv: true", "");
    assert_eq!(addresses(&serin).len(), 2);
    server.is_for(RecordType::A, Mood::Silent);
    eventually(PATIENCE, "the failure", || state(&serin) == "failing");
    assert_eq!(served(&serin, 4), counts([("one", 2), ("two", 2)]));
    // One target has gone for good.
    server.is(Mood::Honest);
    server.say(&format!("{services}two.test 1 A 127.0.0.2"));
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    // No such service (RFC 2782).
    server.say("app.test 1 SRV 0 0 0 .");
    eventually(PATIENCE, "the failure", || state(&serin) == "failing");
    let reason = shown(&serin)["discovery"]["reason"].clone();
    assert_eq!(reason, "its SRV records say that there is no such service");
    assert_eq!(served(&serin, 4), counts([("two", 4)]));
}

#[test]
fn addresses_that_came_with_a_service_stand_for_a_lookup_that_fails() {
    let (_origins, port) = same_port([("127.0.0.1", "v4"), ("[::1]", "v6")]);
    let server = NameServer::start(&format!(
        "app.test 1 SRV 1 1 {port} v4.test\napp.test 1 SRV 1 1 {port} v6.test\nv4.test 1 A 127.0.0.1\nv6.test 1 AAAA ::1"
    ));
    server.is(Mood::Generous);
    // Only the service itself is asked for.
    server.is_for(RecordType::A, Mood::Fails(ResponseCode::ServFail));
    let serin = start(&server, "name: app.test, srv: true", "");
    assert_eq!((addresses(&serin).len(), state(&serin).as_str()), (2, "answered"));
    server.is_for(RecordType::SRV, Mood::Honest);
    eventually(PATIENCE, "a part of an answer", || state(&serin) == "partial");
    assert_eq!(served(&serin, 4), counts([("v4", 2), ("v6", 2)]));
}

#[test]
fn the_next_server_is_asked_when_one_does_not_answer_or_cannot() {
    let (_origins, port) = same_port([("127.0.0.1", "one")]);
    let first = NameServer::start("");
    let second = NameServer::start("app.test 60 A 127.0.0.1");
    for mood in [Mood::Silent, Mood::Fails(ResponseCode::ServFail), Mood::Fails(ResponseCode::Refused)] {
        first.is(mood);
        let resolvers = format!("resolvers: [\"{}\", \"{}\"]", first.address(), second.address());
        let serin = Serin::start(&format!(
            "{}upstreams: {{app: {{discovery: {{dns: {{name: app.test, port: {port}, {resolvers}}}}}}}}}\n",
            super::COMMON
        ));
        assert_eq!(served(&serin, 2), counts([("one", 2)]), "{mood:?}");
    }
}

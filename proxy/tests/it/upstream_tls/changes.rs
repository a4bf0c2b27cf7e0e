//! What is trusted and shown while it changes, and what is done while it cannot be used.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::front::{Front, Shows};
use super::{handshakes, problems, rules, serving};
use crate::connections::ended;
use crate::listeners::Over;
use crate::support::control::replace;
use crate::support::http2_origin::Http2Origin;
use crate::support::{Origin, PATIENCE, Serin, eventually};
use crate::tls::{Authority, Pair};

fn write(serin: &Serin, name: &str, text: &str) {
    replace(&serin.folder.path().join(name), text);
}

#[test]
fn authorities_change_under_load_and_no_request_fails() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (before, after) = (old.sign(&["127.0.0.1"]), new.sign(&["127.0.0.1"]));
    let origin = Origin::named("app");
    let front = Front::of(origin.address(), &Shows::new(&before));
    let serin = serving(&[("ca.pem", &old.pem())], &rules(front.address(), "tls: {ca_file: ca.pem}"));
    let (address, is_over) = (serin.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients = [0; 2].map(|_| {
            scope.spawn(|| {
                let (mut client, mut count) = (crate::support::Client::connect(address), 0);
                while !is_over.load(Relaxed) {
                    assert_eq!(client.get("/").text(), "app");
                    count += 1;
                }
                count
            })
        });
        front.wait_for_more_than(0);
        // Also if this thread has a complaint.
        let over = Over(&is_over);
        let terms = || serin.server().snapshot().upstreams[0].as_ref().map(|upstream| upstream.transport.clone());
        let step = |trusted: &str| {
            let (known, before) = (front.handshakes().len(), terms());
            write(&serin, "ca.pem", trusted);
            eventually(PATIENCE, "other terms", || terms() != before);
            front.wait_for_more_than(known);
        };
        for (pair, authority) in [(&after, &new), (&before, &old)] {
            step(&(old.pem() + &new.pem()));
            // Who is connected goes on.
            front.turn_to(&Shows::new(pair));
            step(&authority.pem());
        }
        drop(over);
        assert!(clients.into_iter().all(|client| client.join().expect("it has no complaints") > 0));
    });
    assert_eq!(problems(&serin), "");
}

#[test]
fn what_cannot_be_used_changes_nothing_and_what_never_could_is_no_connection() {
    let authority = Authority::new("ours");
    let origin = Origin::named("app");
    let front = Front::of(origin.address(), &Shows::new(&authority.sign(&["127.0.0.1"])));
    let upstream = |tls: &str| rules(front.address(), tls);
    let serin = serving(&[("ca.pem", "no PEM")], &upstream("tls: {ca_file: ca.pem}"));
    let get = || serin.client().get("/");
    let reply = get();
    assert_eq!(reply.status, 502);
    assert!(reply.text().starts_with("502 no way to secure connections to the endpoint"), "{}", reply.text());
    assert!(serin.admin_text("/api/v1/explain?url=http://a.test/").contains("502 no way to secure"));
    let reason = "upstreams.app.tls.ca_file: there is no certificate in it, so nobody could show one; requests get 502";
    assert!(problems(&serin).contains(reason), "{}", problems(&serin));
    assert_eq!(serin.metric("serin_endpoint_connections_opened_total"), 0.0);

    write(&serin, "ca.pem", &authority.pem());
    eventually(PATIENCE, "it is trusted", || get().status == 200);
    assert_eq!(problems(&serin), "");
    for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        write(&serin, "ca.pem", wrong);
        eventually(PATIENCE, "a problem", || problems(&serin).contains("what was used before stays"));
        assert_eq!(get().text(), "app");
        write(&serin, "ca.pem", &authority.pem());
        eventually(PATIENCE, "none", || problems(&serin).is_empty());
    }
    assert_eq!(front.handshakes().len(), 1, "the connection was good all along");

    // What was in clear text does not stay so.
    let clear = serving(&[], &rules(origin.address(), "limits: {}"));
    assert_eq!(clear.client().get("/").text(), "app");
    let secured = format!("{}{}", crate::support::COMMON, rules(origin.address(), "tls: {ca_file: missing.pem}"));
    replace(&clear.config(), &secured);
    eventually(PATIENCE, "no connection", || clear.client().get("/").status == 502);
    assert!(problems(&clear).contains("upstreams.app.tls.ca_file: cannot be read"), "{}", problems(&clear));
}

#[test]
fn connections_of_other_terms_are_not_used_again() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["127.0.0.1", "app.internal"]);
    let (http1, http2) = (Origin::named("app"), Http2Origin::named("app"));
    for (protocol, endpoint) in [("http1", http1.address()), ("h2", http2.address())] {
        let front = Front::of(endpoint, &Shows::new(&pair));
        let upstream = |name: &str| {
            rules(front.address(), &format!("protocol: {protocol}, tls: {{ca_file: ca.pem, server_name: {name}}}"))
        };
        let serin = serving(&[("ca.pem", &authority.pem())], &upstream("app.internal"));
        let mut client = serin.client();
        let mut get = |times| (0..times).for_each(|_| assert_eq!(client.get("/").text(), "app", "{protocol}"));
        get(3);
        assert_eq!(front.handshakes().len(), 1);
        serin.reload_serving(&upstream("127.0.0.1"));
        get(3);
        let names: Vec<_> = front.handshakes().into_iter().map(|handshake| handshake.name).collect();
        assert_eq!(names, [Some("app.internal".to_owned()), None], "{protocol}");
        // The name alone decides: now it is another one.
        serin.reload_serving(&upstream("other.internal"));
        assert_eq!(serin.client().get("/").status, 502);
        assert_eq!(handshakes(&serin, "wrong_name"), 1.0, "{protocol}");
        let told = || serin.admin_json("/api/v1/upstreams")[0]["endpoints"][0]["tls_failure"].clone();
        assert!(told().is_string(), "{protocol}");
        // Of other terms nothing is known yet.
        serin.reload_serving(&upstream("app.internal"));
        assert!(told().is_null(), "{protocol}: {}", told());
    }
}

#[test]
fn nothing_is_sent_over_a_connection_that_was_begun_under_other_terms() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (before, after) = (old.sign(&["127.0.0.1"]), new.sign(&["127.0.0.1"]));
    let (http1, http2) = (Origin::named("app"), Http2Origin::named("app"));
    for (protocol, endpoint) in [("http1", http1.address()), ("h2", http2.address())] {
        let front = Front::of(endpoint, &Shows::new(&before));
        let upstream = format!("protocol: {protocol}, tls: {{ca_file: ca.pem}}");
        let serin = serving(&[("ca.pem", &old.pem())], &rules(front.address(), &upstream));
        let address = serin.address();
        let get = move || crate::support::Client::connect(address).get("/").text().to_string();
        front.hold(true);
        std::thread::scope(|scope| {
            let first = scope.spawn(get);
            front.wait_for_taken(1);
            let terms = || serin.server().snapshot().upstreams[0].as_ref().map(|upstream| upstream.transport.clone());
            let known = terms();
            write(&serin, "ca.pem", &new.pem());
            eventually(PATIENCE, "other terms", || terms() != known);
            front.turn_to(&Shows::new(&after));
            // The worker knows by now, as another request has come by the new terms.
            let second = scope.spawn(get);
            if protocol == "http1" {
                front.wait_for_taken(2);
            } else {
                eventually(PATIENCE, "the second request", || serin.metric("serin_endpoint_requests_in_flight") == 2.0);
            }
            front.hold(false);
            for client in [first, second] {
                assert_eq!(client.join().expect("it has no complaints"), "app", "{protocol}");
            }
        });
        assert_eq!(handshakes(&serin, "unknown_issuer"), 0.0, "{protocol}");
        // The connection of the old terms carried nothing: each request that waited for it got another one, or a place on that.
        let least = if protocol == "http1" { 3 } else { 2 };
        assert!(front.handshakes().len() >= least, "{protocol}: {:?}", front.handshakes());
        assert_eq!(ended(&serin, "removed"), 1.0, "{protocol}");
    }
}

#[test]
fn endpoints_are_shown_a_certificate_and_the_next_connection_shows_the_next_one() {
    let (authority, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let (pair, first, second) = (authority.sign(&["127.0.0.1"]), ours.sign(&["serin"]), ours.sign(&["serin"]));
    let origin = Origin::named("app");
    let asks_for = ours.pem();
    let front = Front::of(origin.address(), &Shows { asks_for: Some(&asks_for), ..Shows::new(&pair) });
    let upstream = "tls: {ca_file: ca.pem, cert_file: own.crt, key_file: own.key}";
    let serin = serving(
        &[("ca.pem", &authority.pem()), ("own.crt", &first.certificate), ("own.key", &first.key)],
        &rules(front.address(), upstream),
    );
    let get = || assert_eq!(serin.client().get("/").text(), "app");
    let shown = || front.handshakes().last().and_then(|handshake| handshake.shown.clone());
    get();
    get();
    assert_eq!((shown(), front.handshakes().len()), (Some(first.der()), 1));
    // What is wrong with who is trusted changes nothing about it.
    write(&serin, "ca.pem", "no PEM");
    eventually(PATIENCE, "a problem", || problems(&serin).contains("tls.ca_file"));
    write(&serin, "ca.pem", &authority.pem());
    eventually(PATIENCE, "none", || problems(&serin).is_empty());
    get();
    assert_eq!(front.handshakes().len(), 1, "the connection was good all along");
    // The key comes last, and for a moment belongs to the certificate before.
    write(&serin, "own.crt", &second.certificate);
    eventually(PATIENCE, "a problem", || problems(&serin).contains("tls.key_file: is not the key of the certificate"));
    get();
    assert_eq!(front.handshakes().len(), 1, "what was used before stays");
    write(&serin, "own.key", &second.key);
    eventually(PATIENCE, "the next one", || {
        get();
        shown() == Some(second.der())
    });
    assert_eq!((front.handshakes().len(), problems(&serin).as_str()), (2, ""));
}

/// With TLS 1.3 the endpoint looks at a certificate when the handshake is over for the other side.
#[test]
fn an_endpoint_that_wants_a_certificate_says_so() {
    let (authority, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let pair = authority.sign(&["127.0.0.1"]);
    let origin = Origin::named("app");
    let asks_for = ours.pem();
    const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
    const NEW: &[&SupportedProtocolVersion] = &[&TLS13];
    for version in [OLD, NEW] {
        let shows = Shows { asks_for: Some(&asks_for), versions: version, ..Shows::new(&pair) };
        let front = Front::of(origin.address(), &shows);
        for protocol in ["http1", "h2"] {
            let upstream = format!("protocol: {protocol}, tls: {{ca_file: ca.pem}}");
            let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), &upstream));
            for count in [1.0, 2.0] {
                let reply = serin.client().get("/");
                assert_eq!(reply.status, 502, "{version:?} {protocol}");
                let text = reply.text();
                assert!(text.starts_with("502 no secure connection"), "{version:?} {protocol}: {text}");
                let told = serin.admin_text("/api/v1/upstreams");
                assert!(told.contains("the endpoint refuses it"), "{told}");
                assert_eq!(handshakes(&serin, "refused_by_endpoint"), count, "{version:?} {protocol}");
                assert_eq!(handshakes(&serin, "completed"), 0.0, "{version:?} {protocol}");
            }
        }
        // One that was opened ahead is as one that could not be.
        let upstream = "tls: {ca_file: ca.pem}, connections: {warm: 1}";
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), upstream));
        assert_eq!(serin.client().get("/").status, 502, "{version:?}");
        let failed = || serin.metric_of("serin_endpoint_warm_connections_total", "\"failed\"");
        eventually(PATIENCE, "it has failed", || failed() >= 1.0);
        assert_eq!(handshakes(&serin, "completed"), 0.0, "{version:?}");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn keys_of_upstreams_are_shown_nowhere() {
    let authority = Authority::new("ours");
    let (pair, own) = (authority.sign(&["127.0.0.1"]), authority.sign(&["serin"]));
    let origin = Origin::named("app");
    let asks_for = authority.pem();
    let front = Front::of(origin.address(), &Shows { asks_for: Some(&asks_for), ..Shows::new(&pair) });
    let inline = |pem: &str| serde_json::to_string(pem).expect("text");
    let tls = |own: &Pair| {
        let [ca, cert, key] = [&authority.pem(), &own.certificate, &own.key].map(|pem| inline(pem));
        rules(front.address(), &format!("tls: {{ca: {ca}, cert: {cert}, key: {key}}}"))
    };
    let serin = serving(&[], &tls(&own));
    assert_eq!(serin.client().get("/").text(), "app");
    let secret = own.key.lines().nth(1).expect("the key itself");
    let listed: serde_json::Value = serin.admin_json("/api/v1/openapi.json");
    let targets = listed["paths"].as_object().expect("there are paths");
    for target in targets.keys().filter(|target| !target.contains('{') && !target.contains("events")) {
        let text = serin.admin_text(target);
        assert!(!text.contains(secret) && !text.contains("PRIVATE KEY"), "{target}");
    }
    let rules = serin.server().snapshot();
    assert!(!format!("{:?}", rules.table.rules()).contains(secret));
    let other = serin.folder.path().join("other.yaml");
    let text = format!("{}{}", crate::support::COMMON, tls(&authority.sign(&["serin"])));
    std::fs::write(&other, text).expect("room");
    let diff =
        std::process::Command::new(env!("CARGO_BIN_EXE_serin")).arg("diff").arg(serin.config()).arg(&other).output();
    let diff = String::from_utf8(diff.expect("it runs").stdout).expect("text");
    assert!(diff.contains("tls.key") && diff.contains("(not shown)"), "{diff}");
    assert!(!diff.contains(secret) && !diff.contains("PRIVATE KEY"), "{diff}");
}

//! Who is trusted, and that nothing is said to anybody else.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;

use super::front::{Front, Shows};
use super::{handshakes, rules, serving};
use crate::support::{Origin, PATIENCE, eventually};
use crate::tls::Authority;

#[test]
fn only_who_is_trusted_gets_requests_and_it_is_said_why_others_do_not() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let origin = Origin::named("app");
    let named = authority.sign(&["app.internal", "*.wild.internal"]);
    let by_address = authority.sign(&["127.0.0.1"]);
    let cases = [
        (&named, "server_name: app.internal", "completed", ""),
        (&named, "server_name: APP.internal", "completed", ""),
        (&named, "server_name: a.wild.internal", "completed", ""),
        (&by_address, "", "completed", ""),
        (&by_address, "server_name: 127.0.0.1", "completed", ""),
        (&named, "", "wrong_name", "the certificate is not for 127.0.0.1, but for app.internal, *.wild.internal"),
        (
            &by_address,
            "server_name: app.internal",
            "wrong_name",
            "the certificate is not for app.internal, but for 127.0.0.1",
        ),
        (
            &named,
            "server_name: a.b.wild.internal",
            "wrong_name",
            "the certificate is not for a.b.wild.internal, but for app.internal, *.wild.internal",
        ),
        (&stranger.sign(&["127.0.0.1"]), "", "unknown_issuer", "nobody who is trusted has signed the certificate"),
        (&authority.sign_until(&["127.0.0.1"], 2_020), "", "expired", "the certificate has expired"),
    ];
    let mut sent = 0;
    for (pair, name, result, reason) in cases {
        let front = Front::of(origin.address(), &Shows::new(pair));
        let serin = serving(
            &[("ca.pem", &authority.pem())],
            &rules(front.address(), &format!("tls: {{ca_file: ca.pem, {name}}}")),
        );
        let is_good = result == "completed";
        let reply = serin.client().get("/");
        assert_eq!(reply.status, if is_good { 200 } else { 502 }, "{name} {result}: {}", reply.text());
        assert_eq!(handshakes(&serin, result), 1.0, "{name} {result}");
        let told = serin.admin_json("/api/v1/upstreams")[0]["endpoints"][0]["tls_failure"].clone();
        let explained = serin.admin_text("/api/v1/explain?url=http://a.test/");
        if is_good {
            sent += 1;
            assert!(told.is_null(), "{told}");
        } else {
            assert!(reply.text().starts_with("502 no secure connection to the endpoint"), "{}", reply.text());
            assert_eq!(told, reason);
            assert!(explained.contains(reason), "{explained}");
            assert_eq!(serin.metric_of("serin_request_errors_total", "\"endpoint_tls\""), 1.0);
        }
        assert_eq!(origin.requests().len(), sent, "{name} {result}");
    }
}

#[test]
fn endpoints_are_asked_for_the_name_they_must_have() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["app.internal", "127.0.0.1"]);
    let origin = Origin::named("app");
    for (tls, wanted) in
        [("server_name: app.internal", Some("app.internal")), ("server_name: 127.0.0.1", None), ("", None)]
    {
        let front = Front::of(origin.address(), &Shows::new(&pair));
        let upstream = format!("tls: {{ca_file: ca.pem, {tls}}}");
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), &upstream));
        assert_eq!(serin.client().get("/").text(), "app");
        assert_eq!(front.handshakes()[0].name.as_deref(), wanted);
    }
}

/// What a listener reads first, and after that until the other side ends.
fn first_bytes(says: &'static [u8]) -> (std::net::SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(says);
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..count]);
            }
            if tell.send(bytes).is_err() {
                return;
            }
        }
    });
    (address, told)
}

#[test]
fn nothing_is_said_in_clear_text_and_nothing_taken_that_was() {
    let (authority, answer) = (Authority::new("ours"), &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"[..]);
    let (address, told) = first_bytes(answer);
    for protocol in ["http1", "h2"] {
        let upstream = format!("protocol: {protocol}, tls: {{ca_file: ca.pem}}");
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(address, &upstream));
        let reply = serin.client().request("POST", "/secret", &[("Host", "a.test")], b"secret");
        assert_eq!(reply.status, 502);
        assert_eq!(handshakes(&serin, "broken"), 1.0);
        let said = told.recv_timeout(PATIENCE).expect("it was connected to");
        assert_eq!(said.first(), Some(&22), "a handshake");
        assert!(!said.windows(6).any(|part| part == b"secret"));
    }
}

#[test]
fn a_handshake_without_end_takes_no_longer_than_a_connection_may() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let authority = Authority::new("ours");
    for protocol in ["http1", "h2"] {
        let upstream = format!("protocol: {protocol}, tls: {{ca_file: ca.pem}}");
        let rules = rules(address, &upstream).replace("{upstream: app}", "{upstream: app, timeouts: {connect: 200ms}}");
        let serin = serving(&[("ca.pem", &authority.pem())], &rules);
        assert_eq!(serin.client().get("/").status, 504);
        eventually(PATIENCE, protocol, || handshakes(&serin, "timed_out") == 1.0);
    }
}

#[test]
fn another_endpoint_serves_and_one_that_is_not_trusted_is_left_out() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let origin = Origin::named("app");
    let right = Front::of(origin.address(), &Shows::new(&authority.sign(&["127.0.0.1"])));
    let wrong = Front::of(origin.address(), &Shows::new(&stranger.sign(&["127.0.0.1"])));
    let rules = format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\", \"{}\"], balance: round_robin, \
         tls: {{ca_file: ca.pem}}, connections: {{max_requests: 1}}}}}}\n",
        wrong.address(),
        right.address()
    );
    let serin = serving(&[("ca.pem", &authority.pem())], &rules);
    let mut client = serin.client();
    for _ in 0..40 {
        // Nothing was sent, so any request may go elsewhere.
        assert_eq!(client.request("POST", "/", &[("Host", "a.test")], b"body").text(), "app");
    }
    let opened = || serin.metric("serin_endpoint_breaker_openings_total");
    eventually(PATIENCE, "its breaker opens", || {
        client_get(&serin);
        opened() >= 1.0
    });
    assert!(wrong.handshakes().is_empty());
}

fn client_get(serin: &crate::support::Serin) {
    assert_eq!(serin.client().get("/").text(), "app");
}

#[test]
fn what_is_not_agreed_on_is_not_spoken() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["127.0.0.1"]);
    let origin = Origin::named("app");
    for (protocol, offers, result) in [
        ("http1", &["http/1.1"][..], "completed"),
        ("http1", &["h2", "http/1.1"], "completed"),
        ("http1", &[], "completed"),
        ("http1", &["h2"], "no_protocol"),
        ("h2", &["http/1.1"], "no_protocol"),
        ("h2", &[], "no_protocol"),
    ] {
        let front = Front::of(origin.address(), &Shows { protocols: offers, ..Shows::new(&pair) });
        let upstream = format!("protocol: {protocol}, tls: {{ca_file: ca.pem}}");
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), &upstream));
        let status = serin.client().get("/").status;
        assert_eq!(status, if result == "completed" { 200 } else { 502 }, "{protocol} {offers:?}");
        assert_eq!(handshakes(&serin, result), 1.0, "{protocol} {offers:?}");
    }
}

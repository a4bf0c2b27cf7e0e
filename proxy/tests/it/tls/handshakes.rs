//! What a handshake may be, and how long it may take.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serin_proxy::server::ConnectionLimits;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{Authority, Browser, Fixture, echoing};
use crate::support::{Origin, PATIENCE, eventually};

fn fixture(tls: &str, limits: ConnectionLimits) -> Fixture {
    let pair = Authority::new("any").sign(&["a.test"]);
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    Fixture::start_with(Origin::named("app"), vec![pair.files("a")], tls, certificates, limits)
}

#[test]
fn versions_and_cipher_suites_are_those_of_the_listener() {
    let (old, new) = (Browser::with_version(&TLS12), Browser::with_version(&TLS13));
    for (tls, wanted) in [
        ("{}", [true, true]),
        ("{min_version: 1.3}", [false, true]),
        ("{min_version: \"1.2\", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}", [true, false]),
        ("{cipher_suites: [TLS13_AES_128_GCM_SHA256]}", [false, true]),
    ] {
        let fixture = fixture(tls, ConnectionLimits::default());
        let got = [&old, &new].map(|browser| browser.get(fixture.address(), "a.test").is_ok());
        assert_eq!(got, wanted, "{tls}");
        let refused = wanted.iter().filter(|is_wanted| !**is_wanted).count() as f64;
        eventually(PATIENCE, tls, || fixture.handshakes("incompatible") == refused);
    }
}

#[test]
fn protocols_are_agreed_on_or_the_handshake_ends() {
    let fixture = fixture("{}", ConnectionLimits::default());
    for (offers, wanted) in [
        (&["h2", "http/1.1"][..], Ok(Some("h2"))),
        (&["http/1.1"], Ok(Some("http/1.1"))),
        (&["http/1.0", "http/1.1"], Ok(Some("http/1.1"))),
        (&[], Ok(None)),
        (&["spdy/3"], Err(())),
    ] {
        let page = Browser::new().speaking(offers).open(fixture.address(), "a.test");
        let got = page.as_ref().map(|page| page.protocol()).map_err(|_| ());
        assert_eq!(got, wanted.map(|wanted: Option<&str>| wanted.map(str::as_bytes)), "{offers:?}");
    }
    eventually(PATIENCE, "counted", || fixture.handshakes("no_protocol") == 1.0);
}

#[test]
fn sessions_go_on_with_both_versions() {
    let fixture = fixture("{}", ConnectionLimits::default());
    for version in [&TLS12, &TLS13] {
        let browser = Browser::with_version(version);
        let is_resumed = [0; 3].map(|_| {
            let mut page = browser.open(fixture.address(), "a.test").expect("a connection");
            assert_eq!(page.get("a.test").expect("an answer").body, "app");
            page.is_resumed()
        });
        assert_eq!(is_resumed, [false, true, true], "{version:?}");
    }
}

#[test]
fn whoever_takes_too_long_is_cut_off_and_others_are_served() {
    let fixture = fixture("{}", ConnectionLimits { handshake_ms: 300, ..ConnectionLimits::default() });
    let connect = || TcpStream::connect(fixture.address()).expect("a connection");
    let (silent, mut dripping) = (connect(), connect());
    dripping.write_all(&[22, 3, 1, 0, 200, 1]).expect("room");
    for mut cut in [silent, dripping] {
        cut.set_read_timeout(Some(PATIENCE)).expect("a limit");
        assert!(matches!(cut.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    eventually(PATIENCE, "both are counted", || fixture.handshakes("timed_out") == 2.0);
    assert_eq!(Browser::new().get(fixture.address(), "a.test").expect("an answer").body, "app");
    eventually(PATIENCE, "closed", || fixture.serin.metric("serin_connections_open") == 0.0);
}

#[test]
fn clear_text_is_no_hello_and_a_hello_is_no_request() {
    let fixture = fixture("{}", ConnectionLimits::default());
    let mut client = fixture.serin.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let rest = client.rest();
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    eventually(PATIENCE, "counted", || fixture.handshakes("broken") == 1.0);
    let origin = Origin::named("app");
    let clear = crate::support::Serin::in_front_of(&origin, "");
    assert!(Browser::new().is_shown(clear.address(), "a.test").is_err());
    assert_eq!(clear.client().get("/").text(), "app");
}

#[test]
fn a_name_may_have_a_dot_at_its_end() {
    let fixture = fixture("{}", ConnectionLimits::default());
    let begins = |host: &str| {
        let mut hello = Browser::new().hello("a.testx");
        let at = hello.windows(7).position(|name| name == b"a.testx").expect("it is in clear text");
        hello[at..at + 7].copy_from_slice(host.as_bytes());
        let mut client = TcpStream::connect(fixture.address()).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a limit");
        client.write_all(&hello).expect("room");
        let mut kind = [0];
        client.read_exact(&mut kind).expect("an answer");
        kind[0]
    };
    // A handshake goes on, or an alert ends it.
    assert_eq!((begins("a.test."), begins("a.testx")), (22, 21));
}

#[test]
fn a_hello_without_end_is_none() {
    let fixture = fixture("{}", ConnectionLimits::default());
    let mut client = TcpStream::connect(fixture.address()).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a limit");
    // Records of a message that is said to have 60,000 bytes.
    let mut record = vec![22, 3, 1, 0x20, 0];
    let head = [&[1, 0, 0xea, 0x60][..], &[0; 8_188]].concat();
    client.write_all(&[&record[..], &head].concat()).expect("room");
    record.extend([0; 8_192]);
    while client.write_all(&record).is_ok() {}
    eventually(PATIENCE, "counted", || fixture.handshakes("broken") == 1.0);
}

#[test]
fn what_was_not_agreed_on_is_not_spoken() {
    let fixture = fixture("{}", ConnectionLimits::default());
    for protocols in [&["http/1.1"][..], &[]] {
        let mut page = Browser::new().speaking(protocols).open(fixture.address(), "a.test").expect("a connection");
        page.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("room");
        assert!(page.answer().expect("an answer").head.starts_with("HTTP/1.1 "), "{protocols:?}");
    }
}

#[test]
fn a_load_balancer_says_whose_handshake_it_passes_on() {
    let pair = Authority::new("any").sign(&["a.test"]);
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    let tls = "{}, proxy_protocol: {from: [127.0.0.1]}";
    let fixture = Fixture::start(echoing("x-forwarded-for"), vec![pair.files("a")], tls, certificates);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n";
    for protocols in [&["http/1.1"][..], &[]] {
        let browser = Browser::new().speaking(protocols);
        let mut page = browser.open_behind(fixture.address(), header, "a.test").expect("a connection");
        assert_eq!(page.get("a.test").expect("an answer").body, "192.0.2.7");
    }
    assert!(Browser::new().open(fixture.address(), "a.test").is_err());
}

/// Others judge the chain, the host and what is agreed on.
#[test]
fn curl_is_served_with_both_protocols_and_checks_who_serves() {
    let authority = Authority::new("any");
    let pair = authority.sign(&["a.test"]);
    let fixture = Fixture::with_one(echoing("x-forwarded-port"), &pair, "a.test");
    let ca = fixture.serin.folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("room");
    let port = fixture.address().port();
    let curl = |host: &str, more: &[&str]| {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = format!("https://{host}:{port}/");
        let output = Command::new("curl")
            .args(["-sS", "--cacert"])
            .arg(&ca)
            .args(["--resolve", &resolve, "-w", " %{http_version}", &url])
            .args(more)
            .output();
        output.ok().map(|output| (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let Some(first) = curl("a.test", &["--http1.1"]) else { return println!("there is no curl: nothing is tested") };
    assert_eq!(first, (true, format!("{port} 1.1")));
    assert_eq!(curl("a.test", &["--http2"]), Some((true, format!("{port} 2"))));
    assert_eq!(curl("a.test", &["--http2", "--tls-max", "1.2"]), Some((true, format!("{port} 2"))));
    assert!(!curl("b.test", &[]).expect("there is curl").0);
}

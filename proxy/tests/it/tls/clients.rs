//! Certificates that clients show.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::browser::Page;
use super::{Authority, Browser, Fixture, echoing};
use crate::support::{PATIENCE, eventually};

/// Three hosts that ask for more, and less, and nothing.
fn fixture(clients: &Authority) -> Fixture {
    let authority = Authority::new("any");
    let files =
        ["strict", "lax", "open"].map(|name| authority.sign(&["strict.test", "lax.test", "open.test"]).files(name));
    let mut files = files.to_vec();
    files.push([("clients.pem".to_owned(), clients.pem()), ("unused".to_owned(), String::new())]);
    let certificates = "{\
        strict: {hosts: [strict.test], cert_file: strict.crt, key_file: strict.key, client_certificates: {ca_file: clients.pem}}, \
        lax: {hosts: [lax.test], cert_file: lax.crt, key_file: lax.key, client_certificates: {ca_file: clients.pem, mode: optional}}, \
        open: {hosts: [open.test], cert_file: open.crt, key_file: open.key}}";
    Fixture::start(echoing("client-cert"), files, "{}", certificates)
}

#[test]
fn they_are_required_or_optional_and_always_verified() {
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    let (right, wrong) = (clients.sign(&["client"]), others.sign(&["client"]));
    let fixture = fixture(&clients);
    let shown = format!(":{}:", STANDARD.encode(right.der()));
    let none = Some("none".to_owned());
    for (host, browser, wanted) in [
        ("strict.test", Browser::showing(&right), Some(shown.clone())),
        ("strict.test", Browser::showing(&wrong), None),
        ("strict.test", Browser::new(), None),
        ("strict.test", Browser::with_version(&TLS12), None),
        ("lax.test", Browser::showing(&right), Some(shown)),
        ("lax.test", Browser::showing(&wrong), None),
        ("lax.test", Browser::new(), none.clone()),
        ("open.test", Browser::showing(&right), none),
    ] {
        let got = browser.get(fixture.address(), host).map(|answer| answer.body);
        assert_eq!(got.as_ref().ok(), wanted.as_ref(), "{host}: {got:?}");
    }
    eventually(PATIENCE, "they are counted", || fixture.handshakes("client_certificate") == 4.0);
}

#[test]
fn nobody_else_says_what_a_client_has_shown() {
    let fixture = fixture(&Authority::new("clients"));
    for host in ["lax.test", "open.test"] {
        let mut page = Browser::new().open(fixture.address(), host).expect("a connection");
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nClient-Cert: :AAAA:\r\nclient_cert: :AAAA:\r\n\r\n");
        page.send(&request).expect("room");
        assert_eq!(page.answer().expect("an answer").body, "none");
    }
    assert!(!fixture.origin.requests().iter().any(|request| request.header("client_cert").is_some()));
}

#[test]
fn a_chain_that_belongs_to_another_certificate_goes() {
    let clients = Authority::new("clients");
    let (pair, own) = (Authority::new("any").sign(&["a.test"]), clients.sign(&["client"]));
    let mut files = vec![pair.files("a")];
    files.push([("clients.pem".to_owned(), clients.pem()), ("unused".to_owned(), String::new())]);
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}\ntrusted_proxies: [127.0.0.1]";
    let tls = "{client_certificates: {ca_file: clients.pem, mode: optional}}";
    let fixture = Fixture::start(echoing("client-cert-chain"), files, tls, certificates);
    for (browser, wanted) in [(Browser::showing(&own), "none"), (Browser::new(), ":AAAA:")] {
        let mut page = browser.open(fixture.address(), "a.test").expect("a connection");
        page.send("GET / HTTP/1.1\r\nHost: a.test\r\nClient-Cert-Chain: :AAAA:\r\n\r\n").expect("room");
        assert_eq!(page.answer().expect("an answer").body, wanted);
    }
}

/// A ticket holds the certificate that was shown, which nobody looks at again: it may have expired since.
#[test]
fn no_session_goes_on_where_certificates_are_asked_for() {
    let clients = Authority::new("clients");
    let (pair, fixture) = (clients.sign(&["client"]), fixture(&clients));
    for version in [&TLS12, &TLS13] {
        let browser = Browser::showing_in(version, &pair);
        for (host, wanted) in [("strict.test", false), ("lax.test", false), ("open.test", true)] {
            let is_resumed = [0; 2].map(|_| {
                let mut page = browser.open(fixture.address(), host).expect("a connection");
                assert_eq!(page.get(host).expect("an answer").status, 200);
                page.is_resumed()
            });
            assert_eq!(is_resumed, [false, wanted], "{version:?} {host}");
        }
    }
}

#[test]
fn nobody_goes_on_under_other_terms() {
    let clients = Authority::new("clients");
    let pair = clients.sign(&["client"]);
    let fixture = fixture(&clients);
    let browser = Browser::showing(&pair);
    let open = |host: &str| browser.open(fixture.address(), host).expect("a connection");
    let again = |host: &str| open(host).get(host).map(|answer| answer.body);
    let [mut page, mut old] = [open("strict.test"), open("strict.test")];
    // In HTTP/1.0 a request may name no host, and has then that of the handshake.
    let get = |page: &mut Page| {
        page.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("room");
        page.answer().expect("an answer").status
    };
    assert_eq!((page.get("strict.test").expect("an answer").status, get(&mut old)), (200, 200));
    // Its authority is no longer among those that count.
    crate::support::control::replace(&fixture.serin.folder.path().join("clients.pem"), &Authority::new("new").pem());
    eventually(PATIENCE, "other terms", || again("strict.test").is_err());
    assert!(again("lax.test").is_err(), "it shows a certificate that nobody signed");
    // Nor does a connection that was opened under the old terms serve any more.
    assert_eq!((page.get("strict.test").expect("an answer").status, get(&mut old)), (421, 421));
}

#[test]
fn a_connection_without_a_certificate_does_not_reach_hosts_that_want_one() {
    let fixture = fixture(&Authority::new("clients"));
    let mut page = Browser::new().open(fixture.address(), "open.test").expect("a connection");
    // Its certificate is good for all three.
    let answers = ["open.test", "strict.test", "lax.test"].map(|host| page.get(host).expect("an answer").status);
    assert_eq!(answers, [200, 421, 421]);
}

#[test]
fn who_may_sign_is_never_everybody() {
    let authority = Authority::new("any");
    let pair = authority.sign(&["a.test"]);
    for (text, reason) in
        [("", "there is no certificate in it"), ("-----BEGIN CERTIFICATE-----\nAAAA", "is not PEM text")]
    {
        let mut files = vec![pair.files("a")];
        files.push([("clients.pem".to_owned(), text.to_owned()), ("unused".to_owned(), String::new())]);
        let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
        let tls = "{client_certificates: {ca_file: clients.pem}}";
        let fixture = Fixture::start(echoing("client-cert"), files, tls, certificates);
        let problems = fixture.problems();
        assert!(problems.contains("listeners.secure.tls.client_certificates.ca_file: "), "{problems}");
        assert!(problems.contains(reason) && problems.contains("nobody is let in"), "{problems}");
        assert!(Browser::new().get(fixture.address(), "a.test").is_err());
        assert!(Browser::showing(&pair).get(fixture.address(), "a.test").is_err());
    }
}

//! What HTTP does over TLS as it does without.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serin_proxy::server::ConnectionLimits;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Authority, Browser, Fixture, rules};
use crate::support::control::Program;
use crate::support::{Origin, PATIENCE, Serin, Then, eventually};

fn fixture(origin: Origin, limits: ConnectionLimits) -> Fixture {
    let pair = Authority::new("any").sign(&["a.test"]);
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    Fixture::start_with(origin, vec![pair.files("a")], "{}", certificates, limits)
}

#[test]
fn an_idle_connection_is_parked_and_goes_on() {
    let fixture = fixture(Origin::named("app"), ConnectionLimits { park_ms: 50, ..ConnectionLimits::default() });
    let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
    for _ in 0..3 {
        eventually(PATIENCE, "parked", || fixture.serin.metric("serin_connections_parked") == 1.0);
        assert_eq!(page.get("a.test").expect("an answer").body, "app");
    }
    // Two requests in one record, of which the second may already be there when the first is answered.
    page.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("room");
    for _ in 0..2 {
        assert_eq!(page.answer().expect("an answer").body, "app");
    }
    drop(page);
    eventually(PATIENCE, "closed", || fixture.serin.metric("serin_connections_open") == 0.0);
}

#[test]
fn the_end_is_said_and_a_body_that_was_cut_does_not_end() {
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/whole" => {
            visit.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole")?;
            Ok(Then::Close)
        }
        _ => {
            visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncut\r\n")?;
            Ok(Then::Close)
        }
    });
    let fixture = fixture(origin, ConnectionLimits::default());
    let ask = |target: &str| {
        let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
        page.send(&format!("GET {target} HTTP/1.0\r\nHost: a.test\r\n\r\n")).expect("room");
        page.rest()
    };
    assert!(ask("/whole").expect("it ends as TLS does").ends_with(b"\r\n\r\nwhole"));
    assert!(ask("/cut").is_err());
}

#[test]
fn new_keys_are_no_request() {
    let limits = ConnectionLimits { park_ms: 50, head_ms: 300, ..ConnectionLimits::default() };
    let fixture = fixture(Origin::named("app"), limits);
    let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
    assert_eq!(page.get("a.test").expect("an answer").body, "app");
    eventually(PATIENCE, "parked", || fixture.serin.metric("serin_connections_parked") == 1.0);
    page.renew_keys().expect("room");
    assert!(!page.hears_within(Duration::from_secs(2)), "it was not asked for anything");
    assert_eq!(page.get("a.test").expect("an answer").body, "app");
}

#[test]
fn the_end_of_an_idle_connection_is_said() {
    let limits = ConnectionLimits { park_ms: 50, idle_ms: 300, ..ConnectionLimits::default() };
    let fixture = fixture(Origin::named("app"), limits);
    let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
    assert_eq!(page.get("a.test").expect("an answer").body, "app");
    assert_eq!(page.rest().expect("it ends as TLS does"), b"");
}

#[test]
fn large_bodies_pass_both_ways() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = visit.request.body.clone();
        visit.answer(200, &[], &body)
    });
    let fixture = fixture(origin, ConnectionLimits::default());
    let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
    let body = "serin ".repeat(200_000);
    for _ in 0..2 {
        page.send(&format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .expect("room");
        assert!(page.answer().expect("an answer").body == body);
    }
}

#[test]
fn a_tunnel_passes_bytes_both_ways() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        let mut buffer = [0; 1024];
        loop {
            match visit.read_some(&mut buffer)? {
                0 => return Ok(Then::Close),
                count => visit.write(&buffer[..count])?,
            }
        }
    });
    let fixture = fixture(origin, ConnectionLimits::default());
    let mut page = Browser::new().open(fixture.address(), "a.test").expect("a connection");
    page.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").expect("room");
    assert_eq!(page.answer().expect("an answer").status, 101);
    for message in ["hello", "again"] {
        page.send(message).expect("room");
        assert_eq!(page.take(5).expect("it comes back"), message.as_bytes());
    }
    drop(page);
    eventually(PATIENCE, "closed", || fixture.serin.metric("serin_tunnels_open") == 0.0);
}

#[test]
fn a_drain_lets_requests_finish_and_says_the_end() {
    let pair = Authority::new("any").sign(&["a.test"]);
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(500));
        visit.answer(200, &[], b"late")
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in pair.files("a") {
        std::fs::write(folder.path().join(name), text).expect("room");
    }
    let config = folder.path().join("serin.yaml");
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    std::fs::write(&config, rules(origin.address(), "{}", certificates)).expect("room");
    let mut program = Program::start(&config);
    let mut page = Browser::new().open(program.address("secure"), "a.test").expect("a connection");
    page.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("room");
    origin.wait_until("the request", |log| !log.requests.is_empty());
    program.signal("TERM");
    let answer = page.answer().expect("an answer");
    assert_eq!(answer.body, "late");
    assert!(answer.head.to_ascii_lowercase().contains("connection: close"), "{}", answer.head);
    assert_eq!(page.rest().expect("it ends as TLS does"), b"");
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
}

/// A client that keeps its connection.
async fn http2(serin: &Serin, browser: &Browser, connections: &mut JoinSet<()>) -> h2::client::SendRequest<Bytes> {
    let socket = TcpStream::connect(serin.address()).await.expect("a connection");
    let host = ServerName::try_from("a.test").expect("a name");
    let stream = TlsConnector::from(browser.config()).connect(host, socket).await.expect("a handshake");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    connections.spawn(async move { drop(connection.await) });
    client
}

#[tokio::test]
async fn workers_share_connections_of_http_two() {
    let pair = Authority::new("any").sign(&["a.test"]);
    let origin = Origin::named("app");
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    let rules = rules(origin.address(), "{}", certificates).replace("workers: 1", "workers: 2");
    let serin = Arc::new(Serin::beside(&pair.files("a"), &rules, ConnectionLimits::default()));
    let browser = Browser::new().speaking(&["h2"]);
    let (mut clients, mut connections) = (Vec::new(), JoinSet::new());
    for _ in 0..8 {
        clients.push(http2(&serin, &browser, &mut connections).await);
    }
    for client in &mut clients {
        for _ in 0..5 {
            let request = ::http::Request::get("https://a.test/").body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("it is open");
            let mut body = answer.await.expect("an answer").into_body();
            assert_eq!(body.data().await.expect("a body").expect("it is whole"), "app");
        }
    }
    let asked = Arc::clone(&serin);
    let each = tokio::task::spawn_blocking(move || {
        ["worker=\"0\"", "worker=\"1\""].map(|worker| asked.metric_of("serin_worker_requests_total", worker))
    });
    assert_eq!(each.await.expect("it is asked"), [20.0, 20.0]);
    drop(clients);
}

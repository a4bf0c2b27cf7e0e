//! Upgraded connections: bytes both ways after a 101 that was asked for, and nothing else.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, Then, Visit, eventually};
use crate::tls;

const SECOND: Duration = Duration::from_secs(1);

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3\r\n\r\n";

const ASK: [(&str, &str); 4] = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "WebSocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// Passes everything back; when the other side has ended, says so and ends too.
pub(crate) fn echo_tunnel(visit: &mut Visit<'_>) -> std::io::Result<Then> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match visit.read_some(&mut buffer)? {
            0 => {
                visit.write("bye")?;
                return Ok(Then::Close);
            }
            count => visit.write(&buffer[..count])?,
        }
    }
}

fn echo() -> Origin {
    Origin::start(|visit| {
        visit.write(SWITCH)?;
        echo_tunnel(visit)
    })
}

fn ask(client: &mut Client) -> Reply {
    client.request("GET", "/socket", &ASK, b"")
}

/// A client, which speaks TLS or not.
fn meet(origin: &Origin, speaks_tls: bool) -> (Serin, Client) {
    let serin = if speaks_tls { tls::in_front_of(origin.address()) } else { Serin::in_front_of(origin, "") };
    let door = if speaks_tls { tls::bridge::to(serin.address()) } else { serin.address() };
    (serin, Client::connect(door))
}

#[test]
fn bytes_pass_both_ways_after_the_switch() {
    for speaks_tls in [false, true] {
        pass_both_ways(speaks_tls);
    }
}

fn pass_both_ways(speaks_tls: bool) {
    let origin = echo();
    let (serin, mut client) = meet(&origin, speaks_tls);
    let reply = ask(&mut client);
    assert_eq!((reply.status, reply.header("sec-websocket-accept")), (101, Some("s3")));
    assert!(reply.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(reply.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    let seen = origin.request();
    assert_eq!(seen.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(seen.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    for message in [&b"\x81\x05hello"[..], b"GET / HTTP/1.1\r\n\r\n", &[0, 255, 13, 10]] {
        client.send(message);
        assert_eq!(client.take(message.len()).unwrap(), message);
    }
    assert_eq!((serin.metric("serin_tunnels_open"), serin.metric("serin_endpoint_requests_in_flight")), (1.0, 1.0));
    client.half_close();
    assert_eq!(client.rest(), b"bye", "the endpoint may speak after the client has ended");
    serin.wait_until_quiet(SECOND);
    origin.wait_within(SECOND, "closed", |log| log.open == 0);
}

#[test]
fn much_passes_both_ways_at_once() {
    for speaks_tls in [false, true] {
        pass_much(speaks_tls);
    }
}

fn pass_much(speaks_tls: bool) {
    let origin = echo();
    let (_serin, mut client) = meet(&origin, speaks_tls);
    ask(&mut client);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut writing, copy) = (client.stream().try_clone().unwrap(), sent.clone());
    let writer = std::thread::spawn(move || {
        writing.write_all(&copy).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let back = client.rest();
    writer.join().unwrap();
    assert!(back[..sent.len()] == sent && back.ends_with(b"bye"), "{} bytes came back", back.len());
}

#[test]
fn bytes_that_come_with_the_heads_are_the_tunnels() {
    let origin = Origin::start(|visit| {
        // The first message of the endpoint in the same segment as its answer.
        visit.write([SWITCH.as_bytes(), b"welcome"].concat())?;
        echo_tunnel(visit)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send([request("GET", "/", &ASK, b""), b"at once".to_vec()].concat());
    assert_eq!(client.reply().status, 101);
    assert_eq!(client.take(14).unwrap(), b"welcomeat once");
}

#[test]
fn the_endpoint_may_end_first() {
    let origin = Origin::start(|visit| {
        visit.write(SWITCH)?;
        visit.write("last words")?;
        visit.stream().shutdown(Shutdown::Write)?;
        // What the client still sends is read.
        let rest = visit.read_exactly(5)?;
        assert_eq!(rest, b"reply");
        Ok(Then::Close)
    });
    for speaks_tls in [false, true] {
        let (serin, mut client) = meet(&origin, speaks_tls);
        ask(&mut client);
        assert_eq!(client.rest(), b"last words");
        client.send("reply");
        origin.wait_until("read to the end", |log| log.open == 0);
        drop(client);
        serin.wait_until_quiet(SECOND);
    }
}

#[test]
fn a_switch_nobody_asked_for_is_a_502() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 502);
    assert_eq!(client.request("POST", "/", &[], b"body").status, 502);
    origin.wait_within(SECOND, "the connection is not kept", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
}

#[test]
fn a_switch_to_something_else_is_a_502() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    assert_eq!(ask(&mut serin.client()).status, 502);
    origin.wait_within(SECOND, "closed", |log| log.open == 0);
}

#[test]
fn another_answer_is_passed_on_and_ends_the_connection() {
    let origin = Origin::start(|visit| visit.answer(401, &[], b"who are you"));
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    let reply = ask(&mut client);
    assert_eq!((reply.status, reply.text(), reply.announces_close()), (401, "who are you", true));
    assert!(client.ends_within(SECOND));
    serin.wait_until_quiet(SECOND);
}

#[test]
fn an_upgrade_the_route_does_not_allow_is_an_ordinary_request() {
    let origin = Origin::named("app");
    let cases = [
        ("upgrade: []", "websocket"),
        ("", "h2c"),
        ("", "x-other"),
        ("upgrade: [x-other]", "websocket"),
        ("", "websocket, h2c"),
    ];
    for (route, protocol) in cases {
        let serin = Serin::in_front_of(&origin, route);
        let mut client = serin.client();
        let fields = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", protocol), ("HTTP2-Settings", "AAMAAABk")];
        assert_eq!(client.request("GET", "/", &fields, b"").text(), "app", "{protocol}");
        assert_eq!(client.get("/").text(), "app", "{protocol}: the connection goes on");
    }
    for seen in origin.requests() {
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(seen.header_lines(gone), Vec::<&str>::new(), "{gone}");
        }
    }
}

#[test]
fn a_route_may_allow_other_protocols() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x-other\r\nConnection: Upgrade\r\n\r\n")?;
        echo_tunnel(visit)
    });
    let serin = Serin::in_front_of(&origin, "upgrade: [x-other]");
    let mut client = serin.client();
    assert_eq!(client.request("GET", "/", &[("Connection", "upgrade"), ("Upgrade", "X-Other")], b"").status, 101);
    client.send("abc");
    assert_eq!(client.take(3).unwrap(), b"abc");
}

/// An `Upgrade` that `Connection` does not name is not a wish to upgrade (RFC 9110 §7.8).
#[test]
fn an_upgrade_without_the_connection_option_is_no_wish() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    assert_eq!(serin.client().request("GET", "/", &[("Upgrade", "websocket")], b"").text(), "app");
    assert_eq!(origin.request().header_lines("upgrade"), Vec::<&str>::new());
}

#[test]
fn an_idle_tunnel_ends() {
    let origin = echo();
    let serin =
        Serin::in_front_of(&origin, "timeouts: {tunnel_idle: 400ms, request: 200ms, idle: 200ms, total: 300ms}");
    let mut client = serin.client();
    ask(&mut client);
    let began = Instant::now();
    // Traffic keeps it open, also beyond the limits that are for requests.
    while began.elapsed() < Duration::from_millis(900) {
        client.send("x");
        assert_eq!(client.take(1).unwrap(), b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(client.ends_within(SECOND), "nothing moves");
    origin.wait_within(SECOND, "closed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
    assert_eq!(serin.metric("serin_tunnels_idle_closed_total"), 1.0);
}

#[test]
fn a_tunnel_is_not_parked() {
    let origin = echo();
    let limits = serin_proxy::server::ConnectionLimits {
        park_ms: 50,
        idle_ms: 100,
        head_ms: 100,
        write_stall_ms: 100,
        ..Default::default()
    };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = serin.client();
    ask(&mut client);
    assert!(!client.ends_within(Duration::from_millis(700)));
    client.send("still here");
    assert_eq!(client.take(10).unwrap(), b"still here");
}

/// An endpoint that sends a little and then neither speaks nor listens, until it is let go.
fn deaf() -> (Origin, std::sync::mpsc::Sender<()>) {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let origin = Origin::start(move |visit| {
        visit.write(SWITCH)?;
        let _ = hold.lock().unwrap().recv();
        Ok(Then::Close)
    });
    (origin, release)
}

/// A reset says that nobody is there any more, in both directions; a half-close would let the endpoint wait.
#[test]
fn a_client_that_resets_frees_the_tunnel() {
    let (origin, release) = deaf();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    ask(&mut client);
    eventually(PATIENCE, "the tunnel is open", || serin.metric("serin_tunnels_open") == 1.0);
    client.reset();
    serin.wait_until_quiet(SECOND);
    drop(release);
}

#[test]
fn a_tunnel_to_an_endpoint_that_vanishes_ends() {
    let origin = Origin::start(|visit| {
        visit.write(SWITCH)?;
        visit.read_exactly(1)?;
        socket2::SockRef::from(visit.stream()).set_linger(Some(Duration::ZERO))?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    ask(&mut client);
    client.send("x");
    assert!(client.ends_within(SECOND));
    drop(client);
    serin.wait_until_quiet(SECOND);
}

#[test]
fn a_tunnel_waits_for_its_reader() {
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let open = std::sync::Mutex::new(open);
    let origin = Origin::start(move |visit| {
        visit.write(SWITCH)?;
        let _ = open.lock().unwrap().recv();
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    ask(&mut client);
    client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut taken = 0;
    while taken < 200 && client.try_send(&piece).is_ok() {
        taken += 1;
    }
    assert!(taken < 28, "{taken} MiB were taken for an endpoint that reads nothing");
    gate.send(()).unwrap();
    drop(client);
    serin.wait_until_quiet(5 * SECOND);
}

/// The switch meets a connection that is gone: nothing may stay behind of it.
#[test]
fn a_switch_that_nobody_receives_leaves_nothing_behind() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let origin = Origin::start(move |visit| {
        let _ = hold.lock().unwrap().recv();
        visit.write(SWITCH)?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    // A byte behind the request keeps the proxy from seeing the end of the connection.
    client.send([request("GET", "/socket", &ASK, b""), b"x".to_vec()].concat());
    origin.wait_until("the request is there", |log| log.requests.len() == 1);
    client.reset();
    release.send(()).unwrap();
    origin.wait_within(PATIENCE, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(PATIENCE);
    eventually(PATIENCE, "the connection is forgotten", || serin.metric("serin_connections_open") == 0.0);
}

//! WebSocket over streams of HTTP/2 (RFC 8441), to endpoints that speak HTTP/1.1.

use std::time::Duration;

use serin_proxy::server::ConnectionLimits;

use super::echo;
use crate::support::http2::{CANCEL, Frames, PROTOCOL_ERROR, Stream, request};
use crate::support::{Origin, PATIENCE, Serin, Then, Visit, eventually, websocket_accept};
use crate::upgrade::echo_tunnel;

const SECOND: Duration = Duration::from_secs(1);

/// Accepts a handshake as RFC 6455 says, for the protocol `chat`.
pub(crate) fn accept(visit: &mut Visit<'_>) -> std::io::Result<()> {
    let key = visit.request.header("sec-websocket-key").unwrap_or_default();
    visit.write(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        websocket_accept(key)
    ))
}

/// Passes everything back; when the other side has ended, says so and ends too.
fn websocket() -> Origin {
    Origin::start(|visit| {
        if visit.request.header("upgrade").is_none() {
            return visit.answer(200, &[], b"no socket").map(|_| Then::Keep);
        }
        accept(visit)?;
        echo_tunnel(visit)
    })
}

fn answering(head: &'static str) -> Origin {
    Origin::start(move |visit| {
        visit.write(head)?;
        Ok(Then::Close)
    })
}

/// A listener that takes sockets over HTTP/2; `route` are more fields of the route.
fn taking(origin: &Origin, route: &str, limits: ConnectionLimits) -> Serin {
    let more = if route.is_empty() { String::new() } else { format!(", {route}") };
    Serin::start_with(
        &format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\", websocket_over_http2: true}}}}\n\
             admin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
             routes: {{all: {{upstream: app{more}}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            origin.address()
        ),
        limits,
    )
}

fn before(origin: &Origin) -> Serin {
    taking(origin, "", ConnectionLimits::default())
}

fn ask(client: &mut Frames, stream: u32, protocol: &str) -> Stream {
    let [_, scheme, path, authority] = request("CONNECT", "/socket?a=b");
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        scheme,
        path,
        authority,
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ];
    client.head(stream, &fields, false);
    client.until("an answer", |seen| {
        seen.streams.get(&stream).is_some_and(|stream| stream.status.is_some() || stream.is_over())
    });
    client.stream(stream)
}

#[test]
fn bytes_pass_both_ways_beside_other_requests() {
    let origin = websocket();
    let serin = before(&origin);
    let mut client = Frames::connect(serin.address());
    let answer = ask(&mut client, 1, "websocket");
    assert_eq!((answer.status, answer.has_ended), (Some(200), false));
    assert_eq!(client.seen.settings.get(&8), Some(&1), "it is offered");
    let seen = origin.request();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/socket?a=b"));
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(seen.header("sec-websocket-protocol"), Some("chat"));
    assert!(seen.header("transfer-encoding").is_none() && seen.header("content-length").is_none());
    let mut all = Vec::new();
    for message in [&b"\x81\x05hello"[..], b"GET / HTTP/1.1\r\n\r\n", &[0, 255, 13, 10]] {
        client.data(1, message, false);
        all.extend_from_slice(message);
        client.until("it comes back", |seen| seen.stream(1).body.len() == all.len());
        assert_eq!(client.stream(1).body, all);
    }
    assert_eq!(client.get_body(3, "/"), b"no socket");
    assert_eq!((serin.metric("serin_tunnels_open"), serin.metric("serin_endpoint_requests_in_flight")), (1.0, 1.0));
    client.data(1, b"", true);
    let whole = client.answer(1);
    assert!(whole.has_ended && whole.body.ends_with(b"bye"), "the endpoint may speak after the client has ended");
    serin.wait_until_quiet(SECOND);
    origin.wait_within(SECOND, "closed", |log| log.open <= 1);
    assert_eq!(serin.metric("serin_tunnels_open"), 0.0);
    assert_eq!(serin.metric("serin_request_errors_total"), 0.0);
}

#[test]
fn a_socket_ends_with_its_stream_and_with_its_connection() {
    let origin = websocket();
    let serin = before(&origin);
    let mut client = Frames::connect(serin.address());
    for stream in [1, 3] {
        assert_eq!(ask(&mut client, stream, "websocket").status, Some(200));
    }
    client.reset(1, CANCEL);
    origin.wait_within(SECOND, "one is free", |log| log.open == 1);
    client.data(3, b"still here", false);
    client.until("an echo", |seen| seen.stream(3).body == b"still here");
    drop(client);
    origin.wait_within(SECOND, "both are", |log| log.open == 0);
    eventually(SECOND, "nothing is open", || serin.metric("serin_tunnels_open") == 0.0);
    serin.wait_until_quiet(SECOND);
}

#[test]
fn a_stream_that_is_taken_back_frees_an_endpoint_that_does_not_listen() {
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let ends = std::sync::Mutex::new(ends);
    let origin = Origin::start(move |visit| {
        accept(visit)?;
        // Nothing that comes is anything to it, ends neither.
        let _ = ends.lock().map(|ends| ends.recv());
        Ok(Then::Close)
    });
    let serin = before(&origin);
    let mut client = Frames::connect(serin.address());
    for stream in [1, 3] {
        assert_eq!(ask(&mut client, stream, "websocket").status, Some(200));
    }
    client.data(3, b"", true);
    client.reset(1, CANCEL);
    eventually(2 * SECOND, "one is free", || serin.metric("serin_tunnels_open") == 1.0);
    assert_eq!(serin.metric("serin_endpoint_requests_in_flight"), 1.0);
    assert!(!client.comes(2 * SECOND, |seen| seen.stream(3).is_over()), "who still listens may wait");
    assert_eq!(serin.metric("serin_tunnels_open"), 1.0);
    drop(end);
    client.until("the other's end", |seen| seen.stream(3).is_over());
}

#[test]
fn a_quiet_socket_is_not_a_stalled_answer() {
    let origin = websocket();
    let limits = ConnectionLimits { stream_stall_ms: 200, idle_ms: 200, ..ConnectionLimits::default() };
    let serin = taking(&origin, "timeouts: {tunnel_idle: 2s}", limits);
    let mut client = Frames::connect(serin.address());
    assert_eq!(ask(&mut client, 1, "websocket").status, Some(200));
    assert!(!client.comes(SECOND, |seen| seen.stream(1).is_over() || seen.is_over));
    client.data(1, b"hello", false);
    client.until("an echo", |seen| seen.stream(1).body == b"hello");
    client.within(PATIENCE, "its own limit", |seen| seen.stream(1).is_over());
    assert_eq!(serin.metric("serin_tunnels_idle_closed_total"), 1.0);
    assert_eq!(serin.metric("serin_http2_stalled_responses_total"), 0.0);
}

#[test]
fn an_answer_that_does_not_switch_never_looks_as_if_it_did() {
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
    ];
    for (head, status) in cases {
        let origin = answering(head);
        let serin = before(&origin);
        let mut client = Frames::connect(serin.address());
        ask(&mut client, 1, "websocket");
        let answer = client.answer(1);
        assert_eq!((answer.status, answer.has_ended), (Some(status), true), "{head}");
        assert_eq!(serin.metric("serin_tunnels_open"), 0.0);
    }
}

#[test]
fn what_the_route_does_not_allow_is_refused_and_nothing_else() {
    let (origin, without) = echo();
    let mut client = Frames::connect(without.address());
    let unasked = ask(&mut client, 1, "websocket");
    assert_eq!(
        (unasked.status, unasked.reset),
        (None, Some(PROTOCOL_ERROR)),
        "a listener does not take them by itself"
    );
    assert_eq!(client.seen.settings.get(&8), None);
    let serin = before(&origin);
    let mut client = Frames::connect(serin.address());
    assert_eq!(ask(&mut client, 1, "connect-udp").status, Some(405));
    client.head(3, &[(":method", "CONNECT"), (":authority", "a.test:443")], false);
    assert_eq!(client.answer(3).status, Some(405), "a CONNECT to anywhere is none of these");
    let [_, scheme, path, authority] = request("GET", "/");
    client.head(5, &[(":method", "GET"), (":protocol", "websocket"), scheme, path, authority], true);
    let strange = client.answer(5);
    assert!(strange.reset.is_some() || strange.status == Some(400), "{strange:?}");
    assert_eq!(origin.requests().len(), 0);
    let mut client = Frames::connect(serin.address());
    client.get(1, "/");
    assert_eq!(client.answer(1).status, Some(200));
    let without = taking(&origin, "upgrade: []", ConnectionLimits::default());
    let mut client = Frames::connect(without.address());
    assert_eq!(ask(&mut client, 1, "websocket").status, Some(405));
    client.get(3, "/");
    assert_eq!(client.answer(3).status, Some(200), "other streams live");
}

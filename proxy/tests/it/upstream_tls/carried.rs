//! What goes over TLS to endpoints as it does in clear text: HTTP/2, gRPC, WebSocket, checks, ends of answers.

use std::sync::mpsc::channel;

use super::front::{Front, Shows};
use super::{handshakes, rules, serving};
use crate::support::grpc::{GrpcClient, framed};
use crate::support::http2_origin::{Http2Origin, fields};
use crate::support::{Client, Cut, Origin, PATIENCE, Serin, Then, eventually};
use crate::tls::Authority;

const TLS: &str = "tls: {ca_file: ca.pem}";

/// A proxy and what stands before an endpoint.
fn before(endpoint: std::net::SocketAddr, upstream: &str) -> (Serin, Front) {
    let authority = Authority::new("ours");
    let front = Front::of(endpoint, &Shows::new(&authority.sign(&["127.0.0.1"])));
    let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), upstream));
    (serin, front)
}

#[test]
fn http2_is_agreed_on_and_its_requests_say_how_they_came() {
    let origin = Http2Origin::named("app");
    let (serin, front) = before(origin.address(), &format!("protocol: h2, {TLS}"));
    let mut client = serin.client();
    assert_eq!([0; 3].map(|_| client.get("/a").text().to_owned()), ["app", "app", "app"]);
    assert_eq!((front.handshakes().len(), origin.log().accepted), (1, 1));
    assert!(origin.log().calls[0].target.starts_with("https://"), "{}", origin.log().calls[0].target);
}

#[test]
fn sessions_go_on() {
    let origin = Origin::named("app");
    let (serin, front) = before(origin.address(), &format!("{TLS}, connections: {{max_requests: 1}}"));
    let mut client = serin.client();
    (0..3).for_each(|_| assert_eq!(client.get("/").text(), "app"));
    let resumed: Vec<bool> = front.handshakes().iter().map(|handshake| handshake.is_resumed).collect();
    assert_eq!(resumed, [false, true, true]);
    assert_eq!((handshakes(&serin, "completed"), handshakes(&serin, "resumed")), (1.0, 2.0));
}

#[test]
fn calls_of_grpc_are_carried() {
    let origin = Http2Origin::start(|mut call| async move {
        let message = call.read().await.unwrap_or_default();
        let mut answer = call.begin(200, &[("content-type", "application/grpc")], false);
        answer.send_data(message.into(), false).expect("the stream is open");
        answer.send_trailers(fields(&[("grpc-status", "0")])).expect("the stream is open");
    });
    let (serin, _front) = before(origin.address(), &format!("protocol: h2, {TLS}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (messages, status) =
        runtime.block_on(async { GrpcClient::connect(serin.address()).await.unary("/echo.Echo/Unary", &[]).await });
    assert_eq!((messages, status.as_str()), (vec![b"message".to_vec()], "0"));
}

#[test]
fn tunnels_pass_bytes_both_ways_and_their_ends() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        crate::upgrade::echo_tunnel(visit)
    });
    let (serin, _front) = before(origin.address(), TLS);
    let mut client = serin.client();
    let ask = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    assert_eq!(client.request("GET", "/socket", &ask, b"").status, 101);
    for message in [&b"hello"[..], &[0; 100_000]] {
        client.send(message);
        assert_eq!(client.take(message.len()).expect("it comes back"), message);
    }
    client.half_close();
    assert_eq!(client.rest(), b"bye", "the endpoint may speak after the client has ended");
    serin.wait_until_quiet(PATIENCE);
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_only_if_that_is_said() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\n\r\nall of it")?;
        Ok(Then::Close)
    });
    let (serin, front) = before(origin.address(), TLS);
    assert_eq!(serin.client().get("/").text(), "all of it");
    front.cut();
    let mut client = serin.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(matches!(client.try_reply(false), Err(Cut::Incomplete)), "it might be half of it");
    eventually(PATIENCE, "counted", || serin.metric_of("serin_request_errors_total", "\"response_cut\"") == 1.0);
}

#[test]
fn uploads_and_answers_are_as_long_as_they_are() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = visit.request.body.clone();
        visit.answer(200, &[], &body)
    });
    let (serin, _front) = before(origin.address(), TLS);
    let body: Vec<u8> = (0..3_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = serin.client();
    for _ in 0..2 {
        assert!(client.request("POST", "/", &[("Host", "a.test")], &body).body == body);
    }
}

/// What an endpoint says of a body that it does not read gets through.
#[test]
fn an_early_answer_is_passed_on_though_the_rest_is_refused() {
    let (tell, told) = channel::<()>();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::start(move |visit| {
        visit.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        let _ = told.lock().expect("nobody panics with it").recv();
        Ok(Then::Close)
    });
    let (serin, _front) = before(origin.address(), TLS);
    let mut client = Client::connect(serin.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n");
    client.send(vec![0; 200_000]);
    assert_eq!(client.reply().status, 413);
    drop(tell);
}

#[test]
fn checks_shake_hands_as_requests_do() {
    let authority = Authority::new("ours");
    let (right, wrong) = (authority.sign(&["127.0.0.1"]), authority.sign(&["other.internal"]));
    let http1 = Origin::named("app");
    let http2 = Http2Origin::start(|mut call| async move {
        let _ = call.read().await;
        let mut answer = call.begin(200, &[("content-type", "application/grpc")], false);
        answer.send_data(framed(&[8, 1]), false).expect("the stream is open");
        answer.send_trailers(fields(&[("grpc-status", "0")])).expect("the stream is open");
    });
    for (endpoint, protocol, check) in [
        (http1.address(), "http1", "path: /healthz"),
        (http1.address(), "http1", "tcp: true"),
        (http2.address(), "h2", "path: /healthz"),
        (http2.address(), "h2", "grpc: {}"),
    ] {
        let front = Front::of(endpoint, &Shows::new(&right));
        let upstream = format!("protocol: {protocol}, {TLS}, health: {{{check}, interval: 100ms, rise: 1, fall: 1}}");
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(front.address(), &upstream));
        let up = || serin.metric("serin_endpoint_up");
        eventually(PATIENCE, check, || up() == 1.0);
        front.turn_to(&Shows::new(&wrong));
        let said = || serin.admin_text("/api/v1/upstreams");
        eventually(PATIENCE, check, || up() == 0.0 && said().contains("no TLS: the certificate is not for 127.0.0.1"));
    }
}

#[test]
fn connections_are_opened_ahead_with_their_handshakes() {
    let origin = Origin::named("app");
    let (serin, front) = before(origin.address(), &format!("{TLS}, connections: {{warm: 2}}"));
    let opened = || serin.metric_of("serin_endpoint_warm_connections_total", "\"opened\"");
    eventually(PATIENCE, "warm", || front.handshakes().len() == 2 && opened() == 2.0);
    let good = || handshakes(&serin, "completed") + handshakes(&serin, "resumed");
    assert_eq!(good(), 0.0, "the endpoint may yet refuse them");
    assert_eq!(serin.client().get("/").text(), "app");
    assert_eq!((front.handshakes().len(), good()), (2, 1.0));
}

#[test]
fn copies_of_requests_are_mirrored_over_tls() {
    let (authority, origin, copies) = (Authority::new("ours"), Origin::named("app"), Origin::named("copy"));
    let front = Front::of(copies.address(), &Shows::new(&authority.sign(&["127.0.0.1"])));
    let rules = format!(
        "routes: {{all: {{upstream: app, mirror: {{upstream: copies}}}}}}\nupstreams:\n  app: {{endpoints: [\"{}\"]}}\n  \
         copies: {{endpoints: [\"{}\"], {TLS}}}\n",
        origin.address(),
        front.address()
    );
    let serin = serving(&[("ca.pem", &authority.pem())], &rules);
    assert_eq!(serin.client().get("/").text(), "app");
    copies.wait_until("the copy", |log| log.requests.len() == 1);
}

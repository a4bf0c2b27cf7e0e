//! Connections that serve more than one request, on both sides: reuse, the race with an endpoint that closes, parking,
//! clients that leave.

use std::sync::mpsc;
use std::time::Duration;

use serin_proxy::server::ConnectionLimits;

use crate::support::client::request;
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Short limits: parked after 100 ms, closed 400 ms later; a head may take 300 ms.
fn short() -> ConnectionLimits {
    ConnectionLimits { head_ms: 300, idle_ms: 400, park_ms: 100, write_stall_ms: 300, ..ConnectionLimits::default() }
}

#[test]
fn connections_to_endpoints_are_shared_by_clients() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    for _ in 0..20 {
        assert_eq!(serin.client().get("/").status, 200);
    }
    assert_eq!((origin.log().accepted, serin.metric("serin_endpoint_connections_opened_total")), (1, 1.0));
}

#[test]
fn an_endpoint_may_end_its_connection_with_the_answer() {
    let origin = Origin::start(|visit| {
        visit.answer(200, &[("Connection", "close")], b"bye")?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..5 {
        let reply = client.get("/");
        assert_eq!((reply.text(), reply.announces_close()), ("bye", false), "one hop's affair");
    }
    assert_eq!(origin.log().accepted, 5);
}

#[test]
fn a_client_may_end_its_connection_with_the_request() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    for target in ["/", "/again"] {
        let mut client = serin.client();
        let reply = client.request("GET", target, &[("Connection", "Close")], b"");
        assert_eq!((reply.text(), reply.announces_close()), ("app", true));
        assert!(client.ends_within(SECOND));
    }
    assert_eq!(origin.log().accepted, 1, "one hop's affair");
}

/// Serves one request on each connection, and ends the connection when it has read the head of a second one: what
/// an endpoint that closes idle connections looks like when the request and the close cross.
fn crossing() -> Origin {
    Origin::start(|visit| {
        if visit.place > 0 {
            return Ok(Then::Close);
        }
        visit.read_body()?;
        visit.answer(200, &[], b"served")
    })
}

#[test]
fn a_get_that_crosses_a_close_is_repeated() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        let origin = crossing();
        let serin = Serin::in_front_of(&origin, "");
        let mut client = serin.client();
        assert_eq!(client.get("/first").status, 200);
        assert_eq!(client.request(method, "/second", &[], b"").status, 200, "{method}");
        let log = origin.log();
        let second: Vec<u64> = log.requests[1..].iter().map(|request| request.connection).collect();
        assert_eq!(second, [0, 1], "{method}: on the kept connection, then on a new one");
        assert_eq!(log.requests[1].header("x-request-id"), log.requests[2].header("x-request-id"));
        assert_eq!(serin.metric("serin_endpoint_retries_total"), 1.0);
    }
}

#[test]
fn a_post_that_crosses_a_close_is_not_repeated() {
    let cases =
        [("POST", &b"order"[..]), ("POST", b""), ("PATCH", b"order"), ("PUT", b"order"), ("GET", b"a body read once")];
    for (method, body) in cases {
        let origin = crossing();
        let serin = Serin::in_front_of(&origin, "");
        let mut client = serin.client();
        assert_eq!(client.get("/first").status, 200);
        let reply = client.request(method, "/second", &[], body);
        assert_eq!(reply.status, 502, "{method}");
        let seen = origin.requests().iter().filter(|request| request.target == "/second").count();
        assert_eq!(seen, 1, "{method}");
        assert_eq!(client.get("/third").status, 200, "the client's connection goes on");
    }
}

/// A connection that the endpoint has closed while it was idle is noticed before anything is written to it.
#[test]
fn a_post_after_a_close_goes_to_a_new_connection() {
    let (origin, close) = Origin::closing_when_told();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/first").status, 200);
    close.send(()).unwrap();
    origin.wait_until("the connection is closed", |log| log.open == 0);
    assert_eq!(client.request("POST", "/second", &[], b"order").status, 200);
    assert_eq!(origin.requests().iter().filter(|request| request.target == "/second").count(), 1);
}

/// A restarted endpoint must not leave a descriptor behind for every connection it had.
#[test]
fn an_idle_connection_that_the_endpoint_ended_is_given_up() {
    let (end, ending) = mpsc::channel::<()>();
    let ending = std::sync::Mutex::new(ending);
    let origin = Origin::start(move |visit| {
        visit.answer(200, &[], b"served")?;
        let _ = ending.lock().unwrap().recv();
        visit.stream().shutdown(std::net::Shutdown::Write)?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    assert_eq!(serin.client().get("/").status, 200);
    serin.wait_until_quiet(SECOND);
    end.send(()).unwrap();
    origin.wait_within(3 * SECOND, "the connection is closed here too", |log| log.open == 0);
}

/// Under many crossings no GET fails and no POST arrives twice.
#[test]
fn crossings_lose_no_get_and_double_no_post() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"served")?;
        // Closes idle connections by its own count, without a word, as servers with a request limit do.
        Ok(if visit.place == 2 { Then::Close } else { Then::Keep })
    });
    let serin = Serin::in_front_of(&origin, "");
    let clients: Vec<_> = (0..4)
        .map(|name| {
            let address = serin.address();
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for number in 0..100 {
                    assert_eq!(client.get("/get").status, 200);
                    let status = client.request("POST", &format!("/post/{name}/{number}"), &[], b"order").status;
                    assert!(matches!(status, 200 | 502), "{status}");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut posts: Vec<String> = origin
        .requests()
        .into_iter()
        .filter(|request| request.method == "POST")
        .map(|request| request.target)
        .collect();
    let all = posts.len();
    posts.sort();
    posts.dedup();
    assert_eq!(posts.len(), all, "a POST came twice");
}

#[test]
fn a_repeated_request_that_fails_again_is_a_502() {
    let origin = Origin::start(|visit| {
        if visit.request.target != "/first" {
            return Ok(Then::Close);
        }
        visit.answer(200, &[], b"served")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/first").status, 200);
    assert_eq!(client.get("/second").status, 502);
    assert_eq!(origin.requests().len(), 3, "two tries");
    assert_eq!(client.get("/first").status, 200);
}

#[test]
fn a_parked_connection_serves_again_and_is_closed_in_the_end() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = serin.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "app");
        eventually(PATIENCE, "parked", || serin.metric("serin_connections_parked") == 1.0);
    }
    assert_eq!(client.request("POST", "/", &[], b"body").text(), "app");
    assert_eq!(serin.metric("serin_connections_parked"), 0.0);
    assert!(client.ends_within(2 * SECOND), "idle for too long");
    eventually(SECOND, "gone", || serin.metric("serin_connections_open") == 0.0);
    assert_eq!(serin.metric("serin_connections_parked"), 0.0);
}

#[test]
fn a_connection_that_never_speaks_is_closed() {
    let serin = Serin::serving_with("", short());
    assert!(serin.client().ends_within(2 * SECOND));
}

#[test]
fn a_request_in_pieces_arrives_at_a_parked_connection() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", ConnectionLimits { park_ms: 100, ..Default::default() });
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), "app");
    eventually(PATIENCE, "parked", || serin.metric("serin_connections_parked") == 1.0);
    for piece in ["G", "ET / HT", "TP/1.1\r\nHo", "st: a.test\r\n\r", "\n"] {
        client.send(piece);
        eventually(PATIENCE, "no longer parked", || serin.metric("serin_connections_parked") == 0.0);
    }
    assert_eq!(client.reply().text(), "app");
}

/// A head that began behind the request before it has a deadline like any other.
#[test]
fn a_head_that_began_early_and_stays_unfinished_ends() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = serin.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\nHost");
    assert_eq!(client.reply().text(), "app");
    eventually(PATIENCE, "the connection ends", || serin.metric("serin_connections_open") == 0.0);
}

#[test]
fn a_head_that_began_early_can_be_finished() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", ConnectionLimits { park_ms: 100, ..Default::default() });
    let mut client = serin.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost");
    assert_eq!(client.reply().text(), "app");
    assert!(!client.ends_within(Duration::from_millis(500)), "there is time");
    client.send(": a.test\r\n\r\n");
    assert_eq!(client.reply().text(), "app");
    assert_eq!(origin.requests().len(), 2);
}

/// An endpoint that reads a request and does not answer it before the other side is gone.
fn silent() -> Origin {
    Origin::start(|visit| visit.wait_for_end())
}

fn leaving(first: &[u8], leave: impl FnOnce(Client)) {
    let origin = silent();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(first);
    origin.wait_until("the request is there", |log| log.requests.len() == 1);
    assert_eq!(serin.metric("serin_endpoint_requests_in_flight"), 1.0);
    leave(client);
    origin.wait_within(SECOND, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
    eventually(SECOND, "the connection is forgotten", || serin.metric("serin_connections_open") == 0.0);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_client_that_leaves_frees_the_endpoint() {
    leaving(&request("GET", "/", &[], b""), drop);
    leaving(&request("POST", "/", &[], b"order"), drop);
}

#[test]
fn a_client_that_resets_frees_the_endpoint() {
    leaving(&request("GET", "/", &[], b""), Client::reset);
}

#[test]
fn a_client_that_leaves_in_its_body_frees_the_endpoint() {
    leaving(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\npart", drop);
    leaving(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", drop);
}

fn pipelined() -> Vec<u8> {
    [request("GET", "/1", &[], b""), request("GET", "/2", &[], b"")].concat()
}

/// hyper looks for the end of a connection only while nothing unread is in its buffer, and here is a second request.
#[test]
fn a_client_that_leaves_with_requests_in_the_pipe_frees_the_endpoint() {
    leaving(&pipelined(), drop);
    leaving(&pipelined(), Client::reset);
}

#[test]
fn a_client_that_waits_with_requests_in_the_pipe_is_served() {
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(800));
        visit.answer(200, &[], visit.request.target.clone().as_bytes())
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(pipelined());
    assert_eq!((client.reply().text(), client.reply().text()), ("/1", "/2"));
}

#[test]
fn a_client_that_half_closes_while_it_waits_is_gone() {
    // The connection must be held until the end of the test, or it would be closed as a whole.
    let (keep, kept) = mpsc::channel();
    for first in [request("GET", "/", &[], b""), pipelined()] {
        leaving(&first, |client| {
            client.half_close();
            keep.send(client).unwrap();
        });
    }
    drop(kept);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_frees_the_endpoint() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe beginning")?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    eventually(PATIENCE, "the answer has begun", || serin.metric("serin_endpoint_requests_total") == 1.0);
    drop(client);
    origin.wait_within(SECOND, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
}

/// The endpoint takes nothing of a large body, so nothing of it can be read from the client either. A mere close would
/// wait in the client's kernel behind the bytes that have no room; then the limit on pauses frees the endpoint.
#[test]
fn a_client_that_resets_while_the_endpoint_takes_nothing_frees_it() {
    let (release, hold) = mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let origin = Origin::start(move |_| {
        let _ = hold.lock().unwrap().recv();
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "limits: {body: 1GiB}");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n");
    client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Ends when every buffer on the way is full.
    let piece = vec![b'x'; 1 << 20];
    while client.try_send(&piece).is_ok() {}
    assert_eq!(serin.metric("serin_requests_in_flight"), 1.0);
    client.reset();
    serin.wait_until_quiet(SECOND);
    drop(release);
}

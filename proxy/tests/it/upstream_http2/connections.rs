//! Who shares a connection, when another one is opened, and when they end.

use std::sync::{Arc, Mutex};

use h2::server::Builder;
use tokio::sync::Semaphore;

use super::{rules, serving};
use crate::connections::{ended, open};
use crate::support::http2::{DATA, Frames, frame};
use crate::support::http2_origin::{Http2Origin, Log};
use crate::support::{Client, PATIENCE, Serin, eventually};

/// Answers when it is told to, and says what it is about.
fn gated(most: Option<u32>) -> (Http2Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&gate);
    let mut builder = Builder::new();
    if let Some(most) = most {
        builder.max_concurrent_streams(most);
    }
    let origin = Http2Origin::start_with(builder, move |mut call| {
        let gate = Arc::clone(&shared);
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            call.answer(200, &[], b"served");
        }
    });
    (origin, gate)
}

/// So many requests at once, each from a client of its own; what happens `meanwhile` lets them end.
fn at_once(serin: &Serin, count: usize, meanwhile: impl FnOnce()) {
    let address = serin.address();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(move || Client::connect(address).get("/").status)).collect();
        meanwhile();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), 200));
    });
}

fn most_on_one(log: &Log) -> usize {
    let on = |number| log.calls.iter().filter(|call| call.connection == number).count();
    (0..log.accepted).map(on).max().unwrap_or(0)
}

#[test]
fn requests_share_one_connection() {
    let (origin, gate) = gated(None);
    let serin = serving(origin.address());
    at_once(&serin, 40, || {
        origin.wait_until("all at once", |log| log.calls.len() == 40);
        gate.add_permits(40);
    });
    assert_eq!((origin.log().accepted, open(&serin)), (1, 1.0));
    let mut client = Frames::connect(serin.address());
    (0..60).for_each(|number| client.get(2 * number + 1, "/"));
    origin.wait_until("all at once", |log| log.calls.len() == 100);
    gate.add_permits(60);
    (0..60).for_each(|number| assert_eq!(client.answer(2 * number + 1).body, b"served"));
    assert_eq!(origin.log().accepted, 1);
}

#[test]
fn no_connection_has_more_requests_than_its_endpoint_allows() {
    let (origin, gate) = gated(Some(4));
    let serin = serving(origin.address());
    at_once(&serin, 10, || {
        origin.wait_until("all at once", |log| log.calls.len() == 10);
        gate.add_permits(10);
    });
    let log = origin.log();
    assert_eq!((log.accepted, most_on_one(&log)), (3, 4));
    assert_eq!(serin.metric("serin_endpoint_retries_total"), 0.0);
}

#[test]
fn nor_more_than_the_rules_allow() {
    let (origin, gate) = gated(None);
    let serin = Serin::serving(&rules(&[origin.address()], "connections: {max_streams: 3}", ""));
    at_once(&serin, 9, || {
        origin.wait_until("all at once", |log| log.calls.len() == 9);
        gate.add_permits(9);
    });
    let log = origin.log();
    assert_eq!((log.accepted, most_on_one(&log)), (3, 3));
}

/// There are as many connections as there may be: 64, with one request each.
#[test]
fn who_finds_no_place_waits_for_one() {
    let (origin, gate) = gated(Some(1));
    let serin = Serin::serving(&rules(&[origin.address()], "", ""));
    at_once(&serin, 70, || {
        origin.wait_until("all that can be", |log| log.calls.len() == 64);
        gate.add_permits(70);
    });
    assert_eq!((origin.log().accepted, origin.log().calls.len()), (64, 70));
}

#[test]
fn a_connection_serves_as_many_requests_as_it_may() {
    let origin = Http2Origin::named("app");
    let serin = Serin::serving(&rules(&[origin.address()], "connections: {max_requests: 3}", ""));
    let mut client = serin.client();
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    let connections: Vec<usize> = origin.log().calls.iter().map(|call| call.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    eventually(PATIENCE, "counted", || ended(&serin, "max_requests") == 3.0);
    origin.wait_until("closed", |log| log.open == 1);
}

#[test]
fn an_idle_connection_ends_in_time_and_a_busy_one_does_not() {
    let (origin, gate) = gated(None);
    let serin = Serin::serving(&rules(&[origin.address()], "connections: {idle_timeout: 100ms}", ""));
    at_once(&serin, 1, || {
        origin.wait_until("a request", |log| log.calls.len() == 1);
        // Several looks at idle connections.
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        assert_eq!(ended(&serin, "idle_timeout"), 0.0);
        gate.add_permits(1);
    });
    eventually(PATIENCE, "counted", || ended(&serin, "idle_timeout") == 1.0);
    origin.wait_until("closed", |log| log.open == 0);
}

#[test]
fn connections_are_opened_ahead_of_requests() {
    let origin = Http2Origin::named("app");
    let serin = Serin::serving(&rules(&[origin.address()], "connections: {warm: 2}", ""));
    origin.wait_until("connections", |log| log.open == 2);
    assert_eq!(serin.client().get("/").text(), "app");
    assert_eq!(origin.log().accepted, 2);
}

/// Whoever is under way stays on the connection that it has, and what comes then goes by the new rules.
#[test]
fn an_endpoint_that_goes_finishes_what_it_has() {
    let (old, gate) = gated(None);
    let new = Http2Origin::named("new");
    let serin = serving(old.address());
    at_once(&serin, 2, || {
        old.wait_until("requests", |log| log.calls.len() == 2);
        serin.reload_serving(&rules(&[new.address()], "", ""));
        assert_eq!(serin.client().get("/").text(), "new");
        gate.add_permits(2);
    });
    old.wait_until("closed", |log| log.open == 0);
}

#[test]
fn the_protocol_may_change_while_requests_are_under_way() {
    let (old, gate) = gated(None);
    let serin = serving(old.address());
    let changed = rules(&[old.address()], "", "").replace("h2c", "http1");
    at_once(&serin, 2, || {
        old.wait_until("requests", |log| log.calls.len() == 2);
        serin.reload_serving(&changed);
        gate.add_permits(2);
    });
    assert_eq!(serin.client().get("/").status, 502, "it does not speak HTTP/1");
    serin.reload_serving(&rules(&[old.address()], "", ""));
    gate.add_permits(1);
    assert_eq!(serin.client().get("/").text(), "served");
}

/// An endpoint that answers `/large` without end, and counts how many bytes of it there was room for.
fn endless() -> (Http2Origin, Arc<Mutex<usize>>) {
    let sent = Arc::new(Mutex::new(0usize));
    let counted = Arc::clone(&sent);
    let origin = Http2Origin::start(move |mut call| {
        let sent = Arc::clone(&counted);
        async move {
            if call.path() != "/large" {
                return call.answer(200, &[], b"served");
            }
            let mut answer = call.begin(200, &[], false);
            loop {
                answer.reserve_capacity(16_000);
                let Some(Ok(room)) = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await else { return };
                *sent.lock().unwrap() += room;
                answer.send_data(vec![b'x'; room].into(), false).unwrap();
            }
        }
    });
    (origin, sent)
}

/// One client that reads nothing keeps its own response back and no other.
#[test]
fn a_slow_client_holds_back_its_own_response_only() {
    let (origin, sent) = endless();
    let serin = serving(origin.address());
    let mut slow = Frames::that_takes(serin.address(), 0);
    slow.get(1, "/large");
    slow.until("the head", |seen| seen.streams.get(&1).is_some_and(|stream| stream.status.is_some()));
    (0..50).for_each(|_| assert_eq!(serin.client().get("/").text(), "served"));
    // Its window, and what was given on: as much again and a frame.
    assert!(*sent.lock().unwrap() <= 3 * (64 << 10), "{}", sent.lock().unwrap());
    assert_eq!(origin.log().accepted, 1);
}

/// Their windows are used up, and that of the connection is not.
#[test]
fn any_number_of_slow_clients_hold_back_their_own_responses_only() {
    const READERS: usize = 40;
    const WINDOW: usize = 64 << 10;
    let (origin, sent) = endless();
    let serin = serving(origin.address());
    let mut slow = Frames::that_takes(serin.address(), 0);
    (0..READERS as u32).for_each(|number| slow.get(2 * number + 1, "/large"));
    eventually(PATIENCE, "windows full", || *sent.lock().unwrap() >= READERS * WINDOW);
    assert_eq!(serin.client().get("/").text(), "served");
    assert_eq!(origin.log().accepted, 1);
}

/// As of a call whose messages are short and whose client does not read.
#[test]
fn small_pieces_that_nobody_reads_do_not_end_the_connection() {
    const PIECE: &[u8] = b"a piece.";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let serin = serving(listener.local_addr().unwrap());
    let mut slow = Frames::that_takes(serin.address(), 0);
    slow.get(1, "/");
    let mut endpoint = Frames::accept(&listener, &[]);
    endpoint.requests(1);
    endpoint.head(1, &[(":status", "200")], false);
    let pieces = (0..8_000).flat_map(|_| frame(DATA, 0, 1, PIECE)).collect::<Vec<_>>();
    endpoint.send(&pieces);
    let mut client = Frames::connect(serin.address());
    client.get(1, "/");
    endpoint.requests(2);
    endpoint.serve(3, b"served");
    assert_eq!(client.answer(1).body, b"served");
    assert_eq!(endpoint.seen.goaways, []);
}

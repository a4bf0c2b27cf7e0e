//! What goes wrong at an endpoint or a client, and who hears of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use h2::Reason;
use tokio::sync::Semaphore;

use super::{rules, serving};
use crate::connections::ended;
use crate::support::http2::{CANCEL, Frames, NO_ERROR, REFUSED_STREAM};
use crate::support::http2_origin::{Call, Http2Origin};
use crate::support::{Client, Cut, PATIENCE, Serin, eventually};

/// Ends its stream before, behind, or when it is told to in the middle of its answer.
fn resetting() -> (Http2Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&gate);
    let origin = Http2Origin::start(move |mut call| {
        let gate = Arc::clone(&shared);
        async move { end(&mut call, &gate).await }
    });
    (origin, gate)
}

async fn end(call: &mut Call, gate: &Semaphore) {
    let reason = if call.head.uri.query() == Some("no-error") { Reason::NO_ERROR } else { Reason::INTERNAL_ERROR };
    match call.path() {
        "/before" => call.reset(reason),
        "/middle" => {
            let mut answer = call.begin(200, &[], false);
            answer.send_data(Bytes::from_static(b"the beginning"), false).unwrap();
            gate.acquire().await.expect("it is never closed").forget();
            answer.send_reset(reason);
        }
        _ => call.answer(200, &[], b"served"),
    }
}

#[test]
fn a_stream_that_is_reset_is_never_a_clean_end() {
    let (origin, gate) = resetting();
    let serin = serving(origin.address());
    for query in ["", "?no-error"] {
        let mut client = serin.client();
        assert_eq!(client.get(&format!("/before{query}")).status, 502);
        assert_eq!(client.get("/").text(), "served");
        client.send(format!("GET /middle{query} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        // A reset takes back what has not left.
        assert!(client.hears_within(PATIENCE));
        gate.add_permits(1);
        assert_eq!(client.try_reply(false), Err(Cut::Incomplete), "{query}");
        let mut client = Frames::connect(serin.address());
        client.get(1, &format!("/before{query}"));
        client.get(3, &format!("/middle{query}"));
        assert_eq!(client.answer(1).status, Some(502));
        client.until("the beginning", |seen| !seen.stream(3).body.is_empty());
        gate.add_permits(1);
        let cut = client.answer(3);
        assert!(!cut.has_ended && cut.reset.is_some_and(|code| code != NO_ERROR), "{query}: {cut:?}");
        assert_eq!(client.get_body(5, "/"), b"served");
    }
    assert_eq!(origin.log().accepted, 1, "the others went on");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 8.0);
}

/// Waits for the end of the stream on `/wait`, and begins an answer before on `/begun`.
fn patient() -> Http2Origin {
    Http2Origin::start(|mut call| async move {
        match call.path() {
            "/wait" | "/begun" => {
                let reason = match call.path() {
                    "/wait" => call.is_reset().await,
                    _ => {
                        let mut answer = call.begin(200, &[], false);
                        answer.send_data(Bytes::from_static(b"the beginning"), false).unwrap();
                        std::future::poll_fn(|cx| answer.poll_reset(cx)).await
                    }
                };
                call.note(format!("{reason:?}"));
            }
            _ => call.answer(200, &[], b"served"),
        }
    })
}

#[test]
fn who_leaves_ends_its_own_stream_at_the_endpoint() {
    let origin = patient();
    let serin = serving(origin.address());
    assert_eq!(serin.client().get("/").text(), "served");
    let body = "Content-Length: 10\r\n\r\nhalf";
    for (number, (path, rest)) in
        [("/wait", "\r\n"), ("/begun", "\r\n"), ("/wait", body), ("/begun", body)].iter().enumerate()
    {
        let mut client = serin.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{rest}"));
        origin.wait_until("the request", |log| log.calls.len() == 2 * number + 2);
        if *path == "/begun" {
            assert!(client.hears_within(PATIENCE));
        }
        client.reset();
        origin.wait_until("its end", |log| log.notes.len() == 2 * number + 1);
        let mut client = Frames::connect(serin.address());
        client.post(1, path);
        origin.wait_until("the request", |log| log.calls.len() == 2 * number + 3);
        client.reset(1, CANCEL);
        origin.wait_until("its end", |log| log.notes.len() == 2 * number + 2);
    }
    assert!(
        origin.log().notes.iter().all(|note| *note == format!("Ok({:?})", Reason::CANCEL)),
        "{:?}",
        origin.log().notes
    );
    assert_eq!(origin.log().accepted, 1);
    serin.wait_until_quiet(PATIENCE);
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
}

#[test]
fn a_time_limit_ends_the_stream_too() {
    let origin = patient();
    let serin = Serin::serving(&rules(&[origin.address()], "", "timeouts: {request: 100ms}"));
    assert_eq!(serin.client().get("/wait").status, 504);
    origin.wait_until("its end", |log| log.notes.len() == 1);
    assert_eq!(serin.client().get("/").text(), "served");
    assert_eq!(origin.log().accepted, 1);
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a loopback port is free")
}

/// Sends a POST with a body on a connection of its own, and says what came.
fn post(serin: &Serin, said: &std::sync::mpsc::Sender<String>) {
    let (address, said) = (serin.address(), said.clone());
    std::thread::spawn(move || {
        let reply = Client::connect(address).request("POST", "/", &[], b"a body that is not long");
        said.send(format!("{} {}", reply.status, reply.text())).expect("the test listens");
    });
}

/// RFC 9113 §8.7: whatever the method.
#[test]
fn what_an_endpoint_has_not_looked_at_is_sent_again() {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let (say, said) = channel();
    post(&serin, &say);
    let mut first = Frames::accept(&listener, &[]);
    first.requests(1);
    first.reset(1, REFUSED_STREAM);
    first.requests(2);
    assert_eq!(first.stream(3).body, b"a body that is not long");
    first.serve(3, b"again");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 again");
    // Both are on their way when the endpoint says that it takes the first of them only.
    post(&serin, &say);
    first.requests(3);
    post(&serin, &say);
    first.requests(4);
    first.goaway(5, NO_ERROR);
    let mut second = Frames::accept(&listener, &[]);
    second.requests(1);
    second.serve(1, b"elsewhere");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 elsewhere");
    first.serve(5, b"the last");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 the last");
    // From then on only the new one is used.
    post(&serin, &say);
    second.requests(2);
    second.serve(3, b"new");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 new");
    assert_eq!(serin.metric("serin_endpoint_retries_total"), 2.0);
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
    first.farewell();
    eventually(PATIENCE, "counted", || ended(&serin, "endpoint") == 1.0);
}

#[test]
fn what_an_endpoint_may_have_looked_at_is_not_sent_again() {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let (say, said) = channel();
    (0..3).for_each(|_| post(&serin, &say));
    let mut first = Frames::accept(&listener, &[]);
    first.requests(3);
    first.goaway(5, NO_ERROR);
    drop(first);
    for _ in 0..3 {
        assert!(said.recv_timeout(PATIENCE).unwrap().starts_with("502 "));
    }
    // Each of them is one failure.
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 3.0);
    assert_eq!(serin.metric("serin_endpoint_retries_total"), 0.0);
    post(&serin, &say);
    let mut second = Frames::accept(&listener, &[]);
    second.requests(1);
    second.serve(1, b"new");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 new");
}

/// Answers whatever comes as a server does that reads no more than a request line of HTTP/1.
fn speaking_http1() -> SocketAddr {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut preface = [0; 24];
            let _ = stream.read_exact(&mut preface);
            let _ = stream.write_all(b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

/// An endpoint that speaks HTTP/1 gets nothing of a request, so another one may have it.
#[test]
fn an_endpoint_that_does_not_speak_http2_is_no_connection() {
    let (old, new) = (speaking_http1(), Http2Origin::named("new"));
    let serin = Serin::serving(&rules(&[old, new.address()], "balance: round_robin, breaker: false", ""));
    for _ in 0..6 {
        let reply = serin.client().request("POST", "/", &[], b"body");
        assert_eq!((reply.status, reply.text()), (200, "new"));
    }
    let serin = serving(old);
    let reply = serin.client().get("/");
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("no connection"), "{}", reply.text());
}

/// Nothing comes of a connection whose other end says nothing.
#[test]
fn a_silent_endpoint_is_given_up_in_time() {
    let listener = listener();
    let rules = rules(&[listener.local_addr().unwrap()], "retry: {tries: 1}", "timeouts: {connect: 200ms}");
    let serin = Serin::serving(&rules);
    let replies = std::thread::scope(|scope| {
        let all: Vec<_> = (0..5).map(|_| scope.spawn(|| serin.client().get("/").status)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(replies, [504; 5]);
}

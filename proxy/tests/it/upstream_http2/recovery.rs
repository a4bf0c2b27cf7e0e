//! Connections that are lost, that carry nothing, or do not come to stand: who is served nevertheless, and what is held against
//! an endpoint.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{rules, serving};
use crate::support::http2::{CANCEL, Frames, NO_ERROR, REFUSED_STREAM};
use crate::support::{Client, PATIENCE, Serin, eventually};

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a loopback port is free")
}

/// A request on a connection of its own; what comes of it can be awaited.
fn ask(serin: &Serin, method: &'static str) -> Receiver<String> {
    let (address, (say, said)) = (serin.address(), channel());
    std::thread::spawn(move || {
        let reply = Client::connect(address).request(method, "/", &[], b"");
        say.send(format!("{} {}", reply.status, reply.text())).expect("the test listens");
    });
    said
}

fn heard(said: &Receiver<String>) -> String {
    said.recv_timeout(PATIENCE).expect("an answer comes in time")
}

fn errors(serin: &Serin) -> f64 {
    serin.metric("serin_endpoint_errors_total")
}

/// An endpoint's end of a connection that has served one request.
fn proven(serin: &Serin, listener: &TcpListener) -> Frames {
    let said = ask(serin, "GET");
    let mut endpoint = Frames::accept(listener, &[]);
    endpoint.requests(1);
    endpoint.serve(1, b"first");
    assert_eq!(heard(&said), "200 first");
    endpoint
}

/// The connection closes under a request as it does with HTTP/1.
#[test]
fn what_may_be_repeated_is_sent_again_when_the_connection_is_lost() {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let mut first = proven(&serin, &listener);
    let said = ask(&serin, "GET");
    first.requests(2);
    drop(first);
    let mut second = Frames::accept(&listener, &[]);
    second.requests(1);
    second.serve(1, b"again");
    assert_eq!((heard(&said).as_str(), errors(&serin)), ("200 again", 0.0));
    // What must not be repeated is not, and neither is what was lost on a connection that never carried anything.
    let said = ask(&serin, "POST");
    second.requests(2);
    drop(second);
    assert!(heard(&said).starts_with("502 "));
    let said = ask(&serin, "GET");
    let mut third = Frames::accept(&listener, &[]);
    third.requests(1);
    drop(third);
    assert!(heard(&said).starts_with("502 "));
    assert_eq!((errors(&serin), serin.metric("serin_endpoint_retries_total")), (2.0, 1.0));
}

/// As after a firewall has forgotten the connection: nothing says so but the silence.
#[test]
fn a_connection_on_which_nothing_comes_gets_no_more_requests() {
    let listener = listener();
    let limit = "timeouts: {request: 1200ms}";
    let serin = Serin::serving(&rules(&[listener.local_addr().unwrap()], "", limit));
    let mut first = proven(&serin, &listener);
    let said = ask(&serin, "GET");
    first.requests(2);
    assert!(heard(&said).starts_with("504 "));
    let said = ask(&serin, "GET");
    let mut second = Frames::accept(&listener, &[]);
    second.requests(1);
    second.serve(1, b"elsewhere");
    assert_eq!(heard(&said), "200 elsewhere");
}

/// The other requests of a connection say that it is well.
#[test]
fn a_slow_answer_costs_no_connection_that_serves_others() {
    let listener = listener();
    let limit = "timeouts: {request: 1200ms}";
    let serin = Serin::serving(&rules(&[listener.local_addr().unwrap()], "", limit));
    let mut endpoint = proven(&serin, &listener);
    let slow = ask(&serin, "GET");
    endpoint.requests(2);
    let said = ask(&serin, "GET");
    endpoint.requests(3);
    endpoint.serve(5, b"fast");
    assert_eq!(heard(&said), "200 fast");
    assert!(heard(&slow).starts_with("504 "));
    let said = ask(&serin, "GET");
    endpoint.requests(4);
    endpoint.serve(7, b"here");
    assert_eq!(heard(&said), "200 here");
}

#[test]
fn an_endpoint_that_always_says_farewell_is_not_asked_for_ever() {
    for waits in [false, true] {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        std::thread::spawn(move || {
            loop {
                let mut endpoint = Frames::accept(&listener, &[]);
                counted.fetch_add(1, Ordering::Relaxed);
                if waits {
                    endpoint.comes(PATIENCE, |seen| !seen.settings.is_empty());
                }
                let _ = endpoint.try_goaway(0, NO_ERROR);
            }
        });
        let serin = serving(address);
        let said = ask(&serin, "POST");
        assert!(heard(&said).starts_with("502 "), "{waits}");
        let accepted = accepted.load(Ordering::Relaxed);
        assert!((1..=8).contains(&accepted), "{accepted}");
        assert_eq!(errors(&serin), 1.0, "{waits}");
    }
}

/// It may refuse what goes elsewhere.
#[test]
fn an_endpoint_that_refuses_every_request_is_held_to_account() {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let said = ask(&serin, "GET");
    let mut endpoint = Frames::accept(&listener, &[]);
    for (count, stream) in [(1, 1), (2, 3)] {
        endpoint.requests(count);
        endpoint.reset(stream, REFUSED_STREAM);
    }
    assert!(heard(&said).starts_with("502 "));
    assert_eq!((errors(&serin), serin.metric("serin_endpoint_retries_total")), (1.0, 1.0));
}

/// However many requests wait for it.
#[test]
fn a_connection_that_does_not_come_to_stand_is_one_failure() {
    let listener = listener();
    let limit = "timeouts: {connect: 1s}";
    let serin = Serin::serving(&rules(&[listener.local_addr().unwrap()], "retry: {tries: 1}", limit));
    let all: Vec<_> = (0..5).map(|_| ask(&serin, "GET")).collect();
    all.iter().for_each(|said| assert!(heard(said).starts_with("504 ")));
    assert_eq!(errors(&serin), 1.0);
}

/// At most one stream.
const ONE: [u8; 6] = [0, 3, 0, 0, 0, 1];

/// Whoever waits may have its place, and the endpoint is not to blame that there is none.
#[test]
fn who_waits_while_no_further_connection_can_be_opened_gets_the_next_place_or_is_told() {
    let listener = listener();
    let limit = "timeouts: {connect: 1s}";
    let serin = Serin::serving(&rules(&[listener.local_addr().unwrap()], "", limit));
    let first = ask(&serin, "GET");
    let mut endpoint = Frames::accept(&listener, &ONE);
    endpoint.requests(1);
    drop(listener);
    let second = ask(&serin, "GET");
    assert!(second.recv_timeout(Duration::from_millis(200)).is_err(), "it waits");
    endpoint.serve(1, b"first");
    assert_eq!(heard(&first), "200 first");
    endpoint.requests(2);
    let third = ask(&serin, "GET");
    assert!(heard(&third).contains("503 upstream was busy for too long"));
    endpoint.serve(3, b"second");
    assert_eq!(heard(&second), "200 second");
    eventually(PATIENCE, "nobody to blame", || serin.metric_of("serin_request_errors_total", "queue_timeout") == 1.0);
    assert_eq!(errors(&serin), 0.0);
}

/// Each reset is a frame that an endpoint may count, whoever asks for it.
#[test]
fn a_connection_on_which_most_requests_were_taken_back_gets_no_more() {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let mut first = proven(&serin, &listener);
    let mut client = Frames::connect(serin.address());
    // As many as a client may take back without being ended for it.
    for stream in (0..100).map(|number| 2 * number + 1) {
        client.get(stream, "/");
        first.until("a request", |seen| seen.streams.contains_key(&(stream + 2)));
        client.reset(stream, CANCEL);
        first.until("its end", |seen| seen.stream(stream + 2).reset == Some(CANCEL));
    }
    let said = ask(&serin, "GET");
    let mut second = Frames::accept(&listener, &[]);
    second.requests(1);
    second.serve(1, b"fresh");
    assert_eq!(heard(&said), "200 fresh");
}

//! Requests with bodies that an endpoint does not take, or not to their end.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::{rules, serving};
use crate::support::http2::{CANCEL, Frames};
use crate::support::{Client, PATIENCE, Serin};

/// At most two streams, and not a byte of any body.
const TWO_WITHOUT_BODIES: [u8; 12] = [0, 3, 0, 0, 0, 2, 0, 4, 0, 0, 0, 0];

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf";

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a loopback port is free")
}

/// A GET on a connection of its own; what comes of it can be awaited.
fn get(serin: &Serin) -> Receiver<String> {
    let (address, (say, said)) = (serin.address(), channel());
    std::thread::spawn(move || {
        let reply = Client::connect(address).get("/");
        say.send(format!("{} {}", reply.status, reply.text())).expect("the test listens");
    });
    said
}

/// Uploads that an endpoint answers so and does not take: their streams end by what their clients do, who may stay; or they would be
/// there for as long as the connection, and take the places of others.
fn assert_uploads_end(status: &str, is_all: bool, act: impl Fn(Client) -> Option<Client>) {
    let listener = listener();
    let serin = serving(listener.local_addr().unwrap());
    let mut endpoint = None;
    for stream in [1, 3, 5] {
        let mut client = serin.client();
        client.send(UPLOAD);
        let endpoint = endpoint.get_or_insert_with(|| Frames::accept(&listener, &TWO_WITHOUT_BODIES));
        endpoint.until("the request", |seen| seen.streams.contains_key(&stream));
        endpoint.head(stream, &[(":status", status)], is_all);
        let _stays = act(client);
        endpoint.until("its end", |seen| seen.stream(stream).reset == Some(CANCEL));
    }
    let (mut endpoint, said) = (endpoint.expect("it was asked"), get(&serin));
    endpoint.until("a request", |seen| seen.streams.get(&7).is_some_and(|stream| stream.has_ended));
    endpoint.serve(7, b"served");
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "200 served");
}

#[test]
fn an_upload_that_the_endpoint_does_not_take_ends_with_its_client() {
    assert_uploads_end("200", false, |mut client| {
        assert!(client.hears_within(PATIENCE));
        client.reset();
        None
    });
}

#[test]
fn an_upload_that_was_answered_early_ends_though_the_endpoint_does_not_say_so() {
    assert_uploads_end("404", true, |mut client| {
        assert_eq!(client.reply().status, 404);
        Some(client)
    });
}

/// There is no such thing as a head without a field.
#[test]
fn trailers_that_may_not_pass_leave_nothing_behind() {
    let listener = listener();
    let serin = Serin::serving(&rules(&[listener.local_addr().unwrap()], "", "trailers: [x-sum]"));
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n");
    client.send("1\r\na\r\n0\r\nX-Other: 4\r\n\r\n");
    let mut endpoint = Frames::accept(&listener, &[]);
    endpoint.requests(1);
    let request = endpoint.stream(1);
    assert_eq!((request.body.as_slice(), request.heads), (&b"a"[..], 1));
    endpoint.serve(1, b"served");
    assert_eq!(client.reply().text(), "served");
    // The same from a client of HTTP/2, with and without a length.
    let mut client = Frames::connect(serin.address());
    for (stream, length) in [(1, &[][..]), (3, &[("content-length", "1")])] {
        let head = [&crate::support::http2::request("POST", "/")[..], length].concat();
        client.head(stream, &head, false);
        client.data(stream, b"a", false);
        client.head(stream, &[("x-other", "4")], true);
        endpoint.requests(usize::try_from(stream).unwrap().div_ceil(2) + 1);
        let request = endpoint.stream(stream + 2);
        assert_eq!((request.body.as_slice(), request.heads), (&b"a"[..], 1));
        endpoint.serve(stream + 2, b"served");
        assert_eq!(client.answer(stream).body, b"served");
    }
}

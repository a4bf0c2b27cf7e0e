//! What a stream has to itself: it begins late or ends early, and the others do not feel it.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{echo, waiting};
use crate::support::http2::{
    CANCEL, DATA, Frames, NO_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, SETTINGS, frame, head, request,
};
use crate::support::{Client, Cut, Origin, Serin, Then};

#[test]
fn a_preface_in_pieces_is_one_and_what_only_begins_like_one_is_not() {
    let (_origin, serin) = echo();
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &head(1, &request("GET", "/cut"), true)].concat();
    for piece in [1, 2, 5, 23, 24, 25] {
        let mut client = Frames::silent(serin.address());
        for bytes in opening.chunks(piece) {
            client.send(bytes);
            // Each piece is to be read by itself.
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(client.answer(1).body, b"/cut", "in pieces of {piece}");
    }
    let mut put = Client::connect(serin.address());
    for bytes in ["P", "R", "OPFIND /x HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        put.stream().write_all(bytes.as_bytes()).expect("the connection is open");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(put.reply().text(), "/x");
    let mut half = Client::connect(serin.address());
    half.send(&PREFACE[..16]);
    half.half_close();
    assert_ne!(half.try_reply(false).map(|reply| reply.status), Ok(200));
    let mut late = Client::connect(serin.address());
    assert_eq!(late.get("/first").status, 200);
    late.send(PREFACE);
    assert_ne!(late.try_reply(false).map_err(|cut| cut == Cut::NoAnswer).map(|reply| reply.status), Ok(200));
}

#[test]
fn requests_run_beside_one_another_and_each_gets_its_own_answer() {
    let (origin, serin) = echo();
    let mut client = Frames::connect(serin.address());
    for number in 0..50u32 {
        client.post(2 * number + 1, "/echo");
    }
    for number in (0..50u32).rev() {
        client.data(2 * number + 1, format!("body {number}").as_bytes(), true);
    }
    for number in 0..50 {
        assert_eq!(client.answer(2 * number + 1).body, format!("body {number}").into_bytes());
    }
    assert_eq!(origin.requests().len(), 50);
    assert_eq!(serin.metric_of("serin_requests_total", "2xx"), 50.0);
}

#[test]
fn a_request_that_is_too_large_leaves_the_others_and_all_windows_alive() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "limits: {body: 30KiB}");
    let mut client = Frames::connect(serin.address());
    client.until("settings", |seen| seen.settings.contains_key(&4));
    client.get(1, "/wait");
    for number in 1..=40u32 {
        let stream = 2 * number + 1;
        client.post(stream, "/too-much");
        // All that one window allows. What is not read of it must be given back to the connection, whose window is 1 MiB.
        let _ = client.try_send(&frame(DATA, 0, stream, &[0; 16_000]).repeat(4));
        let answer = client.answer(stream);
        assert_eq!((answer.status, answer.has_ended), (Some(413), true));
        client.until("a reset behind it", |seen| seen.stream(stream).reset.is_some());
        assert_eq!(client.stream(stream).reset, Some(NO_ERROR));
    }
    assert_eq!(client.get_body(101, "/"), b"served");
    assert!(!client.stream(1).is_over() && !client.seen.is_over);
}

#[test]
fn an_answer_that_comes_before_the_end_of_its_request_ends_the_stream() {
    let origin = Origin::start(|visit| visit.answer(403, &[], b"no"));
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    client.post(1, "/upload");
    client.data(1, b"part", false);
    let answer = client.answer(1);
    assert_eq!((answer.status, &answer.body[..]), (Some(403), &b"no"[..]));
    client.until("a reset", |seen| seen.stream(1).reset.is_some());
    assert_eq!(client.stream(1).reset, Some(NO_ERROR));
    client.get(3, "/");
    assert_eq!(client.answer(3).status, Some(403));
    serin.wait_until_quiet(Duration::from_secs(2));
}

#[test]
fn a_stream_that_its_client_resets_frees_the_endpoint_at_once_and_counts_for_itself_only() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    client.get(1, "/wait");
    client.get(3, "/wait");
    client.post(5, "/upload");
    client.data(5, b"part", false);
    origin.wait_until("three requests", |log| log.requests.len() == 3);
    client.reset(1, CANCEL);
    client.reset(5, CANCEL);
    origin.wait_within(Duration::from_secs(1), "two connections fewer", |log| log.open == 1);
    assert_eq!(client.get_body(7, "/"), b"served");
    assert_eq!(serin.metric_of("serin_request_errors_total", "client_gone"), 2.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "malformed"), 0.0);
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
    assert!(!client.stream(3).is_over());
    drop(client);
    serin.wait_until_quiet(Duration::from_secs(1));
    assert_eq!(serin.metric("serin_connections_open"), 0.0);
}

#[test]
fn what_an_endpoint_breaks_off_never_looks_whole() {
    let origin = Origin::start(|visit| {
        visit.write(match visit.request.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        })?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    for (stream, path) in [(1, "/length"), (3, "/chunk"), (5, "/chunks")] {
        client.get(stream, path);
        let answer = client.answer(stream);
        assert!(!answer.has_ended && answer.reset.is_some_and(|code| code != NO_ERROR), "{path}: {answer:?}");
    }
    assert_eq!(serin.metric_of("serin_request_errors_total", "response_cut"), 3.0);
    assert!(!client.seen.is_over);
}

#[test]
fn more_than_a_hundred_requests_at_once_are_refused_so_that_they_can_be_repeated() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    for number in 0..105 {
        client.get(2 * number + 1, "/wait");
    }
    client.until("five refusals", |seen| seen.streams.values().filter(|stream| stream.is_over()).count() == 5);
    assert_eq!(client.seen.settings.get(&3), Some(&100));
    for number in 100..105 {
        assert_eq!(client.stream(2 * number + 1).reset, Some(REFUSED_STREAM));
    }
    origin.wait_until("a hundred", |log| log.requests.len() == 100);
    client.reset(1, CANCEL);
    client.reset(3, CANCEL);
    origin.wait_until("room", |log| log.open <= 99);
    assert_eq!(client.get_body(301, "/"), b"served");
}

#[test]
fn a_body_that_is_not_as_long_as_announced_never_becomes_a_request() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"served")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    let [a, b, c, d] = request("POST", "/");
    client.head(1, &[a, b, c, d, ("content-length", "10")], false);
    // The endpoint has been asked when the end comes.
    origin.wait_until("the head", |log| log.requests.len() == 1);
    client.data(1, b"xxxx", true);
    let answer = client.answer(1);
    assert!(answer.reset == Some(PROTOCOL_ERROR) || answer.status == Some(400), "{answer:?}");
    origin.wait_within(Duration::from_secs(1), "the endpoint's connection ended", |log| log.open == 0);
    assert!(!origin.requests()[0].complete);
    assert_eq!(client.get_body(3, "/"), b"served");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
}

#[test]
fn a_body_that_is_all_there_is_a_request_when_its_stream_has_ended() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], &visit.request.body.clone())
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    for (stream, last) in [(1, &b"!"[..]), (3, b"")] {
        let [a, b, c, d] = request("POST", "/");
        client.head(stream, &[a, b, c, d, ("content-length", "10")], false);
        origin.wait_until("the head", |log| log.requests.len() == stream as usize / 2 + 1);
        client.data(stream, b"0123", false);
        client.data(stream, b"456789", false);
        client.data(stream, b"", false);
        client.data(stream, last, true);
    }
    let (longer, right) = (client.answer(1), client.answer(3));
    assert!(longer.reset == Some(PROTOCOL_ERROR) || longer.status == Some(400), "{longer:?}");
    assert_eq!((right.status, &*right.body), (Some(200), &b"0123456789"[..]));
    origin.wait_within(Duration::from_secs(1), "the endpoint's connection ended", |log| log.open <= 1);
    let complete: Vec<bool> = origin.requests().iter().map(|request| request.complete).collect();
    assert_eq!(complete, [false, true], "all of it was here, and then more");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
}

#[test]
fn a_large_body_passes_in_both_directions_with_small_windows() {
    let (_origin, serin) = echo();
    let body: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    let mut client = Frames::connect(serin.address());
    client.post(1, "/echo");
    for piece in body.chunks(16_000).take(4) {
        client.data(1, piece, false);
    }
    let began = Instant::now();
    // The windows of the upload are given back while it is taken.
    for (place, piece) in body.chunks(16_000).enumerate().skip(4) {
        client.comes(Duration::from_millis(50), |seen| seen.is_over);
        client.data(1, piece, (place + 1) * 16_000 >= body.len());
    }
    let answer = client.answer(1);
    assert!(answer.body == body, "{} bytes after {:?}: {:?}", answer.body.len(), began.elapsed(), answer.reset);
}

#[test]
fn an_answer_of_ours_to_a_head_has_no_body() {
    let serin = Serin::serving("routes: {one: {hosts: [b.test], upstream: app}}\nupstreams: {app: {endpoints: []}}\n");
    let mut client = Frames::connect(serin.address());
    client.head(1, &request("HEAD", "/"), true);
    client.get(3, "/");
    let (head, get) = (client.answer(1), client.answer(3));
    assert_eq!((head.status, head.has_ended, head.body.len()), (Some(404), true, 0));
    assert_eq!((get.status, get.has_ended), (Some(404), true));
    assert!(get.body.starts_with(b"404 no route"));
}

//! Which answers are compressed, and that they come as they would without.

use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::{HASH, basic, serin};
use crate::support::control::Program;
use crate::support::http2::{self, Frames};
use crate::support::{Client, Cut, Origin, PATIENCE, Reply, Serin, Then, eventually};

fn decoded(reply: &Reply) -> String {
    let mut text = String::new();
    let body = &*reply.body;
    match reply.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4_096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        other => panic!("{other:?}"),
    }
    .expect("a whole body");
    text
}

fn page() -> String {
    (0..20_000).map(|number| format!("<p>{number}</p>")).collect()
}

fn origin_of_pages() -> Origin {
    Origin::start(|visit| match visit.request.target.as_str() {
        "/chunked" => {
            let mut answer = String::from(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for piece in page().as_bytes().chunks(3_000) {
                answer.push_str(&format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
            }
            answer.push_str("0\r\nx-sum: 1\r\n\r\n");
            visit.write(answer)?;
            Ok(Then::Keep)
        }
        "/cookie" => visit.answer(200, &[("Content-Type", "text/html"), ("Set-Cookie", "a=b")], page().as_bytes()),
        "/picture" => visit.answer(200, &[("Content-Type", "image/png")], page().as_bytes()),
        "/small" => visit.answer(200, &[("Content-Type", "text/html")], b"small"),
        "/not-modified" => {
            visit.write("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n")?;
            Ok(Then::Keep)
        }
        _ => {
            let fields = [("Content-Type", "text/html"), ("ETag", "\"1\""), ("Accept-Ranges", "bytes")];
            visit.answer(200, &fields, page().as_bytes())
        }
    })
}

#[test]
fn answers_are_compressed_as_the_client_likes() {
    let origin = origin_of_pages();
    let serin = Serin::in_front_of(&origin, "trailers: [x-sum], filters: [{compress: {}}]");
    let mut client = serin.client();
    for (accepted, coding) in [("gzip", "gzip"), ("gzip, br", "br"), ("gzip, deflate, br, zstd", "zstd")] {
        for target in ["/", "/chunked"] {
            let fields = [("Accept-Encoding", accepted), ("TE", "trailers"), ("Connection", "te")];
            let reply = client.request("GET", target, &fields, b"");
            assert_eq!(reply.header("content-encoding"), Some(coding));
            assert_eq!(reply.header("vary"), Some("accept-encoding"));
            assert_eq!(reply.header("content-length"), None);
            assert!(reply.body.len() < page().len() / 3, "{coding}: {}", reply.body.len());
            assert!(decoded(&reply) == page(), "{coding}");
            let trailers: &[(String, String)] = match target {
                "/chunked" => &[("x-sum".into(), "1".into())],
                _ => &[],
            };
            assert_eq!(reply.trailers, trailers);
            if target == "/" {
                assert_eq!(reply.header("etag"), Some("W/\"1\""), "other bytes, so it is strong no longer");
                assert_eq!(reply.header("accept-ranges"), None);
            }
        }
        assert_eq!(serin.metric_of("serin_route_compressed_responses_total", coding), 2.0);
    }
    assert_eq!(origin.log().accepted, 1, "connections to the endpoint are kept");
}

#[test]
fn other_answers_stay_as_they_are() {
    let origin = origin_of_pages();
    let serin = serin(&origin, "{compress: {}}");
    let mut client = serin.client();
    let gzip = ("Accept-Encoding", "gzip");
    let cases: [(&str, &[(&str, &str)], Option<&str>); 7] = [
        ("/", &[], Some("accept-encoding")),
        ("/", &[("Accept-Encoding", "gzip;q=0")], Some("accept-encoding")),
        ("/", &[gzip, ("Cookie", "session=1")], Some("accept-encoding")),
        ("/", &[gzip, ("Authorization", "Basic YTpi")], Some("accept-encoding")),
        ("/cookie", &[gzip], None),
        ("/picture", &[gzip], None),
        ("/small", &[gzip], None),
    ];
    for (target, fields, vary) in cases {
        let reply = client.request("GET", target, fields, b"");
        assert_eq!((reply.status, reply.header("content-encoding")), (200, None), "{target} {fields:?}");
        assert_eq!(reply.header("vary"), vary, "{target} {fields:?}");
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
    }
    let reply = client.request("GET", "/not-modified", &[gzip], b"");
    assert_eq!((reply.status, reply.header("vary")), (304, Some("accept-encoding")));
    for (held, tag) in [("\"1\"", "\"1\""), ("\"0\", W/\"1\"", "W/\"1\""), ("W/\"0\", \"1\"", "\"1\""), ("*", "\"1\"")]
    {
        let reply = client.request("GET", "/not-modified", &[gzip, ("If-None-Match", held)], b"");
        assert_eq!((reply.status, reply.header("etag")), (304, Some(tag)), "the copy of who has {held}");
    }
    assert_eq!(reply.header("content-encoding"), None);
    let head = client.request("HEAD", "/", &[gzip], b"");
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), None));
    assert_eq!(head.header("etag"), Some("W/\"1\""));
    assert_eq!(client.request("HEAD", "/picture", &[gzip], b"").header("content-encoding"), None);
    assert_eq!(client.get("/small").text(), "small", "the connection goes on behind a HEAD");
}

#[test]
fn streams_of_http2_meet_the_same() {
    let origin = origin_of_pages();
    let serin = serin(
        &origin,
        &format!("{{compress: {{with_credentials: true}}}}, {{basic_auth: {{users: {{ann: \"{HASH}\"}}}}}}"),
    );
    let mut client = Frames::connect(serin.address());
    let password = basic("ann:password");
    let mut ask = |stream: u32, more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> =
            http2::request("GET", "/chunked").into_iter().chain(more.iter().copied()).collect();
        client.head(stream, &fields, true);
        client.answer(stream)
    };
    assert_eq!(ask(1, &[]).status, Some(401));
    let answer = ask(3, &[("authorization", &password), ("accept-encoding", "br")]);
    let body = answer.body.clone();
    let reply = Reply { headers: vec![("content-encoding".into(), "br".into())], body, ..Reply::default() };
    assert!(answer.status == Some(200) && decoded(&reply) == page());
}

/// Bytes that were sent must not wait in the encoder for those that come later.
#[test]
fn what_comes_slowly_is_given_on_at_once() {
    let (go, told) = channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |visit| {
        visit.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        )?;
        told.lock().expect("no test panics here").recv().expect("the test goes on");
        visit.write("6\r\nsecond\r\n0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    for coding in ["gzip", "br", "zstd"] {
        let serin = serin(&origin, "{compress: {types: [text/event-stream]}}");
        let mut client = serin.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let (mut answer, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        // The head, and a chunk from which the first event can be read.
        while !first_event_is_in(&answer, coding) {
            assert!(Instant::now() < deadline, "{coding}: {:?}", String::from_utf8_lossy(&answer));
            answer.extend(client.take(1).expect("more"));
        }
        go.send(()).expect("the endpoint waits");
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            answer.extend(client.take(1).expect("more"));
        }
        let body = unchunked(&answer);
        let reply =
            Reply { status: 200, headers: vec![("content-encoding".into(), coding.into())], body, ..Reply::default() };
        assert_eq!(decoded(&reply), "firstsecond");
    }
}

/// What the chunks hold that came behind a head so far.
fn unchunked(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let Some(at) = crate::support::find(bytes, b"\r\n\r\n") else { return body };
    let mut rest = &bytes[at + 4..];
    while let Some(at) = crate::support::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).expect("a size"), 16).expect("a size");
        if size == 0 || rest.len() < at + 2 + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
    }
    body
}

fn first_event_is_in(bytes: &[u8], coding: &str) -> bool {
    let body = unchunked(bytes);
    let mut first = [0; 5];
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(&*body).read_exact(&mut first),
        "br" => brotli::Decompressor::new(&*body, 4_096).read_exact(&mut first),
        _ => zstd::stream::read::Decoder::new(&*body).expect("a decoder").read_exact(&mut first),
    };
    read.is_ok() && &first == b"first"
}

#[test]
fn what_breaks_off_breaks_off_for_the_client() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10000\r\n\r\nonly so much")?;
        Ok(Then::Close)
    });
    let serin = serin(&origin, "{compress: {}}");
    for coding in ["gzip", "br", "zstd"] {
        let mut client = serin.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {coding}\r\n\r\n"));
        assert_eq!(client.try_reply(false).expect_err("not whole"), Cut::Incomplete, "{coding}");
    }
    assert_eq!(serin.metric_of("serin_request_errors_total", "response_cut"), 3.0);
}

/// A client that reads nothing takes no memory, and the endpoint waits.
#[test]
fn a_client_that_does_not_read_holds_the_endpoint_up() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let origin = Origin::start(move |visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000000\r\n\r\n")?;
        let mut state = 1_u64;
        loop {
            // Nothing that could be compressed.
            let piece: Vec<u8> = (0..8_192)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_le_bytes()
                })
                .collect();
            visit.write(&piece)?;
            counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    });
    let serin = serin(&origin, "{compress: {algorithms: [gzip]}}");
    let mut client = Client::with_small_buffer(serin.address());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let before = std::cell::Cell::new(0);
    eventually(PATIENCE, "an endpoint that waits", || {
        thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::SeqCst);
        before.replace(now) == now && now > 0
    });
    assert!(before.get() < 28 << 20, "{} bytes were taken", before.get());
}

/// Encoders live as long as their clients like, so what they take together has a limit; others are served without.
#[test]
fn clients_that_read_nothing_take_little_memory() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let piece = page();
        loop {
            visit.write(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
        }
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    let rules = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
         routes: {{all: {{upstream: app, filters: [{{compress: {{}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    std::fs::write(&config, rules).expect("the rules are written");
    let program = Program::start(&config);
    let before = program.resident_kib();
    let mut client = Frames::that_takes(program.address("web"), 0);
    for stream in (1..200).step_by(2) {
        let fields: Vec<(&str, &str)> =
            http2::request("GET", "/").into_iter().chain([("accept-encoding", "br")]).collect();
        client.head(stream, &fields, true);
    }
    client.until("all heads", |seen| seen.streams.values().filter(|stream| stream.status == Some(200)).count() == 100);
    let not_compressed = program.metric("serin_not_compressed_responses_total");
    assert!((60..100).contains(&not_compressed), "{not_compressed} are not compressed");
    let grown = (program.resident_kib() - before) / 1_024;
    assert!(grown < 128, "{grown} MiB more");
}

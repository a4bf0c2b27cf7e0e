//! Any fields of an HTTP/1.1 request: what speaks of one connection ends here, what only a trusted proxy may say is not believed,
//! nothing that frames, routes or authenticates can be nominated away, and the next request on the connection is untouched.
#![no_main]

use std::io::Write;
use std::net::Shutdown;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../support/mod.rs"]
mod support;

use support::grammar::SeenRequest;
use support::{HOUSE, Name, Value};

#[derive(Arbitrary, Debug)]
enum Input {
    Request(Request),
    /// Anything at all: only the endpoint judges.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Request {
    is_post: bool,
    fields: Vec<(Name, Value)>,
    body: Body,
    trailers: Vec<(Name, Value)>,
    /// How much is written at a time.
    piece: u16,
}

#[derive(Arbitrary, Debug)]
enum Body {
    None,
    Sized(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

fuzz_target!(|input: Input| {
    let mut visit = HOUSE.visit("plain");
    let (bytes, piece) = match &input {
        Input::Request(request) => (written(request, &visit.run), usize::from(request.piece).max(16)),
        Input::Raw(bytes) => (bytes.clone(), usize::MAX),
    };
    // What frames it twice may be read as either, and what is behind it then as well.
    let frames = |(name, _): &(Name, Value)| FRAMING.iter().any(|it| name_of(name).eq_ignore_ascii_case(it));
    let known = match &input {
        Input::Request(request) if !request.fields.iter().any(frames) => Some(request),
        _ => None,
    };
    // Serin may have heard enough before all is written.
    let _ = bytes.chunks(piece).try_for_each(|piece| visit.stream.write_all(piece));
    // Who says that no more comes counts as gone; the last request says that it is the last.
    if known.is_none() {
        let _ = visit.stream.shutdown(Shutdown::Write);
    }
    let answers = visit.read_to_end();
    let Some(request) = known else { return };
    let seen = visit.seen();
    let own = |target: &str| seen.iter().filter(|request| request.target == target).collect::<Vec<_>>();
    let (asked, behind) = (own("/asked"), own("/behind"));
    assert!(asked.len() <= 1 && behind.len() <= 1 && seen.len() == asked.len() + behind.len(), "{seen:?}");
    let said = || String::from_utf8_lossy(&answers).into_owned();
    if let [asked] = asked[..] {
        check(asked, request, &visit.source.to_string());
    }
    if let [behind] = behind[..] {
        assert!(!asked.is_empty(), "what came first was refused, and what follows it served: {behind:?}");
        assert!(behind.body.is_empty(), "{behind:?}");
    }
    if request.fields.is_empty() && request.trailers.is_empty() {
        assert_eq!((asked.len(), behind.len()), (1, 1), "{:?}", said());
    }
});

fn check(seen: &SeenRequest, request: &Request, source: &str) {
    let body = match &request.body {
        Body::None => Vec::new(),
        Body::Sized(body) => body.clone(),
        Body::Chunked(chunks) => chunks.concat(),
    };
    assert_eq!(seen.body, body, "{seen:?}");
    assert_eq!(seen.header_lines("x-forwarded-for"), [source], "{seen:?}");
    assert_eq!(seen.header_lines("x-forwarded-proto"), ["http"], "{seen:?}");
    assert_eq!(seen.header("host"), Some("a.example"), "{seen:?}");
    let fields = || request.fields.iter().map(|(name, value)| (name_of(name), clean(&value.bytes())));
    for (name, value) in fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection")) {
        for nominated in value.split(|byte| *byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase()) {
            let Ok(nominated) = String::from_utf8(nominated) else { continue };
            let is_kept = KEPT.contains(&&*nominated);
            assert!(is_kept || seen.header_lines(&nominated).is_empty(), "{nominated} by {name:?} in {seen:?}");
        }
    }
    let has = |name: &str| fields().any(|(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()));
    assert_eq!(seen.header_lines("authorization").is_empty(), !has("authorization"), "{seen:?}");
    for name in ["client-cert", "x-real-ip", "x-serin-group"] {
        assert!(seen.header_lines(name).is_empty(), "{name} in {seen:?}");
    }
}

fn written(request: &Request, run: &str) -> Vec<u8> {
    let method = if request.is_post { "POST" } else { "GET" };
    let mut bytes = format!("{method} /asked HTTP/1.1\r\nhost: a.example\r\nx-run: {run}\r\n").into_bytes();
    let write = |bytes: &mut Vec<u8>, (name, value): &(Name, Value)| {
        bytes.extend([&name_of(name)[..], b": ", &clean(&value.bytes()), b"\r\n"].concat());
    };
    request.fields.iter().for_each(|field| write(&mut bytes, field));
    match &request.body {
        Body::None => bytes.extend(b"\r\n"),
        Body::Sized(body) => {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
            bytes.extend(body);
        }
        Body::Chunked(chunks) => {
            bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend([chunk, &b"\r\n"[..]].concat());
            }
            bytes.extend(b"0\r\n");
            request.trailers.iter().for_each(|field| write(&mut bytes, field));
            bytes.extend(b"\r\n");
        }
    }
    let behind = format!("GET /behind HTTP/1.1\r\nhost: a.example\r\nx-run: {run}\r\nconnection: close\r\n\r\n");
    bytes.extend(behind.into_bytes());
    bytes
}

/// Without what would begin the value.
fn name_of(name: &Name) -> Vec<u8> {
    clean(&name.bytes()).into_iter().filter(|byte| *byte != b':').collect()
}

/// Without what would end the line, and with it what this input is about.
fn clean(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect()
}

const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];

/// What cannot be nominated away, and what Serin writes itself.
const KEPT: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "authorization",
    "cookie",
    "set-cookie",
    "content-type",
    "content-encoding",
    "cache-control",
    "origin",
    "range",
    "connection",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
];

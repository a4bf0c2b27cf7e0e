//! Any request of HTTP/2 on its way to an endpoint that speaks HTTP/1.1: what arrives there is one strictly valid request or none
//! at all, and whoever asked gets an answer or a reset.
#![no_main]

use std::io::{Read, Write};
use std::net::TcpStream;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../support/mod.rs"]
mod support;

use support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RESET, SETTINGS, field, frame, status,
};
use support::{HOUSE, Name, SERVED, Value};

#[derive(Arbitrary, Debug)]
struct Input {
    head: Head,
    fields: Vec<(Name, Value)>,
    data: Vec<Vec<u8>>,
    trailers: Vec<(Name, Value)>,
    /// How much of the head is in a frame.
    piece: u16,
}

#[derive(Arbitrary, Debug)]
struct Head {
    method: Method,
    path: Option<Vec<u8>>,
    authority: Option<Value>,
    scheme: Option<Value>,
    comes_last: bool,
}

#[derive(Arbitrary, Debug)]
enum Method {
    Get,
    Head,
    Post,
    Options,
    Connect,
    Any(Vec<u8>),
}

fuzz_target!(|input: Input| {
    let mut visit = HOUSE.visit("plain");
    // Serin may have heard enough before all is written.
    let _ = visit.stream.write_all(&request(&input, &visit.run));
    let status = answer(&mut visit.stream);
    let seen = visit.seen();
    let sent: Vec<u8> = input.data.concat();
    match status {
        Some(SERVED) => {
            let [request] = &seen[..] else { panic!("{} requests for one: {seen:?}", seen.len()) };
            assert_eq!(request.body, sent, "{request:?}");
        }
        _ => assert!(seen.is_empty(), "{status:?} for {seen:?}"),
    }
});

fn request(input: &Input, run: &str) -> Vec<u8> {
    let Head { method, path, authority, scheme, comes_last } = &input.head;
    let method = match method {
        Method::Get => b"GET".to_vec(),
        Method::Head => b"HEAD".to_vec(),
        Method::Post => b"POST".to_vec(),
        Method::Options => b"OPTIONS".to_vec(),
        Method::Connect => b"CONNECT".to_vec(),
        Method::Any(bytes) => bytes.clone(),
    };
    let mut pseudo = field(b":method", &method);
    pseudo.extend(field(b":path", path.as_deref().unwrap_or(b"/")));
    pseudo.extend(field(b":scheme", &scheme.as_ref().map_or(b"http".to_vec(), Value::bytes)));
    pseudo.extend(field(b":authority", &authority.as_ref().map_or(b"a.example".to_vec(), Value::bytes)));
    let fields = block_of(&input.fields);
    pseudo.extend(field(b"x-run", run.as_bytes()));
    let block = if *comes_last { [fields, pseudo].concat() } else { [pseudo, fields].concat() };
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let ends = |is_last: bool| u8::from(is_last) * END_STREAM;
    let is_alone = input.data.is_empty() && input.trailers.is_empty();
    // Frames have at most 16 KiB.
    let pieces: Vec<&[u8]> = block.chunks(usize::from(input.piece).clamp(64, 16_384)).collect();
    for (place, piece) in pieces.iter().enumerate() {
        let end = u8::from(place + 1 == pieces.len()) * END_HEADERS;
        match place {
            0 => bytes.extend(frame(HEADERS, end | ends(is_alone), 1, piece)),
            _ => bytes.extend(frame(CONTINUATION, end, 1, piece)),
        }
    }
    for (place, data) in input.data.iter().enumerate() {
        let is_last = place + 1 == input.data.len() && input.trailers.is_empty();
        bytes.extend(frame(DATA, ends(is_last), 1, data));
    }
    if !input.trailers.is_empty() {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block_of(&input.trailers)));
    }
    bytes
}

fn block_of(fields: &[(Name, Value)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(&name.bytes(), &value.bytes())).collect()
}

/// The status of the answer; nothing if there was a reset or the end of the connection.
fn answer(stream: &mut TcpStream) -> Option<u16> {
    loop {
        let head: [u8; 9] = read(stream)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).ok()?;
        match head[3] {
            // Others are on their way to it.
            HEADERS if status(&payload) >= 200 => return Some(status(&payload)),
            RESET | GOAWAY => return None,
            _ => {}
        }
    }
}

fn read<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    match stream.read_exact(&mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("neither an answer nor a reset"),
        Err(_) => None,
    }
}

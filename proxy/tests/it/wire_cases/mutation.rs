//! Broken requests by the hundred: honest ones, each damaged in one to three places. The sequence is fixed, so that a
//! failure comes back; a case carries its bytes into the table.
//!
//! What a damaged request means is not known here. Only one thing is worked out, generously: which requests a reader
//! that forgives LF line ends and folded lines would find in the bytes. A `/smuggled` outside that list is an attack
//! that worked.

use crate::support::wire::{Expect, RequestCase};

pub(super) fn requests(count: u64) -> Vec<RequestCase> {
    (0..count).map(request).collect()
}

fn request(number: u64) -> RequestCase {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
    let mut bytes = seed(&mut dice, number);
    for _ in 0..=dice.below(3) {
        damage(&mut bytes, &mut dice);
    }
    let text = describe(&targets(&bytes)).to_owned();
    RequestCase { id: format!("M{number}"), expect: Expect::Either, bytes, text, assertions: Vec::new() }
}

fn describe(targets: &[Vec<u8>]) -> &'static str {
    let smuggled = |target: &Vec<u8>| target.windows(8).any(|part| part == b"smuggled");
    match targets {
        [] | [_] => "damaged",
        several if several.iter().any(smuggled) => "several requests, smuggled is honestly a second request",
        _ => "several requests",
    }
}

fn seed(dice: &mut Dice, number: u64) -> Vec<u8> {
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let length = hidden.len();
    let fields = "Host: a.test\r\nUser-Agent: m\r\nX-Forwarded-For: 203.0.113.9\r\nCookie: a=1\r\n";
    match dice.below(7) {
        0 => format!("GET /m/{number} HTTP/1.1\r\n{fields}\r\n"),
        1 => format!("POST /m/{number} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{hidden}"),
        2 => format!("POST /m/{number} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        3 => format!("POST /m/{number} HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n{length:X}\r\n{hidden}\r\n0\r\nX-Sum: 1\r\n\r\n"),
        4 => format!("POST /m/{number} HTTP/1.1\r\nContent-Length: 4\r\n{fields}\r\nabcdGET /m/{number}/b HTTP/1.1\r\n{fields}\r\n"),
        5 => format!("GET http://a.test/m/{number} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{hidden}"),
        _ => format!("PUT /m/{number}?q=%2e%2e HTTP/1.1\r\n{fields}Connection: x-a, keep-alive\r\nX-A: b\r\nContent-Length: {length}\r\n\r\n{hidden}"),
    }
    .into_bytes()
}

fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    match dice.below(10) {
        0 => insert(bytes, dice.below(head_end + 1), dice.pick(JUNK)),
        1 => insert(bytes, dice.below(bytes.len() + 1), dice.pick(JUNK)),
        2 => drop(bytes.remove(dice.below(bytes.len()))),
        3 => replace(bytes, b"-", b"_", dice),
        4 => replace(bytes, b": ", dice.pick(COLONS), dice),
        5 => replace(bytes, b"\r\n", dice.pick(LINE_ENDS), dice),
        6 => replace(bytes, b"HTTP/1.1", dice.pick(VERSIONS), dice),
        7 => bytes.truncate(bytes.len() - dice.below(bytes.len() / 2)),
        _ => {
            let at = bytes.windows(2).position(|window| window == b"\r\n").map_or(0, |at| at + 2);
            insert(bytes, at, dice.pick(FIELDS));
        }
    }
    if bytes.is_empty() {
        bytes.push(b'\n');
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
}

/// Replaces one of the places where `from` stands.
fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8], dice: &mut Dice) {
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    if !places.is_empty() {
        let at = places[dice.below(places.len())];
        bytes.splice(at..at + from.len(), to.iter().copied());
    }
}

const JUNK: &[&[u8]] = &[
    b"\0", b"\x0b", b"\x0c", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b",", b"_", b"#", b"\\", b"%00", b"%2f",
    b"/../", b"\x7f", b"\x80", b"\xff", b"0", b"\r\n ",
];
const COLONS: &[&[u8]] = &[b" : ", b"\t:", b":\t", b":", b":\x0b", b": \r\n ", b":\x00", b";", b":: "];
const LINE_ENDS: &[&[u8]] = &[b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b"\n\r", b"\r\n ", b" \r\n", b"\r\n\t"];
const VERSIONS: &[&[u8]] =
    &[b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/1.10", b"", b"HTTP/0.9"];
const FIELDS: &[&[u8]] = &[
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: \"chunked\"\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 4\r\n",
    b"Content-Length: 04\r\n",
    b"Content-Length: 4, 4\r\n",
    b"Content-Length: 4 4\r\n",
    b"Content-Length: 18446744073709551617\r\n",
    b"Content_Length: 0\r\n",
    b"Content-Length\x00: 0\r\n",
    b"Host: b.test\r\n",
    b"Host: a.test:99999\r\n",
    b"Connection: content-length, host\r\n",
    b"Connection: transfer-encoding\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: upgrade, http2-settings\r\n",
    b"X_Forwarded_For: 1.2.3.4\r\n",
    b"Cookie: b=2\r\nCookie: c=3\r\n",
    b"TE: trailers, gzip\r\n",
    b"Trailer: content-length\r\n",
];

/// The targets of the requests a forgiving reader finds.
fn targets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut targets = Vec::new();
    let mut rest = bytes;
    while let Some((lines, body)) = forgiving_head(rest) {
        let words: Vec<&[u8]> = lines[0].split(|byte| byte.is_ascii_whitespace()).collect();
        targets.push(words.get(1).copied().unwrap_or_default().to_vec());
        let Some(length) = body_length(&lines[1..], body) else {
            break;
        };
        rest = body.get(length..).unwrap_or_default();
    }
    targets
}

/// The lines of a head, folded ones joined, and what follows it.
fn forgiving_head(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        match (line.first(), lines.last_mut()) {
            (None, None) => {}
            (None, Some(_)) => return Some((lines, rest)),
            (Some(b' ' | b'\t'), Some(last)) => last.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
}

/// `None` when there is no telling, or the connection has to end with this request.
fn body_length(fields: &[Vec<u8>], body: &[u8]) -> Option<usize> {
    let value = |wanted: &str| {
        fields.iter().find_map(|line| {
            let text = String::from_utf8_lossy(line).to_ascii_lowercase();
            text.split_once(':').filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim().to_owned())
        })
    };
    match (value("transfer-encoding"), value("content-length")) {
        (None, None) => Some(0),
        (None, Some(length)) => length.parse().ok(),
        (Some(coding), None) if coding == "chunked" => {
            // A last chunk cannot be overlooked by a reader that finds the right end; finding it later is no attack.
            body.windows(5).position(|window| window == b"0\r\n\r\n").map(|at| at + 5)
        }
        _ => None,
    }
}

/// xorshift64*: all the randomness a fixed sequence needs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.roll() >> 33) % limit.max(1) as u64).unwrap_or_default()
    }

    fn pick<'p>(&mut self, pieces: &'p [&'p [u8]]) -> &'p [u8] {
        pieces[self.below(pieces.len())]
    }
}

#[test]
fn the_sequence_is_fixed_and_varied() {
    assert_eq!(requests(50).last().map(|case| case.bytes.clone()), requests(50).last().map(|case| case.bytes.clone()));
    let mut all: Vec<Vec<u8>> = requests(600).into_iter().map(|case| case.bytes).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 600);
}

#[test]
fn a_body_hides_what_it_holds() {
    let hidden = b"POST /a HTTP/1.1\r\nContent-Length: 19\r\n\r\nGET /smuggled H\r\n\r\nGET /b HTTP/1.1\n\n";
    assert_eq!(targets(hidden), [b"/a".to_vec(), b"/b".to_vec()]);
    let folded = b"POST /a HTTP/1.1\r\nX: y\r\n Content-Length: 19\r\n\r\nGET /smuggled H\r\n\r\n";
    assert_eq!(targets(folded), [b"/a".to_vec(), b"/smuggled".to_vec()]);
}

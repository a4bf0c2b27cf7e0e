//! As much of HTTP/2 as a client needs that asks for one thing at a time: frames, and one fixed block of fields.
//!
//! Requests use no dynamic table, so the same block is right in every connection; of an answer only `:status` is read, in
//! the one byte that says 200. It trusts its peers, which are all on this machine.

use std::io::{self, Read, Write};

use super::wire::Wire;

/// What a client says first, and settings that are all as by default.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// `:status: 200` in the static table (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;

/// One connection, and the number of its next stream.
#[derive(Debug)]
pub(crate) struct Http2 {
    wire: Wire,
    stream: u32,
}

impl Http2 {
    pub(crate) fn begin(mut wire: Wire) -> io::Result<Self> {
        wire.write_all(PREFACE)?;
        Ok(Self { wire, stream: 1 })
    }

    /// Asks and waits for the end of the answer, whose body shall have this length.
    pub(crate) fn exchange(&mut self, fields: &[u8], body: u64) -> io::Result<()> {
        let stream = self.stream;
        self.stream += 2;
        self.wire.write_all(&frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, fields))?;
        let (mut is_right, mut received) = (false, 0);
        loop {
            let (kind, flags, of, payload) = self.read_frame()?;
            match kind {
                kind::SETTINGS if flags & ACK == 0 => self.wire.write_all(&frame(kind::SETTINGS, ACK, 0, &[]))?,
                kind::PING if flags & ACK == 0 => self.wire.write_all(&frame(kind::PING, ACK, 0, &payload))?,
                kind::GOAWAY => return Err(io::Error::other("the connection was ended")),
                kind::RST_STREAM if of == stream => return Err(io::Error::other("the stream was reset")),
                kind::HEADERS if of == stream => is_right |= says_200(flags, &payload),
                kind::DATA if of == stream => received += data(flags, &payload),
                _ => {}
            }
            if of == stream && matches!(kind, kind::HEADERS | kind::DATA) && flags & END_STREAM != 0 {
                break;
            }
        }
        if is_right && received == body {
            return Ok(());
        }
        Err(io::Error::other(format!("not answered with 200 and {body} bytes (200: {is_right}, {received} bytes)")))
    }

    fn read_frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.wire.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.wire.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream) & 0x7fff_ffff, payload))
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The fields of a GET, `:path` and `:authority` written out and remembered by nobody.
pub(crate) fn request(scheme: &str, host: &str, path: &str) -> Vec<u8> {
    let scheme = if scheme == "https" { 0x87 } else { 0x86 };
    let mut fields = vec![0x82, scheme];
    for (name, value) in [(1, host), (4, path)] {
        fields.push(name);
        // Without Huffman, and short enough for one byte of length.
        fields.push(u8::try_from(value.len()).unwrap_or(0) & 0x7f);
        fields.extend(value.as_bytes());
    }
    fields
}

/// What is between the padding of a payload.
fn unpadded(flags: u8, payload: &[u8]) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    let padding = payload.first().copied().map_or(0, usize::from);
    payload.get(1..payload.len().saturating_sub(padding)).unwrap_or_default()
}

fn data(flags: u8, payload: &[u8]) -> u64 {
    unpadded(flags, payload).len() as u64
}

fn says_200(flags: u8, payload: &[u8]) -> bool {
    let fields = unpadded(flags, payload);
    let fields = if flags & PRIORITY == 0 { fields } else { fields.get(5..).unwrap_or_default() };
    // A block may begin with new sizes of the dynamic table (RFC 7541 §6.3): one byte each, or one and those that go on.
    let mut rest = fields;
    while let Some((size, after)) = rest.split_first().filter(|(first, _)| **first & 0xe0 == 0x20) {
        let more = if size & 0x1f == 0x1f { after.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1 } else { 0 };
        rest = after.get(more..).unwrap_or_default();
    }
    rest.first() == Some(&STATUS_200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_and_its_stream() {
        let frame = frame(kind::HEADERS, END_STREAM, 0x0102, &[7; 300]);
        assert_eq!(&frame[..9], [0, 1, 44, 1, 1, 0, 0, 1, 2]);
        assert_eq!(frame.len(), 309);
        assert_eq!(&request("https", "a.b", "/1k"), b"\x82\x87\x01\x03a.b\x04\x03/1k");
    }

    #[test]
    fn a_status_is_found_behind_padding_and_new_table_sizes() {
        assert!(says_200(END_HEADERS, &[0x88, 0x40]));
        assert!(says_200(END_HEADERS, &[0x20, 0x3f, 0xe1, 0x1f, 0x88]));
        assert!(says_200(PADDED, &[2, 0x88, 0, 0]));
        assert!(says_200(PRIORITY, &[0, 0, 0, 0, 16, 0x88]));
        assert!(!says_200(END_HEADERS, &[0x8d]));
        assert!(!says_200(PADDED, &[9, 0x88]));
        assert_eq!(data(PADDED, &[1, b'a', b'b', 0]), 2);
    }
}

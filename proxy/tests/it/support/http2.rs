//! A client of HTTP/2 that writes frames by hand, for what no honest client would do, and keeps the books of what comes
//! back: streams, resets, the farewell. Heads are written without compression; of those that come only the status is read.
//! Turned round it is an endpoint, which knows of a request that it came and no more.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags: of DATA and HEADERS, of HEADERS and CONTINUATION, of SETTINGS and PING.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Error codes (RFC 9113 §7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection on which frames are written.
pub(crate) struct Frames {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Whether it gives back the windows that answers use up.
    takes_answers: bool,
    /// Bytes of the other end's preface that are yet to come, where that end is the client.
    preface_left: usize,
    is_endpoint: bool,
    pub(crate) seen: Seen,
}

/// What came so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// Last stream and reason of each GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    /// Settings of the proxy, by number.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// What answers to pings say.
    pub(crate) pongs: Vec<Vec<u8>>,
    /// How many of our settings were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) is_over: bool,
}

/// What came on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) status: Option<u16>,
    pub(crate) body: Vec<u8>,
    /// Blocks of fields, trailers with them.
    pub(crate) heads: usize,
    /// The proxy has said all.
    pub(crate) has_ended: bool,
    pub(crate) reset: Option<u32>,
}

impl Seen {
    /// What came on a stream, if anything has.
    pub(crate) fn stream(&self, stream: u32) -> &Stream {
        static NOTHING: Stream = Stream { status: None, body: Vec::new(), heads: 0, has_ended: false, reset: None };
        self.streams.get(&stream).unwrap_or(&NOTHING)
    }
}

impl Stream {
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended || self.reset.is_some()
    }
}

impl Frames {
    /// Says hello and nothing else.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::silent(address).greeted()
    }

    /// As [`Self::connect`], on a connection that has been made.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self::silent_on(stream).greeted()
    }

    fn greeted(mut self) -> Self {
        self.send(PREFACE);
        self.frame(SETTINGS, 0, 0, &NO_TABLE);
        self
    }

    /// As [`Self::connect`] with windows of so many bytes for each answer, and none given back.
    pub(crate) fn that_takes(address: SocketAddr, window: u32) -> Self {
        let mut frames = Self::silent(address);
        frames.takes_answers = false;
        frames.send(PREFACE);
        let [a, b, c, d] = window.to_be_bytes();
        frames.frame(SETTINGS, 0, 0, &[&NO_TABLE[..], &[0, 4, a, b, c, d]].concat());
        frames
    }

    /// The same, giving back nothing of the windows that answers use up.
    pub(crate) fn that_keeps_windows(self) -> Self {
        Self { takes_answers: false, ..self }
    }

    /// A connection on which not even the preface was sent.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the proxy accepts connections");
        stream.set_nodelay(true).expect("a fresh socket");
        Self::silent_on(stream)
    }

    fn silent_on(stream: TcpStream) -> Self {
        let (unread, seen) = (Vec::new(), Seen::default());
        Self { stream, unread, takes_answers: true, preface_left: 0, is_endpoint: false, seen }
    }

    /// The endpoint's end of the next connection, which says hello with these settings and nothing else.
    pub(crate) fn accept(listener: &TcpListener, settings: &[u8]) -> Self {
        let (stream, _) = listener.accept().expect("the proxy connects");
        stream.set_nodelay(true).expect("a fresh socket");
        let mut frames = Self { preface_left: PREFACE.len(), is_endpoint: true, ..Self::silent_on(stream) };
        frames.frame(SETTINGS, 0, 0, settings);
        frames
    }

    /// Answers a request whole.
    pub(crate) fn serve(&mut self, stream: u32, body: &[u8]) {
        self.head(stream, &[(":status", "200")], false);
        self.data(stream, body, true);
    }

    /// Says that the connection ends behind this stream.
    pub(crate) fn goaway(&mut self, last: u32, code: u32) {
        self.try_goaway(last, code).expect("the proxy takes bytes");
    }

    /// As [`Self::goaway`], to somebody who may have left.
    pub(crate) fn try_goaway(&mut self, last: u32, code: u32) -> std::io::Result<()> {
        self.try_send(&frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()))
    }

    /// Reads until so many requests have come whole.
    pub(crate) fn requests(&mut self, count: usize) {
        self.until("requests", |seen| seen.streams.values().filter(|stream| stream.has_ended).count() >= count);
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the proxy takes bytes");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&frame(kind, flags, stream, payload));
    }

    /// Begins a request with these fields and no others.
    pub(crate) fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        self.send(&head(stream, fields, ends));
    }

    /// A whole GET.
    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        self.head(stream, &request("GET", path), true);
    }

    /// The head of a POST, whose body follows.
    pub(crate) fn post(&mut self, stream: u32, path: &str) {
        self.head(stream, &request("POST", path), false);
    }

    pub(crate) fn data(&mut self, stream: u32, data: &[u8], ends: bool) {
        self.frame(DATA, if ends { END_STREAM } else { 0 }, stream, data);
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.frame(RESET, 0, stream, &code.to_be_bytes());
    }

    pub(crate) fn window(&mut self, stream: u32, more: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
    }

    /// What came on a stream so far.
    pub(crate) fn stream(&self, stream: u32) -> Stream {
        self.seen.stream(stream).clone()
    }

    /// Reads until a stream is over, and returns it.
    pub(crate) fn answer(&mut self, stream: u32) -> Stream {
        self.until("the end of a stream", |seen| seen.stream(stream).is_over());
        self.stream(stream)
    }

    /// A GET and the body of its answer, which must be good.
    pub(crate) fn get_body(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.get(stream, path);
        let answer = self.answer(stream);
        assert_eq!((answer.status, answer.has_ended), (Some(200), true), "{answer:?} {:?}", self.seen);
        answer.body
    }

    /// Reads until the connection ends. Returns the last farewell.
    pub(crate) fn farewell(&mut self) -> Option<(u32, u32)> {
        self.until("the end of the connection", |seen| seen.is_over);
        self.seen.goaways.last().copied()
    }

    /// Reads until it is as wanted; fails when it is not in time, or the connection has ended.
    pub(crate) fn until(&mut self, what: &str, reached: impl Fn(&Seen) -> bool) {
        self.within(PATIENCE, what, reached);
    }

    pub(crate) fn within(&mut self, patience: Duration, what: &str, reached: impl Fn(&Seen) -> bool) {
        let came = self.comes(patience, reached);
        assert!(came || !self.seen.is_over, "the connection ended before {what}: {:?}", self.seen);
        assert!(came, "not within {patience:?}: {what}; there came {:?}", self.seen);
    }

    /// Reads until it is as wanted, or the connection has ended, or the time is over. Whether it is.
    pub(crate) fn comes(&mut self, patience: Duration, reached: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !reached(&self.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.seen.is_over || left.is_zero() {
                return false;
            }
            self.read(left.min(TURN));
        }
        true
    }

    /// Reads what comes within a moment, if anything does.
    fn read(&mut self, wait: Duration) {
        self.stream.set_read_timeout(Some(wait)).expect("the socket is open");
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.seen.is_over = true,
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                self.take_frames();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.seen.is_over = true,
        }
    }

    fn take_frames(&mut self) {
        let hello = self.preface_left.min(self.unread.len());
        self.unread.drain(..hello);
        self.preface_left -= hello;
        while let Some(length) = self.unread.get(..3).map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
        {
            let end = 9 + length as usize;
            if self.unread.len() < end {
                return;
            }
            let frame: Vec<u8> = self.unread.drain(..end).collect();
            let stream = number(&frame[5..9]);
            self.take(frame[3], frame[4], stream, &frame[9..]);
        }
    }

    fn take(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let ends = flags & END_STREAM != 0;
        match kind {
            DATA => {
                let stream = self.seen.streams.entry(id).or_default();
                stream.body.extend_from_slice(payload);
                stream.has_ended |= ends;
                if self.takes_answers && !payload.is_empty() {
                    let more = (payload.len() as u32).to_be_bytes();
                    let updates = [frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, id, &more)].concat();
                    let _ = self.try_send(&updates);
                }
            }
            HEADERS => {
                let stream = self.seen.streams.entry(id).or_default();
                stream.heads += 1;
                if !self.is_endpoint {
                    stream.status = stream.status.or_else(|| Some(status(payload)));
                }
                stream.has_ended |= ends;
            }
            RESET => self.seen.streams.entry(id).or_default().reset = Some(number(payload)),
            SETTINGS if flags & ACK == 0 => {
                let all = payload.chunks(6).map(|one| (u16::from_be_bytes([one[0], one[1]]), number(&one[2..])));
                self.seen.settings.extend(all);
                let _ = self.try_send(&frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK == 0 => {
                let _ = self.try_send(&frame(PING, ACK, 0, payload));
            }
            PING => self.seen.pongs.push(payload.to_vec()),
            SETTINGS => self.seen.acknowledged += 1,
            GOAWAY => self.seen.goaways.push((number(payload), number(&payload[4..]))),
            _ => {}
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A HEADERS frame, with as many CONTINUATION frames as it needs.
pub(crate) fn head(stream: u32, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let block = fields.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect::<Vec<_>>();
    let pieces: Vec<&[u8]> = if block.is_empty() { vec![&[]] } else { block.chunks(16_384).collect() };
    let last = pieces.len() - 1;
    let end_of = |place: usize| if place == last { END_HEADERS } else { 0 };
    let all = pieces.into_iter().enumerate().map(|(place, piece)| match place {
        0 => frame(HEADERS, end_of(0) | if ends { END_STREAM } else { 0 }, stream, piece),
        _ => frame(CONTINUATION, end_of(place), stream, piece),
    });
    all.collect::<Vec<_>>().concat()
}

/// A field as HPACK writes it out: literal, not indexed, not compressed (RFC 7541 §6.2.2).
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        length_of(text, &mut bytes);
        bytes.extend_from_slice(text);
    }
    bytes
}

fn length_of(text: &[u8], bytes: &mut Vec<u8>) {
    let Some(mut rest) = text.len().checked_sub(127) else {
        bytes.push(text.len() as u8);
        return;
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The pseudo-fields of a request to `a.test`.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
}

/// The status, which comes first in a head: by its place in the static table, or written out with its digits compressed.
pub(crate) fn status(block: &[u8]) -> u16 {
    // A change of the table's size may come before.
    let block = &block[block.iter().position(|byte| byte & 0xe0 != 0x20).expect("a head is not empty")..];
    if block[0] & 0x80 != 0 {
        const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        return STATUSES.get(usize::from(block[0] & 0x7f).wrapping_sub(8)).copied().unwrap_or(0);
    }
    let (length, text) = (usize::from(block[1] & 0x7f), &block[2..]);
    let digits = match block[1] & 0x80 {
        0 => text[..length].to_vec(),
        _ => digits(&text[..length]),
    };
    String::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Digits as HPACK compresses them: 0 to 2 in five bits, the others in six (RFC 7541, appendix B).
fn digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let (mut digits, mut rest) = (Vec::new(), &bits[..]);
    while digits.len() < 3 && rest.len() >= 5 {
        let (digit, taken) = match value(&rest[..5]) {
            small @ 0..3 => (small, 5),
            _ if rest.len() < 6 => break,
            _ => (value(&rest[..6]) - 0b011001 + 3, 6),
        };
        digits.push(b'0' + digit);
        rest = &rest[taken..];
    }
    digits
}

/// SETTINGS_HEADER_TABLE_SIZE = 0: heads then say in full what they say.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// Between two looks at the clock while nothing comes.
const TURN: Duration = Duration::from_millis(50);

#[test]
fn statuses_are_read_as_they_are_written() {
    assert_eq!([status(&[0x88]), status(&[0x8e])], [200, 500]);
    // RFC 7541, C.6.1: 302.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    assert_eq!(status(&[0x20, 0x48, 3, b'4', b'1', b'3']), 413);
}

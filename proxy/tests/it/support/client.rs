//! A client with one connection, for tests that look at what happens on it: exact bytes out, answers in, and how it
//! ends. Heads are read strictly; every wait has a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::wire::parse_answers;
use super::witness::grammar::Fields;
use super::{PATIENCE, find};

/// A connection to a proxy.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// One final answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// Statuses of the interim answers before it.
    pub(crate) interim: Vec<u16>,
}

/// Why there was no answer, or no whole one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The connection ended before the first byte.
    NoAnswer,
    /// The connection ended in the middle of an answer.
    Incomplete,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE).expect("the proxy accepts connections"))
    }

    /// A client with a connection that has been made.
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a fresh socket");
        Self { stream, unread: Vec::new() }
    }

    /// A client at another address of this machine, for example `127.0.0.2`.
    pub(crate) fn from(source: &str, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let source: SocketAddr = format!("{source}:0").parse().expect("an address");
        socket.bind(&source.into()).expect("all of 127.0.0.0/8 is this machine's");
        socket.connect(&address.into()).expect("the proxy accepts connections");
        Self { stream: socket.into(), unread: Vec::new() }
    }

    /// A client whose kernel takes few bytes ahead of the program.
    pub(crate) fn with_small_buffer(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(32 << 10).expect("a fresh socket");
        socket.connect(&address.into()).expect("the proxy accepts connections");
        Self { stream: socket.into(), unread: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection, for another kind of client. Nothing was read of it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the proxy takes bytes");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Ends the connection with a reset, as a client whose machine has gone does sooner or later.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("the connection is open");
    }

    pub(crate) fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    /// Sends one request and reads its answer.
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(request(method, target, fields, body));
        self.try_reply(method == "HEAD").unwrap_or_else(|cut| panic!("{method} {target}: {cut:?}"))
    }

    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply(false).unwrap_or_else(|cut| panic!("an answer was expected: {cut:?}"))
    }

    /// Reads one final answer. Bytes that no proxy may write are a failure of the test.
    pub(crate) fn try_reply(&mut self, to_head: bool) -> Result<Reply, Cut> {
        let mut interim = Vec::new();
        loop {
            let mut reply = self.head()?;
            if reply.status < 200 && reply.status != 101 {
                interim.push(reply.status);
                continue;
            }
            reply.interim = interim;
            if !to_head && !matches!(reply.status, 101 | 204 | 304) {
                self.body(&mut reply)?;
            }
            return Ok(reply);
        }
    }

    fn head(&mut self) -> Result<Reply, Cut> {
        let length = loop {
            match find(&self.unread, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.more() => {}
                None if self.unread.is_empty() => return Err(Cut::NoAnswer),
                None => return Err(Cut::Incomplete),
            }
        };
        let head: Vec<u8> = self.unread.drain(..length).collect();
        let answers = parse_answers(&head, true, false).unwrap_or_else(|breach| panic!("{breach}"));
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        Ok(Reply { status: answer.status, headers: answer.headers.clone(), ..Reply::default() })
    }

    fn body(&mut self, reply: &mut Reply) -> Result<(), Cut> {
        if reply.header("transfer-encoding").is_some() {
            return self.chunks(reply);
        }
        if let Some(length) = reply.header("content-length") {
            let length = length.parse().expect("the head was read strictly");
            reply.body = self.take(length)?;
            return Ok(());
        }
        while self.more() {}
        reply.body = std::mem::take(&mut self.unread);
        Ok(())
    }

    fn chunks(&mut self, reply: &mut Reply) -> Result<(), Cut> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
            if size == 0 {
                break;
            }
            reply.body.extend(self.take(size)?);
            assert_eq!(self.line()?, "", "the end of a chunk");
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("trailer {line:?}"));
            reply.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Result<String, Cut> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more() {
                return Err(Cut::Incomplete);
            }
        }
    }

    /// Takes exactly this many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<u8>, Cut> {
        while self.unread.len() < count {
            if !self.more() {
                return Err(Cut::Incomplete);
            }
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Reads what comes; false when the other side has ended the connection.
    fn more(&mut self) -> bool {
        self.more_within(PATIENCE).unwrap_or_else(|| panic!("nothing came for {PATIENCE:?} after {:?}", self.seen()))
    }

    /// `None`: nothing came in time.
    fn more_within(&mut self, patience: Duration) -> Option<bool> {
        self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).expect("a timeout above 0");
        let mut chunk = vec![0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Some(false),
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                Some(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            // A read with a time limit is not taken up again after a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.more_within(patience),
            Err(error) => {
                // Seen if the test fails.
                println!("reading: {error}");
                Some(false)
            }
        }
    }

    fn seen(&self) -> String {
        super::witness::escape(&self.unread[..self.unread.len().min(200)])
    }

    /// Waits for the other side to end the connection; false if it is open after that time. Bytes that come
    /// meanwhile are a failure: nothing was asked for.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            assert!(self.unread.is_empty(), "unexpected bytes: {}", self.seen());
            match self.more_within(deadline.saturating_duration_since(Instant::now())) {
                Some(false) => return true,
                Some(true) => {}
                None => return false,
            }
        }
    }

    /// Whether anything happens on the connection in this time: bytes, or its end.
    pub(crate) fn hears_within(&mut self, patience: Duration) -> bool {
        !self.unread.is_empty() || self.more_within(patience).is_some()
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.unread)
    }
}

impl Reply {
    /// The value of the only line of this name; a second line is a failure.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.header_lines(name);
        assert!(lines.len() < 2, "several {name}: {lines:?}");
        lines.first().copied()
    }

    pub(crate) fn header_lines(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn announces_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// The bytes of a request to `a.test`, or to the host among the fields. A body has a Content-Length.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: a.test\r\n");
    }
    fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str) -> Reply {
    Client::connect(address).get(target)
}

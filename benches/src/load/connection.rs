//! One connection of the load: where it comes from, the request it sends, and how its answers are read and checked.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Failures;
use super::wire::Wire;
use crate::http::{Framing, Head, status};
use crate::poll::Moved;
use crate::tls::{self, Tls};

pub(super) struct Connection {
    pub(super) wire: Wire,
    /// When the request on the way was sent, or was due; none between requests.
    pub(super) asked: Option<Instant>,
    /// Sent it is, or waits for the socket to be writable.
    pub(super) sent: bool,
    partial: Vec<u8>,
    body_left: Option<u64>,
    /// The answer said that the connection ends.
    pub(super) close: bool,
    /// Of the last answer.
    pub(super) status: u16,
    pub(super) has_retry_after: bool,
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(target: SocketAddrV4, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = connect(target, SocketFlags::NONBLOCK)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            wire: Wire::over(stream, tls)?,
            asked: None,
            sent: false,
            partial: Vec::new(),
            body_left: None,
            close: false,
            status: 0,
            has_retry_after: false,
        })
    }

    /// Sends the request, or leaves it for when the socket is writable and the handshake done; false when the connection is broken.
    pub(super) fn send(&mut self, request: &[u8]) -> bool {
        match Moved::from(self.wire.write(request)) {
            Moved::Bytes(bytes) => {
                self.sent = true;
                // A request is a hundred bytes; a socket that takes only some of them is one that fails.
                bytes == request.len()
            }
            Moved::Later => true,
            Moved::Gone => false,
        }
    }

    /// Takes what was read; true when that completes the answer.
    pub(super) fn take(&mut self, bytes: &[u8], body: u64, failures: &mut Failures) -> bool {
        let Some(left) = self.body_left else {
            return self.take_head(bytes, body, failures);
        };
        let left = left.saturating_sub(bytes.len() as u64);
        self.body_left = (left > 0).then_some(left);
        left == 0
    }

    fn take_head(&mut self, bytes: &[u8], body: u64, failures: &mut Failures) -> bool {
        let joined;
        let bytes = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.partial);
            &joined
        };
        let Some(head) = Head::find(bytes) else {
            self.partial = bytes.to_vec();
            return false;
        };
        let length = match head.framing {
            Framing::Length(length) => length,
            // No endpoint answer is chunked; a proxy that makes one so is wrong, and the connection cannot be read on.
            Framing::Chunked => 0,
        };
        self.status = status(bytes);
        let is_right = (200..300).contains(&self.status);
        failures.status += u64::from(!is_right);
        self.has_retry_after = !is_right && has_field(&bytes[..head.len], b"retry-after:");
        failures.length += u64::from(length != body);
        self.close = head.close || head.framing == Framing::Chunked;
        let left = (head.len as u64 + length).saturating_sub(bytes.len() as u64);
        self.body_left = (left > 0).then_some(left);
        left == 0
    }
}

fn has_field(head: &[u8], name: &[u8]) -> bool {
    let begins = |line: &[u8]| line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    head.split(|byte| *byte == b'\n').any(begins)
}

/// Whom requests name: with TLS the name that the certificate is for.
pub(super) fn host(target: SocketAddrV4, tls: Option<&Tls>) -> String {
    if tls.is_some() { tls::HOST.to_owned() } else { target.to_string() }
}

pub(super) fn request(path: &str, host: &str, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: serin-bench\r\nAccept: */*\r\n{close}\r\n").into_bytes()
}

/// How many loopback addresses clients come from: a proxy that looks at client addresses shall see some.
const SOURCES: u32 = 64;

pub(super) fn connect(target: SocketAddrV4, flags: SocketFlags) -> io::Result<TcpStream> {
    connect_from(Ipv4Addr::LOCALHOST, target, flags)
}

/// Connects from one of the `SOURCES` addresses behind `base` and a port chosen here: in turn, so that no pair comes again before its
/// last connection is forgotten (a port the kernel chose at bind would be gone for a minute after each connection).
pub(crate) fn connect_from(base: Ipv4Addr, target: SocketAddrV4, flags: SocketFlags) -> io::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: u32 = 27_000;
    let spread = std::process::id().wrapping_mul(7_919);
    for _ in 0..64 {
        let turn = spread.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = Ipv4Addr::from(u32::from(base) + 1 + turn % SOURCES);
        let port = u16::try_from(33_000 + (turn / SOURCES) % PORTS).map_err(io::Error::other)?;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        match rustix::net::bind(&socket, &SocketAddrV4::new(address, port)) {
            Err(rustix::io::Errno::ADDRINUSE) => continue,
            bound => bound?,
        }
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => return Ok(TcpStream::from(socket)),
            Err(rustix::io::Errno::ADDRNOTAVAIL) => {}
            // Not connected and nobody waits for it: shows as a failure when it is written to.
            Err(rustix::io::Errno::CONNREFUSED) if flags.contains(SocketFlags::NONBLOCK) => {
                return Ok(TcpStream::from(socket));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("no free source port"))
}

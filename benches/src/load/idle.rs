//! Connections that are asked one by one, each waited for: a probe, and thousands that then do nothing.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::time::Duration;

use rustix::net::SocketFlags;

use super::connection::{connect, host, request};
use super::http2::{self, Http2};
use super::wire::Wire;
use crate::http::{Framing, Head, status};
use crate::process::Interrupt;
use crate::tls::Tls;

/// What connections are opened, and what each asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub target: SocketAddrV4,
    pub tls: Option<Tls>,
    pub is_http2: bool,
    pub path: &'static str,
    /// Length of the right answer's body.
    pub body: u64,
}

/// No latency is measured here, so a machine that stands still for a moment makes no failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that did one request each and now do nothing.
#[derive(Debug)]
pub struct Idle {
    sessions: Vec<Session>,
    request: Vec<u8>,
    body: u64,
}

impl Idle {
    /// Opens `count` connections, one after another, and sends one request over each.
    ///
    /// # Errors
    /// When a connection or its request fails, or on interruption.
    pub fn open(wanted: &Wanted, count: usize, interrupt: &Interrupt) -> io::Result<Self> {
        let host = host(wanted.target, wanted.tls.as_ref());
        let request = if wanted.is_http2 {
            http2::request(if wanted.tls.is_some() { "https" } else { "http" }, &host, wanted.path)
        } else {
            request(wanted.path, &host, false)
        };
        let mut idle = Self { sessions: Vec::with_capacity(count), request, body: wanted.body };
        for _ in 0..count {
            interrupt.check()?;
            let wire = waiting(wanted.target, wanted.tls.as_ref())?;
            let mut session = if wanted.is_http2 { Session::Http2(Http2::begin(wire)?) } else { Session::Http1(wire) };
            session.exchange(&idle.request, idle.body)?;
            idle.sessions.push(session);
        }
        Ok(idle)
    }

    /// Sends a second request over each connection and says how many fail: a proxy that closed them saved nothing.
    #[must_use]
    pub fn dead(&mut self) -> u64 {
        let (request, body) = (&self.request, self.body);
        self.sessions.iter_mut().filter_map(|session| session.exchange(request, body).err()).count() as u64
    }
}

#[derive(Debug)]
enum Session {
    Http1(Wire),
    Http2(Http2),
}

impl Session {
    fn exchange(&mut self, request: &[u8], body: u64) -> io::Result<()> {
        match self {
            Self::Http1(wire) => exchange(wire, request, body),
            Self::Http2(connection) => connection.exchange(request, body),
        }
    }
}

/// One request over one new connection.
///
/// # Errors
/// When it does not come back with 2xx and the right length.
pub fn probe(target: SocketAddrV4, tls: Option<&Tls>, path: &str, body: u64) -> io::Result<()> {
    exchange(&mut waiting(target, tls)?, &request(path, &host(target, tls), true), body)
}

/// A connection whose reads and writes wait, though not for ever.
fn waiting(target: SocketAddrV4, tls: Option<&Tls>) -> io::Result<Wire> {
    let stream = connect(target, SocketFlags::empty())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Wire::over(stream, tls)
}

fn exchange(wire: &mut Wire, request: &[u8], body: u64) -> io::Result<()> {
    wire.write_all(request)?;
    let mut answer = Vec::with_capacity(2 << 10);
    let mut scratch = [0; 16 << 10];
    loop {
        let bytes = wire.read(&mut scratch)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&scratch[..bytes]);
        let Some(head) = Head::find(&answer) else {
            continue;
        };
        if !(200..300).contains(&status(&answer)) || head.framing != Framing::Length(body) {
            return Err(io::Error::other(format!("answered {}", String::from_utf8_lossy(&answer[..head.len]))));
        }
        if (answer.len() - head.len) as u64 >= body {
            return Ok(());
        }
    }
}

//! What a connection of the load speaks below HTTP: bytes as they are, or TLS.
//!
//! Invariant: on a nonblocking socket a read that says `WouldBlock` has taken all there is; a read that is not full has
//! done so only in clear text, for TLS hands out one record at a time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::{ClientConnection, HandshakeKind, StreamOwned};

use crate::tls::Tls;

#[derive(Debug)]
pub(crate) enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn over(stream: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        Ok(match tls {
            None => Self::Clear(stream),
            Some(tls) => Self::Tls(Box::new(tls.over(stream)?)),
        })
    }

    /// A read of so many bytes into so much room has emptied the socket.
    pub(crate) fn is_empty_after(&self, bytes: usize, room: usize) -> bool {
        matches!(self, Self::Clear(_)) && bytes < room
    }

    /// Its handshake went on with an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Clear(stream) => stream.as_fd(),
            Self::Tls(tls) => tls.sock.as_fd(),
        }
    }
}

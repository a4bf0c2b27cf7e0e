//! The socket while the first message of a handshake comes, of which there is a bounded amount.
//!
//! Whoever reads it keeps what has come until it is whole, and believes the client how long that will be.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{Error, InvalidMessage};

/// A socket from which not much is read.
pub(super) struct First {
    socket: TcpStream,
    /// How much may yet come; the last read may find some more.
    left: usize,
}

impl First {
    pub(super) fn of(socket: TcpStream) -> Self {
        Self { socket, left: MOST }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.socket
    }
}

impl AsyncRead for First {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let error = Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.left = self.left.saturating_sub(buf.filled().len() - before);
        poll
    }
}

impl AsyncWrite for First {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Far more than clients say, with keys of every kind and a ticket that holds certificates, in bytes.
const MOST: usize = 16 << 10;

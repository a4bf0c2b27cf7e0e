//! What carries a client's bytes, and what is asked of it beside reading and writing.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::connect::Stream;

/// A client's connection.
pub(crate) type ClientStream = Stream<TlsStream<TcpStream>>;

impl ClientStream {
    /// The socket, for what is asked of it alone.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Waits until the next read may find something, without a buffer for it.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Tls(stream) = self {
            // A record may have held more than was read of it.
            let state = stream.get_mut().1.process_new_packets();
            if state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0) {
                return Poll::Ready(Ok(()));
            }
        }
        self.socket().poll_read_ready(cx)
    }

    /// Closes the connection. In TLS it is said before, if there is room for that: else the end looks like an attack.
    pub(crate) fn end(mut self) {
        if let Self::Tls(stream) = &mut self {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Whether the client has closed its side or reset the connection, although bytes may be left to read. The runtime
    /// knows from its last look at the sockets; nothing is asked of the system.
    pub(crate) fn has_ended(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        match pin!(self.socket().ready(Interest::READABLE)).poll(&mut nobody) {
            Poll::Ready(ready) => ready.is_ok_and(|ready| ready.is_read_closed()),
            Poll::Pending => false,
        }
    }
}

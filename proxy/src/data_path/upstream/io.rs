//! The socket of an endpoint, counting what comes: after the first byte of a response a request is never repeated.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connect::poll_write_gathered;

/// Bytes received on a connection so far; shared with its lease.
#[derive(Clone, Default)]
pub(crate) struct Received(Rc<Cell<u64>>);

/// A connection to an endpoint.
pub(crate) struct EndpointIo {
    stream: TcpStream,
    received: Received,
}

impl Received {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }
}

impl EndpointIo {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Received::default() }
    }

    pub(crate) fn received(&self) -> Received {
        self.received.clone()
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for EndpointIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len() - before;
        self.received.0.set(self.received.0.get() + count as u64);
        poll
    }
}

impl AsyncWrite for EndpointIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        leave_to_reader(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = poll_write_gathered(&mut self.stream, cx, bufs);
        leave_to_reader(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An endpoint that answers early and closes refuses the rest of the request, and its answer is still to be read.
/// What writing would say, reading says behind that answer: so a refused write waits, and reading goes on.
fn leave_to_reader(poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match poll {
        Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Poll::Pending,
        poll => poll,
    }
}

//! The client's socket as hyper sees it: it reports progress to [`ConnectionState`], can give back bytes that were
//! read before hyper took over, and keeps back what hyper would say by itself to a head it cannot read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::preface::{self, Speaks};
use super::{ClientStream, ConnectionState};
use crate::worker::Clock;

/// A client's socket.
pub(crate) struct ClientIo {
    inner: TokioIo<Watched>,
}

/// Below hyper's adapter, because only there the number of bytes is known without unsafe code.
struct Watched {
    stream: ClientStream,
    /// Read earlier, not yet given to hyper.
    unread: Bytes,
    state: Rc<ConnectionState>,
    clock: Rc<Clock>,
    /// Whether the connection may yet turn out to be one of HTTP/2.
    is_opening: bool,
    /// The status of an answer of hyper's own that was kept back.
    refused: Option<StatusCode>,
}

impl ClientIo {
    pub(crate) fn new(stream: ClientStream, unread: Bytes, state: Rc<ConnectionState>, clock: Rc<Clock>) -> Self {
        // With TLS the handshake says what is spoken (RFC 9113 §3.2).
        let is_opening = !state.has_served() && unread.is_empty() && matches!(stream, ClientStream::Plain(_));
        Self { inner: TokioIo::new(Watched { stream, unread, state, clock, is_opening, refused: None }) }
    }

    /// The status that hyper would have answered a head with that it could not read.
    pub(crate) fn refused(&self) -> Option<StatusCode> {
        self.inner.inner().refused
    }

    /// The socket, and the bytes that were read and not used: what hyper has buffered comes first.
    pub(crate) fn into_parts(self, buffered: Bytes) -> (ClientStream, Bytes) {
        let Watched { stream, unread, .. } = self.inner.into_inner();
        match unread.is_empty() {
            true => (stream, buffered),
            false => (stream, [buffered, unread].concat().into()),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_opening {
            return self.poll_opening(cx, buf);
        }
        if !self.unread.is_empty() {
            self.give_unread(buf);
            return Poll::Ready(Ok(()));
        }
        self.poll_socket(cx, buf)
    }
}

impl Watched {
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.state.received(self.clock.now_ms());
        }
        self.state.reads(poll.is_pending());
        poll
    }

    fn give_unread(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..count]);
        self.unread.advance(count);
    }

    /// The first bytes of the connection. Those of HTTP/1 go on to hyper as they came; what begins like HTTP/2 is kept
    /// until it is known. If it is HTTP/2, hyper's HTTP/1 gets nothing and whoever polls it finds that in the state.
    fn poll_opening(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let before = buf.filled().len();
            let poll = self.poll_socket(cx, buf);
            let came = &buf.filled()[before..];
            match (poll.is_pending(), came.is_empty()) {
                (true, _) => return poll,
                // The end: what was kept was the beginning of nothing.
                (false, true) => self.is_opening = false,
                (false, false) if self.unread.is_empty() && preface::of(came) == Speaks::Http1 => {
                    self.is_opening = false;
                    return poll;
                }
                (false, false) => {
                    self.unread = [&self.unread, came].concat().into();
                    buf.set_filled(before);
                    match preface::of(&self.unread) {
                        Speaks::Unclear => continue,
                        Speaks::Http1 => self.is_opening = false,
                        Speaks::Http2 => {
                            self.is_opening = false;
                            self.state.turned_http2();
                            return Poll::Pending;
                        }
                    }
                }
            }
            self.give_unread(buf);
            return poll;
        }
    }

    fn watch_write(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.write_blocked(poll.is_pending(), self.clock.now_ms());
        if poll.is_pending() {
            self.look()?;
        }
        poll
    }

    /// Fails if the sweep wants to know whether the client is still there, and it is not.
    fn look(&self) -> io::Result<()> {
        match self.state.take_look() && self.stream.has_ended() {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// Nobody awaits an answer, so this one is hyper's own; it is taken and not sent.
    fn keep_back(&mut self, answer: &[u8], length: usize) -> Poll<io::Result<usize>> {
        let digits = answer.get("HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
        self.refused = digits.and_then(|digits| StatusCode::from_bytes(digits).ok());
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.state.owes_answer() {
            return self.keep_back(buf, buf.len());
        }
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch_write(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.owes_answer() {
            let first = bufs.first().map_or(&[][..], |buf| buf);
            return self.keep_back(first, bufs.iter().map(|buf| buf.len()).sum());
        }
        let poll = self.stream.poll_write_gathered(cx, bufs);
        self.watch_write(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes more than the socket has room for.
        let is_blocked = Pin::new(&mut self.stream).poll_flush(cx)?.is_pending();
        self.state.write_blocked(is_blocked, self.clock.now_ms());
        self.look()?;
        if is_blocked {
            return Poll::Pending;
        }
        self.state.all_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.refused {
            // The answer in the place of the one kept back is still to come.
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}

impl Read for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

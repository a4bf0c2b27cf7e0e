//! The socket of an endpoint. It counts what comes, because after the first byte of a response a request is never
//! repeated and interim answers must end, and it keeps the head it writes, so that until then the request can be.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::interim::{Interim, TooMany};
use crate::connect::EndpointStream;
use crate::data_path::read_budget::ReadBudget;
use crate::snapshot::TlsFailure;

/// What went over a connection; shared with its lease.
#[derive(Default)]
pub(crate) struct Wire {
    received: Cell<u64>,
    interim: Cell<Interim>,
    keeps_sent: Cell<bool>,
    sent: RefCell<Sent>,
    /// Who waits for the next bytes, apart from hyper.
    waker: Cell<Option<Waker>>,
    /// What the endpoint has said to the handshake after that was over here.
    refusal: Cell<Option<Box<TlsFailure>>>,
}

/// What was written, and behind it what the kernel has not taken yet.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    taken: usize,
}

/// A connection to an endpoint.
pub(crate) struct EndpointIo {
    stream: EndpointStream,
    wire: Rc<Wire>,
    read_budget: ReadBudget,
    /// Whether a refused write waits for what is still to be read.
    waits_for_reader: bool,
}

impl Wire {
    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// A request is about to be sent. If it may have to be sent again, what is written is kept; only for requests
    /// without a body, since a head has a limit.
    pub(crate) fn expect_answer(&self, keep_sent: bool) {
        self.interim.set(Interim::expected());
        self.keeps_sent.set(keep_sent);
    }

    /// The answer has begun: the request is not sent again.
    pub(crate) fn answered(&self) {
        self.keeps_sent.set(false);
        let mut sent = self.sent.borrow_mut();
        sent.bytes.clear();
        sent.bytes.shrink_to(LARGE_HEAD);
        sent.taken = 0;
    }

    /// What was to be written since then.
    pub(crate) fn sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.sent.borrow_mut().bytes)
    }

    /// What the endpoint has said to the handshake, if it did so in place of the first byte.
    pub(super) fn refusal(&self) -> Option<Box<TlsFailure>> {
        self.refusal.take().filter(|_| self.received.get() == 0)
    }

    /// Wakes somebody once more bytes have come, and hyper has seen them.
    pub(super) fn wake_with_bytes(&self, waker: &Waker) {
        self.waker.set(Some(waker.clone()));
    }

    fn failed(&self, read: &Poll<io::Result<()>>, stream: &EndpointStream) {
        if let Poll::Ready(Err(error)) = read
            && let Some(refusal) = stream.refusal(error)
        {
            self.refusal.set(Some(Box::new(refusal)));
        }
    }

    fn came(&self, bytes: &[u8]) -> io::Result<()> {
        self.received.set(self.received.get() + bytes.len() as u64);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        let mut interim = self.interim.get();
        let looked = interim.look(bytes);
        self.interim.set(interim);
        looked.map_err(|TooMany| io::Error::new(io::ErrorKind::InvalidData, "too many interim answers"))
    }

    fn writes<'b>(&self, bufs: impl Iterator<Item = &'b [u8]>, poll: &Poll<io::Result<usize>>) {
        if !self.keeps_sent.get() {
            return;
        }
        let mut sent = self.sent.borrow_mut();
        let taken = sent.taken;
        sent.bytes.truncate(taken);
        bufs.for_each(|buf| sent.bytes.extend_from_slice(buf));
        if let Poll::Ready(Ok(count)) = poll {
            sent.taken += count;
        }
    }
}

impl EndpointIo {
    /// Of HTTP/1.
    pub(crate) fn new(stream: EndpointStream, read_budget: &ReadBudget) -> Self {
        Self { stream, wire: Rc::default(), read_budget: read_budget.clone(), waits_for_reader: true }
    }

    /// Of HTTP/2, whose driver reads all there is before it writes, and once it has said farewell no more.
    pub(crate) fn shared(stream: EndpointStream, read_budget: &ReadBudget) -> Self {
        Self { waits_for_reader: false, ..Self::new(stream, read_budget) }
    }

    pub(crate) fn wire(&self) -> Rc<Wire> {
        Rc::clone(&self.wire)
    }

    /// An endpoint that answers early and closes refuses the rest of the request, and its answer is still to be read.
    /// What writing would say, reading says behind that answer: so a refused write waits, and reading goes on.
    fn written<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        // What is refused in place of the first byte may be the handshake, and reading says why.
        let waits = self.waits_for_reader || self.stream.is_secure() && self.wire.received() == 0;
        match poll {
            Poll::Ready(Err(error)) if waits && matches!(error.kind(), BrokenPipe | ConnectionReset) => Poll::Pending,
            poll => poll,
        }
    }

    pub(crate) fn into_stream(self) -> EndpointStream {
        self.stream
    }
}

impl AsyncRead for EndpointIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let most = self.read_budget.each() as u64;
        let poll = Pin::new(&mut (&mut self.stream).take(most)).poll_read(cx, buf);
        self.wire.failed(&poll, &self.stream);
        self.wire.came(&buf.filled()[before..])?;
        poll
    }
}

impl AsyncWrite for EndpointIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wire.writes([buf].into_iter(), &poll);
        self.written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = self.stream.poll_write_gathered(cx, bufs);
        self.wire.writes(bufs.iter().map(|buf| &**buf), &poll);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes more than the socket has room for, and writes the rest here.
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The memory a kept connection holds on to for heads, in bytes.
const LARGE_HEAD: usize = 2 << 10;

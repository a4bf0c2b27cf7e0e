//! The client's stream as hyper sees it with HTTP/2: it reports progress to [`ConnectionState`], has every frame
//! counted, and stays ours when hyper is done with it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::ConnectionState;
use super::meter::{Farewell, Meter};
use crate::worker::Clock;

/// What hyper and whoever comes after it share.
pub(super) struct Wire<S> {
    stream: RefCell<S>,
    meter: RefCell<Meter>,
    state: Rc<ConnectionState>,
    clock: Rc<Clock>,
}

/// Hyper's end of it.
pub(super) struct WireIo<S> {
    wire: Rc<Wire<S>>,
    /// Read earlier, not yet given to hyper.
    unread: Bytes,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, meter: Meter, state: &Rc<ConnectionState>, clock: &Rc<Clock>) -> Self {
        let (state, clock) = (Rc::clone(state), Rc::clone(clock));
        Self { stream: RefCell::new(stream), meter: RefCell::new(meter), state, clock }
    }

    pub(super) fn io(wire: &Rc<Self>, unread: Bytes) -> TokioIo<WireIo<S>> {
        TokioIo::new(WireIo { wire: Rc::clone(wire), unread })
    }

    /// The stream, and what can be said at its end.
    pub(super) fn into_parts(self) -> (S, Farewell) {
        (self.stream.into_inner(), self.meter.into_inner().farewell())
    }

    /// Bytes came. If there are too many frames of a kind among them, hyper gets none, and whoever polls it finds that
    /// in the state.
    fn count_received(&self, came: &[u8]) -> bool {
        let now_ms = self.clock.now_ms();
        let mut meter = self.meter.borrow_mut();
        let excess = meter.received(came, now_ms).err();
        self.state.is_within_head(meter.is_within_head(), now_ms);
        if let Some(excess) = excess {
            self.state.exceeds(excess);
        }
        excess.is_none()
    }

    fn count_sent(&self, bufs: &[IoSlice<'_>], poll: &Poll<io::Result<usize>>) {
        let now_ms = self.clock.now_ms();
        self.state.write_blocked(poll.is_pending(), now_ms);
        let Poll::Ready(Ok(mut count)) = *poll else { return };
        let mut meter = self.meter.borrow_mut();
        let data_before = meter.data_frames_sent();
        for buf in bufs {
            let sent = count.min(buf.len());
            if let Err(excess) = meter.sent(&buf[..sent], now_ms) {
                self.state.exceeds(excess);
            }
            count -= sent;
        }
        if meter.data_frames_sent() != data_before {
            self.state.answer_moves(now_ms);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WireIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.wire.state.excess().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.unread.is_empty() {
            let poll = Pin::new(&mut *self.wire.stream.borrow_mut()).poll_read(cx, buf);
            if !matches!(poll, Poll::Ready(Ok(()))) {
                return poll;
            }
        } else {
            let count = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..count]);
            self.unread.advance(count);
        }
        match self.wire.count_received(&buf.filled()[before..]) {
            true => Poll::Ready(Ok(())),
            false => {
                buf.set_filled(before);
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WireIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut *self.wire.stream.borrow_mut()).poll_write(cx, buf);
        self.wire.count_sent(&[IoSlice::new(buf)], &poll);
        poll
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut *self.wire.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        self.wire.count_sent(bufs, &poll);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut *self.wire.stream.borrow_mut()).poll_flush(cx);
        // TLS takes more than the socket has room for, so a write went through although nothing leaves.
        self.wire.state.write_blocked(poll.is_pending(), self.wire.clock.now_ms());
        if poll.is_ready() {
            self.wire.state.all_written();
        }
        poll
    }

    /// Left to whoever has the stream then.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::data_path::headers::ForwardingFacts;
    use crate::data_path::listener::{ClientPlace, ListenerContext, PerClient};
    use crate::telemetry::counters::WorkerCounters;

    /// Takes everything, as TLS does for a while, and lets nothing leave.
    struct Full;

    impl AsyncRead for Full {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn what_is_taken_and_does_not_leave_is_blocked() {
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = Rc::new(ListenerContext::closed("web".into(), (peer, 443).into(), Arc::default()));
        let place = ClientPlace::take(&Arc::new(PerClient::new(1, 1)), peer, true).expect("there is room");
        let forwarding = ForwardingFacts::new(peer, 443, "https");
        let counters = Arc::new(WorkerCounters::default());
        let state = Rc::new(ConnectionState::new(peer, forwarding, &listener, place, &counters, 0));
        let wire = Rc::new(Wire::new(Full, Meter::of(None), &state, &Rc::new(Clock::new())));
        let mut io = WireIo { wire, unread: Bytes::new() };
        let mut cx = Context::from_waker(Waker::noop());
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert!(Pin::new(&mut io).poll_write(&mut cx, &settings).is_ready());
        assert_eq!(state.write_blocked_since_ms(), None);
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_pending());
        assert!(state.write_blocked_since_ms().is_some());
    }
}

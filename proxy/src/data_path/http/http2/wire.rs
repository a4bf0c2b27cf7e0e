//! The client's stream as hyper sees it with HTTP/2: it reports progress to [`ConnectionState`], has every frame
//! counted, gathers what is written in a turn, and stays ours when hyper is done with it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::ConnectionState;
use super::gathered::Gathered;
use super::meter::{Farewell, Meter};
use crate::worker::Clock;

/// What hyper and whoever comes after it share.
pub(super) struct Wire<S> {
    stream: RefCell<S>,
    gathered: RefCell<Gathered>,
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
        let (stream, meter) = (RefCell::new(stream), RefCell::new(meter));
        Self { stream, gathered: RefCell::default(), meter, state, clock }
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

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Gives the stream all that was written in this turn. Hyper takes it for written: so this ends each turn.
    pub(super) fn poll_end_turn(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered.borrow_mut();
        while !gathered.left().is_empty() {
            ready!(self.poll_give(cx, &mut gathered, &[]))?;
        }
        let poll = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        // TLS takes more than the socket has room for, so a write went through although nothing leaves.
        self.state.write_blocked(poll.is_pending(), self.clock.now_ms());
        if poll.is_ready() {
            self.state.all_written();
        }
        poll
    }

    /// Keeps what is to be written, or gives it to the stream if it is much.
    fn poll_take(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut gathered = self.gathered.borrow_mut();
        while !gathered.keep(bufs) {
            let taken = ready!(self.poll_give(cx, &mut gathered, bufs))?;
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    /// Gives the stream what is gathered, and `more` behind it. Returns how much it took of the latter.
    fn poll_give(
        &self,
        cx: &mut Context<'_>,
        gathered: &mut Gathered,
        more: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let more = &more[..more.len().min(MOST_BUFS)];
        let mut bufs = [IoSlice::new(&[]); 1 + MOST_BUFS];
        bufs[0] = IoSlice::new(gathered.left());
        bufs[1..=more.len()].copy_from_slice(more);
        let bufs = &bufs[usize::from(gathered.left().is_empty())..=more.len()];
        let mut stream = self.stream.borrow_mut();
        let poll = match bufs {
            [one] => Pin::new(&mut *stream).poll_write(cx, one),
            many => Pin::new(&mut *stream).poll_write_vectored(cx, many),
        };
        self.count_sent(bufs, &poll);
        let taken = ready!(poll)?;
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_gathered = taken.min(gathered.left().len());
        gathered.advance(of_gathered);
        Poll::Ready(Ok(taken - of_gathered))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WireIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes behind every part of an answer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Left to whoever has the stream then.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_end_turn(cx)
    }
}

/// Pieces that are written at once; h2 gives two or three.
const MOST_BUFS: usize = 7;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::connect::Ends;
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

    /// Takes so many bytes at once, and keeps what was written each time.
    struct Narrow {
        width: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let count = buf.len().min(self.width);
            self.writes.push(buf[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn wire_over<S>(stream: S) -> Wire<S> {
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = Rc::new(ListenerContext::closed("web".into(), (peer, 443).into(), Arc::default()));
        let ends = Ends::new((peer, 4711).into(), (peer, 443).into());
        let place = ClientPlace::take(&Arc::new(PerClient::new(1, 1)), peer, true).expect("there is room");
        let forwarding = ForwardingFacts::new(peer, 443, "https");
        let counters = Arc::new(WorkerCounters::default());
        let state = Rc::new(ConnectionState::new(ends, forwarding, &listener, place, &counters, 0));
        Wire::new(stream, Meter::of(None), &state, &Rc::new(Clock::new()))
    }

    /// A frame with a part of an answer.
    fn data(length: usize) -> Vec<u8> {
        let mut frame = vec![b'x'; 9 + length];
        frame[..3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        frame[3..9].copy_from_slice(&[0, 0, 0, 0, 0, 1]);
        frame
    }

    #[test]
    fn what_is_small_is_written_once_a_turn() {
        let wire = Rc::new(wire_over(Narrow { width: usize::MAX, writes: Vec::new() }));
        let mut io = WireIo { wire: Rc::clone(&wire), unread: Bytes::new() };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let (head, body) = (data(1_000), data(500));
            let bufs = [IoSlice::new(&head), IoSlice::new(&body)];
            assert!(matches!(Pin::new(&mut io).poll_write_vectored(&mut cx, &bufs), Poll::Ready(Ok(1_518))));
            assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        }
        assert!(wire.stream.borrow().writes.is_empty());
        assert!(wire.poll_end_turn(&mut cx).is_ready());
        assert_eq!(wire.stream.borrow().writes, [[data(1_000), data(500)].concat().repeat(3)]);
    }

    #[test]
    fn nothing_is_lost_or_changes_places() {
        let mut cx = Context::from_waker(Waker::noop());
        for width in [1, 7, 1_000, 16_384, 20_000, 70_000] {
            let wire = Rc::new(wire_over(Narrow { width, writes: Vec::new() }));
            let mut io = WireIo { wire: Rc::clone(&wire), unread: Bytes::new() };
            let mut all = Vec::new();
            for (turn, length) in [10, 16_384, 300, 40, 16_000, 390, 0, 16_384, 16_384].into_iter().enumerate() {
                let (head, body) = (data(turn), data(length));
                let mut written = 0;
                while written < head.len() + body.len() {
                    let (head, body) = (&head[written.min(head.len())..], &body[written.saturating_sub(head.len())..]);
                    let bufs = [IoSlice::new(head), IoSlice::new(body)];
                    let Poll::Ready(Ok(count)) = Pin::new(&mut io).poll_write_vectored(&mut cx, &bufs) else {
                        panic!("it takes something");
                    };
                    written += count;
                }
                all.extend([head, body].concat());
                if turn % 4 == 3 {
                    assert!(wire.poll_end_turn(&mut cx).is_ready());
                    assert_eq!(wire.stream.borrow().writes.concat(), all, "{width}");
                }
            }
            assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
            assert_eq!(wire.stream.borrow().writes.concat(), all, "{width}");
            assert_eq!(wire.meter.borrow().data_frames_sent(), 18, "{width}");
        }
    }

    #[test]
    fn what_is_taken_and_does_not_leave_is_blocked() {
        let wire = Rc::new(wire_over(Full));
        let state = Rc::clone(&wire.state);
        let mut io = WireIo { wire, unread: Bytes::new() };
        let mut cx = Context::from_waker(Waker::noop());
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert!(Pin::new(&mut io).poll_write(&mut cx, &settings).is_ready());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        assert_eq!(state.write_blocked_since_ms(), None);
        assert!(io.wire.poll_end_turn(&mut cx).is_pending());
        assert!(state.write_blocked_since_ms().is_some());
    }
}

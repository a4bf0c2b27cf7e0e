//! What the sweep, the socket and the request know of one connection. All of them live on one thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use http::Version;

use super::super::headers::ForwardingFacts;
use super::super::listener::{ClientPlace, ListenerContext};
use super::super::request::Exchange;
use super::super::tls::Secured;
use super::super::tunnel::PendingTunnel;
use super::http2::Excess;
use crate::connect::Ends;
use crate::telemetry::counters::WorkerCounters;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client speaks TLS, and has said nothing yet.
    Hello,
    /// The client has said what it wants, and keys are agreed on.
    Handshake,
    /// A request head is coming: since its first byte. Not with HTTP/2.
    Head,
    /// A request is being served; with HTTP/2 at least one.
    Busy,
    /// Between requests.
    Idle,
    /// Between requests and out of hyper.
    Parked,
    /// Upgraded: bytes are passed on as they are.
    Tunnel,
}

/// What the sweep asks of a connection's task, by growing weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// See whether the client is still there.
    Look,
    /// Leave hyper and wait with the socket alone.
    Park,
    /// Answer 408 and close: the head did not come in time. With HTTP/2, which has requests beside it, or in a handshake only
    /// close.
    RefuseHead,
    /// Close after the request in flight, now if there is none.
    Drain,
    /// Close without an answer: idle for too long, or it does not read what it asked for.
    Close,
}

/// One connection of a client.
pub(crate) struct ConnectionState {
    /// Lasts as long as the connection, or somebody still acts for its client.
    ends: Rc<Ends>,
    pub(crate) forwarding: ForwardingFacts,
    pub(crate) listener: Rc<ListenerContext>,
    /// Whether the client speaks TLS with us, and not with a load balancer.
    is_encrypted: Cell<bool>,
    secured: OnceCell<Box<Secured>>,
    phase: Cell<Phase>,
    since_ms: Cell<u64>,
    /// When a write first found the socket full, until one succeeds; 0 = not blocked.
    write_blocked: Since,
    /// Whether hyper waits for bytes, and so will see the end of the connection by itself.
    is_reading: Cell<bool>,
    /// Whether the socket is to be asked instead.
    looks: Cell<bool>,
    order: Cell<Option<Order>>,
    draining: Cell<bool>,
    /// An HTTP/2 client was told that its connection ends.
    is_told: Cell<bool>,
    unread_body: Cell<bool>,
    has_served: Cell<bool>,
    owes_answer: Cell<bool>,
    speaks_http10: Cell<bool>,
    /// Set once its preface is known.
    is_http2: Cell<bool>,
    /// Requests under way; more than one with HTTP/2 only.
    exchanges: Cell<u32>,
    /// The request that began last and has no task yet, with HTTP/2.
    newest: RefCell<Weak<Exchange>>,
    /// Since when an HTTP/2 client is in the middle of a head; 0 if it is not.
    within_head: Since,
    excess: Cell<Option<Excess>>,
    waker: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<PendingTunnel>>,
    counters: Arc<WorkerCounters>,
    /// Nothing once the connection is served elsewhere, where it is counted, too.
    place: RefCell<Option<ClientPlace>>,
}

impl ConnectionState {
    /// A connection that was counted as open. Its end is counted, too.
    pub(crate) fn new(
        ends: Ends,
        forwarding: ForwardingFacts,
        listener: &Rc<ListenerContext>,
        place: ClientPlace,
        counters: &Arc<WorkerCounters>,
        now_ms: u64,
    ) -> Self {
        Self {
            ends: Rc::new(ends),
            forwarding,
            listener: Rc::clone(listener),
            is_encrypted: Cell::new(false),
            secured: OnceCell::new(),
            // Browsers open connections ahead of need: until a byte comes, a connection is merely idle.
            phase: Cell::new(Phase::Idle),
            since_ms: Cell::new(now_ms),
            write_blocked: Since::default(),
            is_reading: Cell::new(false),
            looks: Cell::new(false),
            order: Cell::new(None),
            draining: Cell::new(false),
            is_told: Cell::new(false),
            unread_body: Cell::new(false),
            has_served: Cell::new(false),
            owes_answer: Cell::new(false),
            speaks_http10: Cell::new(false),
            is_http2: Cell::new(false),
            exchanges: Cell::new(0),
            newest: RefCell::default(),
            within_head: Since::default(),
            excess: Cell::new(None),
            waker: RefCell::new(None),
            tunnel: RefCell::new(None),
            counters: Arc::clone(counters),
            place: RefCell::new(Some(place)),
        }
    }

    /// Who is connected to us, or to the load balancer that says so.
    pub(crate) fn peer(&self) -> IpAddr {
        self.ends.client()
    }

    /// From where to where it is.
    pub(crate) fn ends(&self) -> &Rc<Ends> {
        &self.ends
    }

    pub(crate) fn enter(&self, phase: Phase, now_ms: u64) {
        self.phase.set(phase);
        self.since_ms.set(now_ms);
    }

    /// A handshake begins. Its time runs from the beginning of the connection on.
    pub(crate) fn begins_handshake(&self) {
        self.is_encrypted.set(true);
        self.phase.set(Phase::Hello);
    }

    /// The client has said which host it wants.
    pub(crate) fn said_hello(&self) {
        self.is_encrypted.set(true);
        self.phase.set(Phase::Handshake);
    }

    /// Whether a handshake has begun.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.is_encrypted.get()
    }

    /// The handshake is over.
    pub(crate) fn is_secured(&self, secured: Secured) {
        let _ = self.secured.set(Box::new(secured));
    }

    /// What is known of an encrypted connection.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        self.secured.get().map(|secured| &**secured)
    }

    /// Whether the client speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.forwarding.is_secure()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Since when the phase lasts, on the worker's clock.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// Bytes came from the client.
    pub(crate) fn received(&self, now_ms: u64) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head, now_ms);
        }
    }

    /// A read found nothing and waits (`true`) or not.
    pub(crate) fn reads(&self, waits: bool) {
        self.is_reading.set(waits);
    }

    /// Whether somebody waits for bytes of the client.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading.get()
    }

    /// The socket is to be asked, once, whether the client is still there.
    pub(crate) fn look(&self) {
        self.looks.set(true);
    }

    pub(crate) fn take_look(&self) -> bool {
        self.looks.replace(false)
    }

    /// A write went through (`false`) or found the socket full (`true`).
    pub(crate) fn write_blocked(&self, blocked: bool, now_ms: u64) {
        self.write_blocked.note(blocked, now_ms);
    }

    /// When the socket became full, if it is.
    pub(crate) fn write_blocked_since_ms(&self) -> Option<u64> {
        self.write_blocked.ms()
    }

    /// A request began, of this version.
    pub(crate) fn serves(&self, exchange: &Rc<Exchange>, version: Version, now_ms: u64) {
        self.enter(Phase::Busy, now_ms);
        self.exchanges.set(self.exchanges.get() + 1);
        self.with_place(ClientPlace::begins_request);
        if self.is_http2() {
            *self.newest.borrow_mut() = Rc::downgrade(exchange);
        }
        self.has_served.set(true);
        self.owes_answer.set(true);
        self.speaks_http10.set(version == Version::HTTP_10);
    }

    /// A request is over, and read to its end or not.
    pub(crate) fn has_answered(&self, is_request_complete: bool, now_ms: u64) {
        self.exchanges.set(self.exchanges.get().saturating_sub(1));
        self.with_place(ClientPlace::ends_request);
        // Behind an unfinished body of HTTP/1 there is no next request to wait for: the connection is about to end.
        let goes_on = is_request_complete || self.is_http2();
        if self.phase() == Phase::Busy && self.exchanges.get() == 0 && goes_on {
            self.enter(Phase::Idle, now_ms);
        }
    }

    /// Whether the client has more than its share of requests under way.
    pub(crate) fn is_client_full(&self) -> bool {
        self.with_place(ClientPlace::is_full).unwrap_or(false)
    }

    fn with_place<T>(&self, act: impl FnOnce(&ClientPlace) -> T) -> Option<T> {
        self.place.borrow().as_ref().map(act)
    }

    /// The request that began last, for whoever gives it its task.
    pub(crate) fn take_newest(&self) -> Option<Rc<Exchange>> {
        self.newest.take().upgrade()
    }

    /// The client began with the preface of HTTP/2.
    pub(crate) fn turned_http2(&self) {
        self.is_http2.set(true);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.get()
    }

    /// An HTTP/2 client is in the middle of a head, or not.
    pub(crate) fn is_within_head(&self, is_within: bool, now_ms: u64) {
        self.within_head.note(is_within, now_ms);
    }

    /// Since when it is, if it is.
    pub(crate) fn within_head_since_ms(&self) -> Option<u64> {
        self.within_head.ms()
    }

    /// The client sent more of something than it may.
    pub(crate) fn exceeds(&self, excess: Excess) {
        self.excess.set(Some(excess));
    }

    /// What it sent too much of, if it did.
    pub(crate) fn excess(&self) -> Option<Excess> {
        self.excess.get()
    }

    /// Bytes of an answer left. Those of HTTP/2 may do so when the request is over already: until then nothing is idle.
    pub(crate) fn answer_moves(&self, now_ms: u64) {
        if self.phase() == Phase::Idle {
            self.since_ms.set(now_ms);
        }
    }

    /// The connection goes on at another worker, which counts its end.
    pub(crate) fn leave(&self) -> Option<ClientPlace> {
        self.place.take()
    }

    /// Whether a request awaits its answer, or the end of it.
    pub(crate) fn owes_answer(&self) -> bool {
        self.owes_answer.get()
    }

    /// Everything there is to write has been written.
    pub(crate) fn all_written(&self) {
        if self.phase.get() != Phase::Busy {
            self.owes_answer.set(false);
        }
    }

    /// Whether a request has begun on this connection.
    pub(crate) fn has_served(&self) -> bool {
        self.has_served.get()
    }

    /// Whether the last request was HTTP/1.0.
    pub(crate) fn speaks_http10(&self) -> bool {
        self.speaks_http10.get()
    }

    /// Leaves an order and wakes the connection's task. A weightier order that waits already stays.
    pub(crate) fn order(&self, order: Order) {
        if order == Order::Drain {
            self.draining.set(true);
        }
        self.order.set(self.order.get().max(Some(order)));
        self.wake();
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        self.order.take()
    }

    /// Waits for an order to close.
    pub(crate) async fn ordered_to_close(&self) {
        std::future::poll_fn(|cx| {
            self.keep_waker(cx.waker());
            match self.take_order() {
                Some(Order::Close) => std::task::Poll::Ready(()),
                _ => std::task::Poll::Pending,
            }
        })
        .await;
    }

    /// Whether the next response must close the connection, and say so.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get() || self.listener.is_closing()
    }

    /// The client is told that its connection ends, and has from now on to hear of it.
    pub(crate) fn tells(&self, now_ms: u64) {
        self.is_told.set(true);
        self.answer_moves(now_ms);
    }

    /// Whether the client of an HTTP/2 connection was told that it ends.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.get()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// The client's body was not read to its end, so its bytes may still be on the way.
    pub(crate) fn leave_body_unread(&self) {
        self.unread_body.set(true);
    }

    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.get()
    }

    /// What follows the 101 on this connection.
    pub(crate) fn set_tunnel(&self, tunnel: PendingTunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<PendingTunnel> {
        self.tunnel.borrow_mut().take()
    }
}

/// Since when something lasts; 0 if it does not.
#[derive(Default)]
struct Since(Cell<u64>);

impl Since {
    /// It is so at this moment, on the worker's clock, or not.
    fn note(&self, is_so: bool, now_ms: u64) {
        match is_so {
            true if self.0.get() == 0 => self.0.set(now_ms.max(1)),
            true => {}
            false => self.0.set(0),
        }
    }

    fn ms(&self) -> Option<u64> {
        Some(self.0.get()).filter(|&since| since > 0)
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        if self.place.take().is_some() {
            self.counters.connection_closed();
        }
    }
}

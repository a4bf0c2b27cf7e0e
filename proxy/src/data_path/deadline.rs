//! Time limits without timers: a worker's sweep looks at every request in flight 20 times a second and at every
//! connection four times a second.
//!
//! A timer per connection or request would have to be set and cleared for every request; the sweep costs nothing
//! where nothing is late. Limits are kept to within one sweep, which is fine for limits of a second and more.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::http::{ConnectionState, Order, Phase};
use super::request::Exchange;

/// Everything of one kind that the sweep must look at.
pub(crate) struct Registry<T> {
    entries: Rc<RefCell<Slab<Rc<T>>>>,
}

/// Membership in a [`Registry`]; ends when dropped.
pub(crate) struct Registered<T> {
    entries: Rc<RefCell<Slab<Rc<T>>>>,
    key: usize,
}

impl<T> Registry<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Rc::default() }
    }

    pub(crate) fn insert(&self, entry: Rc<T>) -> Registered<T> {
        let key = self.entries.borrow_mut().insert(entry);
        Registered { entries: Rc::clone(&self.entries), key }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    pub(crate) fn for_each(&self, mut look: impl FnMut(&T)) {
        for (_, entry) in self.entries.borrow().iter() {
            look(entry);
        }
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        self.entries.borrow_mut().try_remove(self.key);
    }
}

/// Time limits of a connection, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From the beginning of a connection to the end of its handshake.
    pub handshake_ms: u64,
    /// From the first byte of a head to its end.
    pub head_ms: u64,
    /// Between requests.
    pub idle_ms: u64,
    /// Idle time after which a connection is parked.
    pub park_ms: u64,
    /// With the client reading nothing of what was written.
    pub write_stall_ms: u64,
    /// With an HTTP/2 client reading less than a piece of one response.
    pub stream_stall_ms: u64,
    /// With an HTTP/2 client that was told that its connection ends, and has neither answered nor a request under way.
    pub farewell_ms: u64,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            handshake_ms: 10_000,
            head_ms: 10_000,
            idle_ms: 75_000,
            park_ms: 1_000,
            write_stall_ms: 60_000,
            stream_stall_ms: 30_000,
            farewell_ms: 5_000,
        }
    }
}

/// What a connection should do now, if anything.
pub(crate) fn look_at_connection(state: &ConnectionState, limits: &ConnectionLimits, now_ms: u64) -> Option<Order> {
    let lasted = now_ms.saturating_sub(state.since_ms());
    let blocked = state.write_blocked_since_ms().map(|since| now_ms.saturating_sub(since));
    if blocked.is_some_and(|blocked| blocked >= limits.write_stall_ms) {
        return Some(Order::Close);
    }
    if state.is_http2() {
        return look_at_http2(state, limits, now_ms);
    }
    match state.phase() {
        // With requests waiting behind this one, or a body that nobody takes, hyper does not read, and would not see
        // that the client has gone.
        Phase::Busy if lasted >= LOOK_AFTER_MS && !state.is_reading() => Some(Order::Look),
        _ if blocked.is_some() => None,
        Phase::Hello | Phase::Handshake => (lasted >= limits.handshake_ms).then_some(Order::RefuseHead),
        Phase::Head => (lasted >= limits.head_ms).then_some(Order::RefuseHead),
        Phase::Idle => (lasted >= limits.park_ms).then_some(Order::Park),
        Phase::Parked => (lasted >= limits.idle_ms).then_some(Order::Close),
        // The request and the tunnel have limits of their own.
        Phase::Busy | Phase::Tunnel => None,
    }
}

/// An HTTP/2 connection always reads, so that it sees its client go. It is told before it is closed, and may still get requests
/// that were on their way then.
fn look_at_http2(state: &ConnectionState, limits: &ConnectionLimits, now_ms: u64) -> Option<Order> {
    let within_head = state.within_head_since_ms().map(|since| now_ms.saturating_sub(since));
    if within_head.is_some_and(|lasted| lasted >= limits.head_ms) {
        return Some(Order::RefuseHead);
    }
    // The end of an answer may still wait for a client that reads slowly.
    if state.phase() != Phase::Idle || state.write_blocked_since_ms().is_some() {
        return None;
    }
    let lasted = now_ms.saturating_sub(state.since_ms());
    match state.is_told() {
        true => (lasted >= limits.farewell_ms).then_some(Order::Close),
        false => (lasted >= limits.idle_ms).then_some(Order::Drain),
    }
}

/// One sweep over the connections.
pub(crate) fn sweep_connections(connections: &Registry<ConnectionState>, limits: &ConnectionLimits, now_ms: u64) {
    connections.for_each(|state| {
        if let Some(order) = look_at_connection(state, limits, now_ms) {
            state.order(order);
        }
    });
}

/// One sweep over the requests in flight.
pub(crate) fn sweep_exchanges(exchanges: &Registry<Exchange>, limits: &ConnectionLimits, now_ms: u64) {
    exchanges.for_each(|exchange| exchange.expire_if_late(limits, now_ms));
}

/// A request under way for so long is worth a look whether its client is still there.
const LOOK_AFTER_MS: u64 = 250;

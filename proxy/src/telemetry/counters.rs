//! What one worker counts about clients and requests. Only that worker writes; see
//! [`crate::snapshot::EndpointCounters`] for why that costs nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::data_path::error::RequestError;
use crate::data_path::http::http2::Excess;
use crate::data_path::listener::proxy_protocol::Refused;
use crate::data_path::tls::HandshakeEnd;
use crate::snapshot::{Ended, Tally, TallyTotals, add};

/// The counters of one worker.
#[derive(Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_parked: AtomicU64,
    connection_limit: AtomicU64,
    client_limit: AtomicU64,
    accept_errors: AtomicU64,
    unannounced: [AtomicU64; Refused::ALL.len()],
    head_timeouts: AtomicU64,
    requests_began: AtomicU64,
    requests_ended: AtomicU64,
    tally: Tally,
    errors: ByError<AtomicU64>,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    http2_connections: AtomicU64,
    excesses: [AtomicU64; Excess::ALL.len()],
    streams_stalled: AtomicU64,
    not_compressed: AtomicU64,
    handshakes: [AtomicU64; HandshakeEnd::ALL.len()],
    tunnels_opened: AtomicU64,
    tunnels_closed: AtomicU64,
    tunnels_idle: AtomicU64,
}

/// Something for each reason why a request is not served, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct ByError<T>(pub [T; RequestError::ALL.len()]);

impl<T: Default> Default for ByError<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

/// The sum over workers at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Connections accepted.
    pub connections_opened: u64,
    /// Connections closed.
    pub connections_closed: u64,
    /// Connections that are parked now.
    pub connections_parked: u64,
    /// Times the connection limit was reached.
    pub connection_limit: u64,
    /// Connections closed at once because their client had its maximum.
    pub client_limit: u64,
    /// Times accepting failed for want of descriptors or memory.
    pub accept_errors: u64,
    /// Connections closed because they did not begin with the PROXY protocol as they should have, in the order of the reasons.
    pub unannounced: [u64; Refused::ALL.len()],
    /// Heads that did not come in time.
    pub head_timeouts: u64,
    /// Requests whose head was read, or refused.
    pub requests_began: u64,
    /// Requests that are over.
    pub requests_ended: u64,
    /// Ended requests by status class and duration.
    pub tally: TallyTotals,
    /// Ended requests that Serin could not serve, in the order of the reasons.
    pub errors: ByError<u64>,
    /// Body bytes of requests.
    pub request_bytes: u64,
    /// Body bytes of responses.
    pub response_bytes: u64,
    /// Connections that turned out to be HTTP/2.
    pub http2_connections: u64,
    /// Of these, those closed because their client sent too much of something, in the order of what it can be.
    pub excesses: [u64; Excess::ALL.len()],
    /// Answers given up because an HTTP/2 client did not take them.
    pub streams_stalled: u64,
    /// Answers not compressed because what encoders may take was taken.
    pub not_compressed: u64,
    /// Handshakes that are over, in the order of how they can end.
    pub handshakes: [u64; HandshakeEnd::ALL.len()],
    /// Upgraded connections begun.
    pub tunnels_opened: u64,
    /// Upgraded connections over.
    pub tunnels_closed: u64,
    /// Upgraded connections closed because nothing moved.
    pub tunnels_idle: u64,
}

impl WorkerCounters {
    pub(crate) fn connection_opened(&self) {
        add(&self.connections_opened, 1);
    }

    pub(crate) fn connection_closed(&self) {
        add(&self.connections_closed, 1);
    }

    pub(crate) fn parked(&self) {
        add(&self.connections_parked, 1);
    }

    pub(crate) fn unparked(&self) {
        self.connections_parked.store(self.connections_parked.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    pub(crate) fn connection_limit_reached(&self) {
        add(&self.connection_limit, 1);
    }

    pub(crate) fn client_limit_reached(&self) {
        add(&self.client_limit, 1);
    }

    pub(crate) fn accept_failed(&self) {
        add(&self.accept_errors, 1);
    }

    pub(crate) fn unannounced(&self, refused: Refused) {
        add(&self.unannounced[refused as usize], 1);
    }

    pub(crate) fn head_timeout(&self) {
        add(&self.head_timeouts, 1);
    }

    pub(crate) fn request_began(&self) {
        add(&self.requests_began, 1);
    }

    pub(crate) fn request_ended(&self, ended: Ended, error: Option<RequestError>, sent: u64, received: u64) {
        add(&self.requests_ended, 1);
        self.tally.count(ended);
        if let Some(error) = error {
            add(&self.errors.0[error.index()], 1);
        }
        add(&self.request_bytes, sent);
        add(&self.response_bytes, received);
    }

    pub(crate) fn http2_began(&self) {
        add(&self.http2_connections, 1);
    }

    pub(crate) fn excessive(&self, excess: Excess) {
        add(&self.excesses[excess as usize], 1);
    }

    pub(crate) fn stream_stalled(&self) {
        add(&self.streams_stalled, 1);
    }

    pub(crate) fn not_compressed(&self) {
        add(&self.not_compressed, 1);
    }

    pub(crate) fn handshake(&self, end: HandshakeEnd) {
        add(&self.handshakes[end as usize], 1);
    }

    pub(crate) fn tunnel_opened(&self) {
        add(&self.tunnels_opened, 1);
    }

    pub(crate) fn tunnel_closed(&self) {
        add(&self.tunnels_closed, 1);
    }

    pub(crate) fn tunnel_idle(&self) {
        add(&self.tunnels_idle, 1);
    }

    /// Adds this worker's counts to a sum.
    pub fn add_to(&self, sum: &mut Totals) {
        let one = |total: &mut u64, counter: &AtomicU64| *total += counter.load(Relaxed);
        let each = |totals: &mut [u64], counters: &[AtomicU64]| {
            totals.iter_mut().zip(counters).for_each(|(total, counter)| one(total, counter));
        };
        one(&mut sum.connections_opened, &self.connections_opened);
        one(&mut sum.connections_closed, &self.connections_closed);
        one(&mut sum.connections_parked, &self.connections_parked);
        one(&mut sum.connection_limit, &self.connection_limit);
        one(&mut sum.client_limit, &self.client_limit);
        one(&mut sum.accept_errors, &self.accept_errors);
        each(&mut sum.unannounced, &self.unannounced);
        one(&mut sum.head_timeouts, &self.head_timeouts);
        one(&mut sum.requests_began, &self.requests_began);
        one(&mut sum.requests_ended, &self.requests_ended);
        self.tally.add_to(&mut sum.tally);
        each(&mut sum.errors.0, &self.errors.0);
        one(&mut sum.request_bytes, &self.request_bytes);
        one(&mut sum.response_bytes, &self.response_bytes);
        one(&mut sum.http2_connections, &self.http2_connections);
        each(&mut sum.excesses, &self.excesses);
        one(&mut sum.streams_stalled, &self.streams_stalled);
        one(&mut sum.not_compressed, &self.not_compressed);
        each(&mut sum.handshakes, &self.handshakes);
        one(&mut sum.tunnels_opened, &self.tunnels_opened);
        one(&mut sum.tunnels_closed, &self.tunnels_closed);
        one(&mut sum.tunnels_idle, &self.tunnels_idle);
    }
}

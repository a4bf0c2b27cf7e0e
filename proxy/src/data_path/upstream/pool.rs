//! Connections kept to one endpoint by one worker.
//!
//! Last in, first out: the connection used last is the least likely to have been closed meanwhile, and the others
//! can age and go. Limits are looked at between requests only, so none ends a response. Where the endpoint is told whose a
//! connection is, each is kept for its client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::Response;
use hyper::body::Incoming;
use routing_rules::rules::{Connections, Protocol};
use tokio::sync::Semaphore;

use super::dial::MAX_HANDSHAKES;
use super::http2::{Stream, Streams};
use super::kept::{Kept, KeptForClients};
use super::warm::Warmth;
use super::{EndpointConnection, Lifetime, LocalEndpoint, Refused};
use crate::connect::Ends;
use crate::data_path::request::Outgoing;
use crate::data_path::tunnel::Handover;
use crate::snapshot::{ConnectionEnd, Transport, Upstream};

/// Idle connections.
pub(crate) struct Pool {
    /// Those that any request may go over, oldest first.
    idle: RefCell<Vec<Kept>>,
    /// Those of clients, where the endpoint is told whose they are; there are none of one kind or the other.
    of_clients: RefCell<KeptForClients>,
    /// Those that requests share; there are none of one kind or the other.
    pub(super) streams: Streams,
    protocol: Cell<Protocol>,
    transport: RefCell<Transport>,
    announces: Cell<bool>,
    /// Counts the changes of the three: connections that were begun under others get no further requests.
    terms: Cell<u32>,
    pub(super) handshakes: Semaphore,
    rules: Cell<Connections>,
    pub(super) warmth: Warmth,
}

/// What one request has of a connection.
pub(crate) struct Lease(Leased);

enum Leased {
    /// All of it.
    Own { connection: EndpointConnection, endpoint: Rc<LocalEndpoint>, was_kept: bool },
    /// A stream.
    Shared(Stream),
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle: RefCell::default(),
            of_clients: RefCell::default(),
            streams: Streams::default(),
            protocol: Cell::default(),
            transport: RefCell::default(),
            announces: Cell::default(),
            terms: Cell::default(),
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            rules: Cell::default(),
            warmth: Warmth::default(),
        }
    }
}

impl Pool {
    /// How connections are to be opened and kept from now on, those that are here with them.
    pub(super) fn follow(&self, upstream: &Upstream) {
        self.rules.set(*upstream.rules.connections());
        let (protocol, announces) = (upstream.rules.protocol(), upstream.rules.announces_clients());
        let is_same = self.protocol.get() == protocol
            && self.announces.get() == announces
            && *self.transport.borrow() == upstream.transport;
        if !is_same {
            self.protocol.set(protocol);
            self.announces.set(announces);
            self.transport.replace(upstream.transport.clone());
            self.terms.set(self.terms.get().wrapping_add(1));
            self.close(ConnectionEnd::Removed);
        }
    }

    /// How it is secured.
    pub(super) fn transport(&self) -> Transport {
        self.transport.borrow().clone()
    }

    /// Whether the endpoint is told whose a connection is.
    pub(super) fn announces(&self) -> bool {
        self.announces.get()
    }

    /// The number of the terms under which connections are begun now.
    pub(super) fn terms(&self) -> u32 {
        self.terms.get()
    }

    /// What is spoken with the endpoint.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol.get()
    }

    pub(super) fn rules(&self) -> Connections {
        self.rules.get()
    }

    /// A kept connection that looks alive, or a place on one that is shared. The client is asked for where it matters.
    pub(crate) fn take(
        &self,
        endpoint: &Rc<LocalEndpoint>,
        client: impl Fn() -> Rc<Ends>,
        now_ms: u64,
    ) -> Option<Lease> {
        if self.protocol.get() == Protocol::Http2 {
            return self.streams.take(endpoint, now_ms).map(Lease::on);
        }
        let pop = || match self.announces.get() {
            false => self.idle.borrow_mut().pop(),
            true => self.of_clients.borrow_mut().take(&client()),
        };
        while let Some(mut kept) = pop() {
            match kept.over(&self.rules.get(), now_ms) {
                Some(end) => self.is_over(&mut kept.connection, end, now_ms),
                None => return Some(Lease::kept(kept.connection, Rc::clone(endpoint))),
            }
        }
        None
    }

    /// Whether no connection is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.of_clients.borrow().len() == 0 && self.streams.is_empty()
    }

    /// Closes connections that were idle for too long, or are too old.
    pub(crate) fn close_idle(&self, now_ms: u64) {
        let (mut idle, rules) = (self.idle.borrow_mut(), self.rules.get());
        self.streams.tidy(&rules, now_ms);
        let stays = |kept: &mut Kept| {
            let end = kept.over(&rules, now_ms);
            end.inspect(|end| self.is_over(&mut kept.connection, *end, now_ms)).is_none()
        };
        idle.retain_mut(stays);
        self.of_clients.borrow_mut().retain(stays);
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }

    /// A connection cannot be used any more. An endpoint that has refused the handshake behind it is as one that takes no connection.
    fn is_over(&self, connection: &mut EndpointConnection, end: ConnectionEnd, now_ms: u64) {
        connection.lifetime.ends(end);
        if connection.was_refused() {
            self.warmth.failed(now_ms);
        }
    }

    /// Closes the older half.
    pub(crate) fn shed_idle(&self) {
        self.streams.shed_idle();
        let mut idle = self.idle.borrow_mut();
        let half = idle.len().div_ceil(2);
        idle.drain(..half).for_each(|mut kept| kept.connection.lifetime.ends(ConnectionEnd::Room));
        let mut of_clients = self.of_clients.borrow_mut();
        let half = of_clients.len().div_ceil(2);
        of_clients.end_oldest(half, ConnectionEnd::Room);
    }

    /// Keeps a connection that is ready for a request, unless it has reached a limit.
    pub(super) fn put(&self, mut connection: EndpointConnection, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        let has_room = idle.len() < MAX_KEPT;
        match connection.lifetime.spent(&self.rules.get(), now_ms) {
            Some(end) => connection.lifetime.ends(end),
            None if connection.lifetime.terms() != self.terms() => connection.lifetime.ends(ConnectionEnd::Removed),
            None if self.announces.get() => self.put_of_client(connection, now_ms),
            None if has_room => idle.push(Kept { connection, since_ms: now_ms }),
            None => connection.lifetime.ends(ConnectionEnd::Room),
        }
    }

    /// The same for one of a client. Of those of others the oldest make room: without that, who came first would be the only ones to
    /// have any.
    fn put_of_client(&self, mut connection: EndpointConnection, now_ms: u64) {
        let Some(client) = connection.lifetime.client().cloned() else {
            return connection.lifetime.ends(ConnectionEnd::Removed);
        };
        let mut of_clients = self.of_clients.borrow_mut();
        if of_clients.len() >= MAX_KEPT {
            of_clients.end_oldest(ROOM_MADE, ConnectionEnd::Room);
        }
        of_clients.put(&client, Kept { connection, since_ms: now_ms });
    }

    /// Lets go of all connections.
    fn close(&self, end: ConnectionEnd) {
        self.idle.borrow_mut().drain(..).for_each(|mut kept| kept.connection.lifetime.ends(end));
        self.of_clients.borrow_mut().end_oldest(usize::MAX, end);
        self.streams.close(end);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close(ConnectionEnd::Removed);
    }
}

impl Lease {
    /// A connection that was opened for the request.
    pub(super) fn fresh(connection: EndpointConnection, endpoint: Rc<LocalEndpoint>) -> Self {
        Self(Leased::Own { connection, endpoint, was_kept: false })
    }

    fn kept(connection: EndpointConnection, endpoint: Rc<LocalEndpoint>) -> Self {
        Self(Leased::Own { connection, endpoint, was_kept: true })
    }

    /// A place on a connection that others share.
    pub(super) fn on(stream: Stream) -> Self {
        Self(Leased::Shared(stream))
    }

    /// Whether other requests may be under way on the same connection.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.0, Leased::Shared(_))
    }

    /// Sends the request and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none. The request comes back if it may be sent again.
    pub(crate) async fn send(&mut self, request: Outgoing) -> Result<Response<Incoming>, Refused> {
        match &mut self.0 {
            Leased::Own { connection, endpoint, was_kept } => {
                let was_unproved = connection.lifetime.is_unproved();
                let answer = connection.send(request, *was_kept).await;
                if was_unproved && answer.is_ok() {
                    endpoint.pool.warmth.is_well();
                }
                answer
            }
            // Boxed so that requests on connections of their own need no room for it.
            Leased::Shared(stream) => Box::pin(stream.send(request)).await,
        }
    }

    /// What is left of the request is not sent. Only where others share the connection; else it is to be dropped.
    pub(crate) fn stop_sending(&mut self) {
        if let Leased::Shared(stream) = &mut self.0 {
            stream.stop_sending();
        }
    }

    /// Keeps the connection for the next request, if another may follow on it; on one that is shared others may in any case. Only when
    /// request and response are both at their end: a lease that is dropped instead closes its connection, or resets its stream.
    pub(crate) fn keep(self, may_follow: bool, now_ms: u64) {
        let (mut connection, endpoint) = match self.0 {
            Leased::Own { connection, endpoint, .. } if may_follow => (connection, endpoint),
            Leased::Own { .. } => return,
            Leased::Shared(mut stream) => return stream.is_whole(),
        };
        connection.lifetime.count_request();
        if connection.sender.is_ready() {
            endpoint.pool.put(connection, now_ms);
        } else if connection.sender.is_closed() {
            connection.lifetime.ends(ConnectionEnd::Endpoint);
        } else {
            // hyper has not yet seen the end of its own exchange: it will in the next turn of its task.
            tokio::task::spawn_local(async move {
                match tokio::time::timeout(SETTLE, connection.sender.ready()).await {
                    Ok(Ok(())) => endpoint.pool.put(connection, now_ms),
                    Ok(Err(_)) => connection.lifetime.ends(ConnectionEnd::Endpoint),
                    Err(_) => {}
                }
            });
        }
    }

    /// What becomes of the connection after an upgrade; nothing of one that is shared.
    pub(crate) fn into_tunnel(self) -> Option<(Handover, Box<Lifetime>)> {
        let Leased::Own { connection, .. } = self.0 else { return None };
        let EndpointConnection { handover, mut lifetime, .. } = connection;
        lifetime.ends(ConnectionEnd::Tunnel);
        Some((handover, lifetime))
    }
}

/// Kept connections per worker and endpoint.
const MAX_KEPT: usize = 1_024;

/// How many make room at a time: to find the oldest, all are looked at.
const ROOM_MADE: usize = MAX_KEPT / 16;

/// How long a connection may take to be ready again after the end of a response.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

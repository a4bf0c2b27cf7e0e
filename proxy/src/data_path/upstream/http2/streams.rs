//! The connections of HTTP/2 from one worker to one endpoint, and the requests that wait for a place on one.
//!
//! A request goes on the connection that has carried requests for longest and has room, so that those that are too many
//! become idle and end. Without room another connection is opened, by a task of its own: a request that gives up takes no
//! connection away from the others that wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use routing_rules::rules::Connections;
use tokio::sync::Notify;

use super::Stream;
use super::connection::Connection;
use crate::data_path::error::RequestError;
use crate::data_path::upstream::{LocalEndpoint, NotOpened};
use crate::snapshot::ConnectionEnd;
use crate::worker::Worker;

/// See the module.
#[derive(Default)]
pub(in crate::data_path::upstream) struct Streams {
    connections: RefCell<Vec<Rc<Connection>>>,
    opening: Cell<u32>,
    waiting: Cell<u32>,
    /// How many requests the connection opened last can carry; 0 before the first.
    room: Cell<u32>,
    /// How many openings have begun, and which was the newest one when a request was last told that they fail.
    openings: Cell<u64>,
    told_at: Cell<u64>,
    /// How many openings have failed, and how the last one did.
    failures: Cell<(u64, Option<NotOpened>)>,
    /// Until when no connection is opened besides those there are, on the worker's clock.
    rests_until_ms: Cell<u64>,
    /// Connections that ended before they had carried a request to its answer.
    stillborn: Cell<u64>,
    changed: Notify,
}

/// One of those that wait, until dropped.
struct Waiting<'s>(&'s Cell<u32>);

/// A connection that is being opened, until dropped.
struct Opening(Rc<LocalEndpoint>);

impl Streams {
    /// A place for one request, now if there is one. `None` also while there is no connection.
    pub(in crate::data_path::upstream) fn take(&self, endpoint: &Rc<LocalEndpoint>, now_ms: u64) -> Option<Stream> {
        self.tidy(&endpoint.pool.rules(), now_ms);
        let max_streams = endpoint.pool.rules().max_streams;
        let connections = self.connections.borrow();
        let connection = connections.iter().find(|connection| connection.has_room(max_streams))?;
        Some(Stream::begin(Rc::clone(connection), Rc::clone(endpoint)))
    }

    /// A place for one request, within `timeout`.
    ///
    /// # Errors
    /// There is no connection, and none could be opened since the request came; or all have been full for so long.
    pub(in crate::data_path::upstream) async fn wait(
        endpoint: &Rc<LocalEndpoint>,
        worker: &Rc<Worker>,
        timeout: Duration,
    ) -> Result<Stream, NotOpened> {
        let streams = &endpoint.pool.streams;
        match tokio::time::timeout(timeout, streams.place(endpoint, worker, timeout)).await {
            Ok(Err(failure)) => Err(streams.tell(failure)),
            Ok(Ok(stream)) => Ok(stream),
            Err(_) if streams.is_empty() => Err(streams.tell(NotOpened::Endpoint(RequestError::ConnectTimeout))),
            Err(_) => Err(NotOpened::Full),
        }
    }

    async fn place(
        &self,
        endpoint: &Rc<LocalEndpoint>,
        worker: &Rc<Worker>,
        timeout: Duration,
    ) -> Result<Stream, NotOpened> {
        let (mut failures, stillborn) = (self.failures.get().0, self.stillborn.get());
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let now_ms = worker.clock.now_ms();
            if let Some(stream) = self.take(endpoint, now_ms) {
                return Ok(stream);
            }
            let (now, failure) = self.failures.get();
            if let Some(failure) = failure.filter(|_| now != failures && self.is_empty()) {
                return Err(failure);
            }
            failures = now;
            if self.stillborn.get() - stillborn >= MAX_STILLBORN {
                return Err(NotOpened::Endpoint(RequestError::Connect));
            }
            if self.needs_another(now_ms) {
                Self::begin_opening(endpoint, worker, timeout);
            }
            // Or until it is time to try another one.
            tokio::time::timeout(REST, self.changed.notified()).await.ok();
        }
    }

    /// Tells a request that no connection could be opened. However many wait for one, its failing is held against the endpoint
    /// once.
    fn tell(&self, failure: NotOpened) -> NotOpened {
        match failure {
            NotOpened::Endpoint(error) if self.told_at.replace(self.openings.get()) == self.openings.get() => {
                NotOpened::Told(error)
            }
            failure => failure,
        }
    }

    /// Opens a connection, whether requests wait for it or not.
    pub(in crate::data_path::upstream) async fn open(
        endpoint: &Rc<LocalEndpoint>,
        worker: &Worker,
        timeout: Duration,
    ) -> Result<(), NotOpened> {
        let opening = Opening::begin(endpoint);
        Self::finish_opening(endpoint, worker, timeout, opening).await
    }

    fn begin_opening(endpoint: &Rc<LocalEndpoint>, worker: &Rc<Worker>, timeout: Duration) {
        let (endpoint, worker) = (Rc::clone(endpoint), Rc::clone(worker));
        let opening = Opening::begin(&endpoint);
        tokio::task::spawn_local(async move { Self::finish_opening(&endpoint, &worker, timeout, opening).await });
    }

    async fn finish_opening(
        endpoint: &LocalEndpoint,
        worker: &Worker,
        timeout: Duration,
        opening: Opening,
    ) -> Result<(), NotOpened> {
        let streams = &endpoint.pool.streams;
        let opened = Connection::open(worker, endpoint, timeout).await;
        drop(opening);
        let result = opened.map(|connection| {
            let rules = endpoint.pool.rules();
            streams.room.set(connection.room(rules.max_streams));
            // By rules that came meanwhile the endpoint may speak something else, or be somebody else.
            let terms = connection.lifetime.borrow().terms();
            match terms == endpoint.pool.terms() {
                true => streams.connections.borrow_mut().push(Rc::new(connection)),
                false => connection.ends(ConnectionEnd::Removed),
            }
        });
        if let Err(failure) = result {
            streams.failures.set((streams.failures.get().0 + 1, Some(failure)));
            streams.rests_until_ms.set(worker.clock.now_ms() + REST.as_millis() as u64);
        }
        streams.changed.notify_waiters();
        result
    }

    /// Whether those that are being opened will not carry all that wait.
    fn needs_another(&self, now_ms: u64) -> bool {
        let (opening, room, open) = (self.opening.get(), self.room.get(), self.connections.borrow().len());
        let is_enough = opening > 0 && (room == 0 || self.waiting.get() <= opening.saturating_mul(room));
        let rests = open > 0 && now_ms < self.rests_until_ms.get();
        !is_enough && !rests && open + (opening as usize) < MAX_CONNECTIONS
    }

    /// Whether there is no connection.
    pub(in crate::data_path::upstream) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// A request has left its place.
    pub(super) fn left(&self) {
        self.changed.notify_one();
    }

    /// Lets go of connections that take no more requests. What is under way there goes on.
    pub(in crate::data_path::upstream) fn tidy(&self, rules: &Connections, now_ms: u64) {
        self.connections.borrow_mut().retain(|connection| {
            let Some(end) = over(connection, rules, now_ms) else { return true };
            connection.ends(end);
            // One whose first requests are under way may yet answer them.
            if end == ConnectionEnd::Endpoint && !connection.has_answered.get() && connection.taken.get() == 0 {
                self.stillborn.set(self.stillborn.get() + 1);
            }
            false
        });
    }

    /// Lets go of all of them.
    pub(in crate::data_path::upstream) fn close(&self, end: ConnectionEnd) {
        self.connections.borrow_mut().drain(..).for_each(|connection| connection.ends(end));
    }

    /// Closes half of those that carry nothing.
    pub(in crate::data_path::upstream) fn shed_idle(&self) {
        let mut connections = self.connections.borrow_mut();
        let is_idle = |connection: &Rc<Connection>| connection.taken.get() == 0;
        let mut left = connections.iter().filter(|connection| is_idle(connection)).count().div_ceil(2);
        connections.retain(|connection| {
            let goes = left > 0 && is_idle(connection);
            if goes {
                left -= 1;
                connection.ends(ConnectionEnd::Room);
            }
            !goes
        });
    }
}

/// Why a connection takes no more requests, if so.
fn over(connection: &Connection, rules: &Connections, now_ms: u64) -> Option<ConnectionEnd> {
    if connection.sender.is_closed() {
        return Some(ConnectionEnd::Endpoint);
    }
    if let Some(end) = connection.retired.get() {
        return Some(end);
    }
    if connection.taken.get() == 0 && connection.idle_ms(now_ms) >= rules.idle_timeout_ms {
        return Some(ConnectionEnd::IdleTimeout);
    }
    if connection.is_worn() {
        return Some(ConnectionEnd::Broken);
    }
    connection.lifetime.borrow().spent(rules, now_ms)
}

impl Opening {
    fn begin(endpoint: &Rc<LocalEndpoint>) -> Self {
        let opening = &endpoint.pool.streams.opening;
        opening.set(opening.get() + 1);
        let openings = &endpoint.pool.streams.openings;
        openings.set(openings.get() + 1);
        Self(Rc::clone(endpoint))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let opening = &self.0.pool.streams.opening;
        opening.set(opening.get() - 1);
    }
}

impl<'s> Waiting<'s> {
    fn begin(waiting: &'s Cell<u32>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// How long no further connection is opened after one that failed, while there are others. Without any, requests that come
/// try again at once, as they do where each has a connection of its own.
const REST: Duration = Duration::from_secs(1);

/// An endpoint that says farewell to a new connection may be about to restart; one that does so twice is none.
const MAX_STILLBORN: u64 = 2;

/// Connections from one worker to one endpoint. With fewer streams on each than requests for all, requests wait.
const MAX_CONNECTIONS: usize = 64;

//! Connections kept to one endpoint by one worker.
//!
//! Last in, first out: the connection used last is the least likely to have been closed meanwhile, and the others
//! can age and go. Limits are looked at between requests only, so none ends a response.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use routing_rules::rules::Connections;

use super::warm::Warmth;
use super::{EndpointConnection, LocalEndpoint};
use crate::snapshot::ConnectionEnd;

/// Idle connections, oldest first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Kept>>,
    rules: Cell<Connections>,
    pub(super) warmth: Warmth,
}

struct Kept {
    connection: EndpointConnection,
    since_ms: u64,
}

/// A connection in use by one request.
pub(crate) struct Lease {
    pub(crate) connection: EndpointConnection,
    endpoint: Rc<LocalEndpoint>,
}

impl Pool {
    /// How connections are to be kept from now on, those that are here with them.
    pub(super) fn follow(&self, rules: &Connections) {
        self.rules.set(*rules);
    }

    pub(super) fn rules(&self) -> Connections {
        self.rules.get()
    }

    /// A kept connection that looks alive.
    pub(crate) fn take(&self, endpoint: &Rc<LocalEndpoint>, now_ms: u64) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut kept) = idle.pop() {
            match kept.over(&self.rules.get(), now_ms) {
                Some(end) => kept.connection.lifetime.ends(end),
                None => return Some(Lease::new(kept.connection, Rc::clone(endpoint))),
            }
        }
        None
    }

    /// Whether no connection is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Closes connections that were idle for too long, or are too old.
    pub(crate) fn close_idle(&self, now_ms: u64) {
        let (mut idle, rules) = (self.idle.borrow_mut(), self.rules.get());
        idle.retain_mut(|kept| {
            let end = kept.over(&rules, now_ms);
            end.inspect(|end| kept.connection.lifetime.ends(*end)).is_none()
        });
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }

    /// Closes the older half.
    pub(crate) fn shed_idle(&self) {
        let mut idle = self.idle.borrow_mut();
        let half = idle.len().div_ceil(2);
        idle.drain(..half).for_each(|mut kept| kept.connection.lifetime.ends(ConnectionEnd::Room));
    }

    /// Keeps a connection that is ready for a request, unless it has reached a limit.
    pub(super) fn put(&self, mut connection: EndpointConnection, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        let has_room = idle.len() < MAX_KEPT;
        match connection.lifetime.spent(&self.rules.get(), now_ms) {
            Some(end) => connection.lifetime.ends(end),
            None if has_room => idle.push(Kept { connection, since_ms: now_ms }),
            None => connection.lifetime.ends(ConnectionEnd::Room),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.idle.get_mut().iter_mut().for_each(|kept| kept.connection.lifetime.ends(ConnectionEnd::Removed));
    }
}

impl Kept {
    /// Why it cannot be used any more, if so.
    fn over(&self, rules: &Connections, now_ms: u64) -> Option<ConnectionEnd> {
        if !self.connection.sender.is_ready() {
            return Some(ConnectionEnd::Endpoint);
        }
        if now_ms.saturating_sub(self.since_ms) >= rules.idle_timeout_ms {
            return Some(ConnectionEnd::IdleTimeout);
        }
        self.connection.lifetime.spent(rules, now_ms)
    }
}

impl Lease {
    pub(crate) fn new(connection: EndpointConnection, endpoint: Rc<LocalEndpoint>) -> Self {
        Self { connection, endpoint }
    }

    /// Keeps the connection for the next request. Only for a connection whose request and response are both at
    /// their end; a lease that is dropped instead closes its connection.
    pub(crate) fn keep(self, now_ms: u64) {
        let Self { mut connection, endpoint } = self;
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
}

/// Kept connections per worker and endpoint.
const MAX_KEPT: usize = 1_024;

/// How long a connection may take to be ready again after the end of a response.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

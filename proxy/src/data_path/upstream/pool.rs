//! Connections kept to one endpoint by one worker.
//!
//! Last in, first out: the connection used last is the least likely to have been closed meanwhile, and the others
//! can age and go.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::client::conn::http1::SendRequest;

use super::LocalEndpoint;
use super::io::Wire;
use crate::data_path::request::RequestBody;
use crate::data_path::tunnel::{Driver, Handover};

/// Idle connections, oldest first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Kept>>,
}

struct Kept {
    connection: EndpointConnection,
    since_ms: u64,
}

/// Our end of a connection that a task of its own drives.
pub(crate) struct EndpointConnection {
    pub(crate) sender: SendRequest<RequestBody>,
    /// What went over it.
    pub(crate) wire: Rc<Wire>,
    /// Where the socket arrives after an upgrade.
    pub(crate) handover: Handover,
    /// A connection that is given up ends at once: what is left of a request body must not go on to an endpoint whose
    /// answer nobody awaits.
    pub(crate) _driver: Driver,
}

/// A connection in use by one request.
pub(crate) struct Lease {
    pub(crate) connection: EndpointConnection,
    endpoint: Rc<LocalEndpoint>,
}

impl Pool {
    /// A kept connection that looks alive.
    pub(crate) fn take(&self, endpoint: &Rc<LocalEndpoint>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Kept { connection, .. }) = idle.pop() {
            if connection.sender.is_ready() {
                return Some(Lease::new(connection, Rc::clone(endpoint)));
            }
        }
        None
    }

    /// Whether no connection is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Closes connections that were idle for too long. Shorter than what common servers allow, so that it is
    /// mostly Serin who closes, when nothing is on the way.
    pub(crate) fn close_idle(&self, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|kept| now_ms.saturating_sub(kept.since_ms) < MAX_IDLE_MS && !kept.connection.sender.is_closed());
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }

    /// Closes the older half.
    pub(crate) fn shed_idle(&self) {
        let mut idle = self.idle.borrow_mut();
        let half = idle.len().div_ceil(2);
        idle.drain(..half);
    }

    fn put(&self, connection: EndpointConnection, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_KEPT {
            idle.push(Kept { connection, since_ms: now_ms });
        }
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
        if connection.sender.is_ready() {
            endpoint.pool.put(connection, now_ms);
        } else if !connection.sender.is_closed() {
            // hyper has not yet seen the end of its own exchange: it will in the next turn of its task.
            tokio::task::spawn_local(async move {
                let ready = tokio::time::timeout(SETTLE, connection.sender.ready()).await;
                if ready.is_ok_and(|ready| ready.is_ok()) {
                    endpoint.pool.put(connection, now_ms);
                }
            });
        }
    }
}

/// Kept connections per worker and endpoint.
const MAX_KEPT: usize = 1_024;

/// How long a connection is kept without use, in milliseconds.
const MAX_IDLE_MS: u64 = 55_000;

/// How long a connection may take to be ready again after the end of a response.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

//! Connections kept to one endpoint by one worker.
//!
//! Last in, first out: the connection used last is the least likely to have been closed meanwhile, and the others
//! can age and go.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::client::conn::http1::SendRequest;

use super::LocalEndpoint;
use crate::data_path::request::RequestBody;
use crate::data_path::tunnel::Handover;

/// Idle connections, oldest first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Kept>>,
}

struct Kept {
    sender: SendRequest<RequestBody>,
    handover: Handover,
    since_ms: u64,
}

/// A connection in use by one request.
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<RequestBody>,
    handover: Handover,
    endpoint: Rc<LocalEndpoint>,
}

impl Pool {
    /// A kept connection that looks alive.
    pub(crate) fn take(&self, endpoint: &Rc<LocalEndpoint>) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(kept) = idle.pop() {
            if kept.sender.is_ready() {
                return Some(Lease { sender: kept.sender, handover: kept.handover, endpoint: Rc::clone(endpoint) });
            }
        }
        None
    }

    /// Closes connections that were idle for too long. Shorter than what common servers allow, so that it is
    /// mostly Serin who closes, when nothing is on the way.
    pub(crate) fn close_idle(&self, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|kept| now_ms.saturating_sub(kept.since_ms) < MAX_IDLE_MS && !kept.sender.is_closed());
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }
}

impl Lease {
    pub(crate) fn new(sender: SendRequest<RequestBody>, handover: Handover, endpoint: Rc<LocalEndpoint>) -> Self {
        Self { sender, handover, endpoint }
    }

    /// The socket, for a connection that has been upgraded.
    pub(crate) fn into_handover(self) -> Handover {
        self.handover
    }

    /// Keeps the connection for the next request. Only for a connection whose request and response are both at
    /// their end; a lease that is dropped instead closes its connection.
    pub(crate) fn keep(self, now_ms: u64) {
        let Self { mut sender, handover, endpoint, .. } = self;
        if sender.is_ready() {
            endpoint.pool.put(Kept { sender, handover, since_ms: now_ms });
        } else if !sender.is_closed() {
            // hyper has not yet seen the end of its own exchange: it will in the next turn of its task.
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    endpoint.pool.put(Kept { sender, handover, since_ms: now_ms });
                }
            });
        }
    }
}

impl Pool {
    fn put(&self, kept: Kept) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_KEPT {
            idle.push(kept);
        }
    }
}

/// Kept connections per worker and endpoint.
const MAX_KEPT: usize = 1_024;

/// How long a connection is kept without use, in milliseconds.
const MAX_IDLE_MS: u64 = 55_000;

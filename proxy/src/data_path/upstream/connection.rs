//! One connection to an endpoint: opened, driven by a task of its own, and counted when it ends, with the reason.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use routing_rules::rules::Connections;
use tokio::net::TcpStream;

use super::io::Wire;
use super::{EndpointIo, LocalEndpoint};
use crate::connect::{self, Liveness};
use crate::data_path::request::RequestBody;
use crate::data_path::tunnel::{self, Driver, Handover};
use crate::snapshot::{ConnectionEnd, Endpoint};
use crate::worker::Worker;

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
    /// Boxed because connections are moved with every request.
    pub(crate) lifetime: Box<Lifetime>,
}

/// How old a connection is and how much it has served, and the duty to count its end.
pub(crate) struct Lifetime {
    endpoint: Arc<Endpoint>,
    worker: usize,
    opened_ms: u64,
    served: u32,
    /// Says at which age it ends.
    draw: u8,
    end: ConnectionEnd,
}

impl EndpointConnection {
    /// Opens a socket towards an endpoint.
    ///
    /// # Errors
    /// What the operating system says, or `TimedOut` after `timeout`.
    pub(super) async fn dial(endpoint: &LocalEndpoint, timeout: Duration) -> io::Result<TcpStream> {
        let stream = connect::tcp(endpoint.shared().address(), timeout).await?;
        let rules = endpoint.pool.rules();
        Liveness { keepalive: rules.tcp_keepalive, user_timeout: rules.tcp_user_timeout }.apply(&stream)?;
        Ok(stream)
    }

    /// Starts the task that drives it.
    ///
    /// # Errors
    /// hyper finds something wrong with it, which it does not before the first byte.
    pub(super) async fn start(worker: &Worker, endpoint: &LocalEndpoint, stream: TcpStream) -> hyper::Result<Self> {
        let lifetime = Box::new(Lifetime::begin(worker, endpoint));
        let io = EndpointIo::new(stream);
        let wire = io.wire();
        let (sender, connection) = worker.http1_client.handshake(TokioIo::new(io)).await?;
        let (handover, driver) = tunnel::drive(connection);
        Ok(Self { sender, wire, handover, _driver: driver, lifetime })
    }
}

impl Lifetime {
    fn begin(worker: &Worker, endpoint: &LocalEndpoint) -> Self {
        endpoint.counters().connections().opened();
        Self {
            endpoint: endpoint.share(),
            worker: worker.index,
            opened_ms: worker.clock.now_ms(),
            served: 0,
            draw: worker.draw() as u8,
            end: ConnectionEnd::Broken,
        }
    }

    /// A request and its response are at their end.
    pub(crate) fn count_request(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// The limit that it has reached, if any.
    pub(crate) fn spent(&self, rules: &Connections, now_ms: u64) -> Option<ConnectionEnd> {
        if rules.max_requests.is_some_and(|most| self.served >= most) {
            return Some(ConnectionEnd::MaxRequests);
        }
        let age_ms = now_ms.saturating_sub(self.opened_ms);
        rules.age_ms(self.draw).is_some_and(|most| age_ms >= most).then_some(ConnectionEnd::MaxAge)
    }

    /// It is about to end. What nobody says this of broke.
    pub(crate) fn ends(&mut self, end: ConnectionEnd) {
        self.end = end;
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        if let Some(counters) = self.endpoint.counters(self.worker) {
            counters.connections().ended(self.end);
        }
    }
}

/// The client side of hyper as Serin uses it.
pub(crate) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(crate::data_path::response::MAX_HEAD).max_buf_size(MAX_BUFFER);
    builder
}

/// Largest read buffer of a connection to an endpoint, in bytes.
const MAX_BUFFER: usize = 256 << 10;

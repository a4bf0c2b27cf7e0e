//! One connection of HTTP/1 to an endpoint: opened, driven by a task of its own, and counted when it ends, with the reason.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use routing_rules::retry::Failed;
use routing_rules::rules::Connections;
use tokio::net::TcpStream;

use super::dial::{self, Begun, Dialed};
use super::io::Wire;
use super::{EndpointIo, LocalEndpoint, Refused, is_repeatable};
use crate::connect::{self, Ends, Liveness};
use crate::data_path::error::RequestError;
use crate::data_path::request::{Outgoing, RequestBody};
use crate::data_path::tunnel::{self, Driver, Handover};
use crate::snapshot::{ConnectionEnd, Endpoint, TlsEnd, TlsFailure};
use crate::worker::Worker;

/// Our end of a connection that a task of its own drives.
pub(crate) struct EndpointConnection {
    pub(super) sender: SendRequest<RequestBody>,
    /// What went over it.
    wire: Rc<Wire>,
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
    /// The number of the terms under which it was begun.
    terms: u32,
    /// How the handshake ended, until the endpoint has said something behind it: with TLS 1.3 it may yet refuse.
    shaken: Option<TlsEnd>,
    /// Whose it is, if the endpoint was told that it is a client's.
    client: Option<Weak<Ends>>,
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
    pub(super) async fn start(worker: &Worker, endpoint: &LocalEndpoint, dialed: Dialed) -> hyper::Result<Self> {
        let Dialed { stream, begun } = dialed;
        let lifetime = Box::new(Lifetime::begin(worker, endpoint, begun));
        let io = EndpointIo::new(stream, &worker.read_budget);
        let wire = io.wire();
        let (sender, connection) = worker.http1_client.handshake(TokioIo::new(io)).await?;
        let (handover, driver) = tunnel::drive(connection);
        Ok(Self { sender, wire, handover, _driver: driver, lifetime })
    }

    /// Sends a request and waits for the head of its answer. A connection that `was_kept` may have been closed meanwhile.
    ///
    /// # Errors
    /// There is none. The request comes back if it may be sent again.
    pub(super) async fn send(&mut self, request: Outgoing, was_kept: bool) -> Result<Response<Incoming>, Refused> {
        let is_repeatable = is_repeatable(&request);
        let may_repeat = was_kept && is_repeatable;
        // The endpoint may still refuse the handshake.
        self.wire.expect_answer(is_repeatable && (was_kept || self.lifetime.is_unproved()));
        let received_before = self.wire.received();
        let mut failed = match self.sender.try_send_request(*request).await {
            Ok(response) => {
                self.wire.answered();
                self.lifetime.proved();
                return Ok(response);
            }
            Err(failed) => failed,
        };
        let unsent = failed.take_message().map(Box::new);
        if let Some(error) = self.refused() {
            let unsent = unsent.or_else(|| reread(&self.wire.sent()).filter(|_| is_repeatable));
            return Err(Refused {
                again: unsent.map(|request| (request, Failed::Connect)),
                error: Some(error),
                ..Refused::default()
            });
        }
        let again = match unsent {
            Some(unsent) => Some((unsent, Failed::NotSent)),
            None if may_repeat && self.wire.received() == received_before => {
                reread(&self.wire.sent()).map(|request| (request, Failed::ReusedConnectionClosed))
            }
            None => None,
        };
        let again = again.filter(|_| was_kept);
        if again.is_some() {
            self.lifetime.ends(ConnectionEnd::Endpoint);
        }
        let error = failed.error().is_user().then_some(RequestError::ClientGone);
        Err(Refused { again, error, ..Refused::default() })
    }

    /// Whether the endpoint did not like the handshake after all, of a connection that was opened ahead and carried nothing.
    pub(super) fn was_refused(&mut self) -> bool {
        let is_refused = self.refused().is_some();
        if is_refused && let Some(counters) = self.lifetime.endpoint.counters(self.lifetime.worker) {
            counters.connections().warmed(false);
        }
        is_refused
    }

    /// What the client is told, if so.
    fn refused(&mut self) -> Option<RequestError> {
        self.wire.refusal().map(|refusal| self.lifetime.refused(&refusal))
    }
}

impl Lifetime {
    pub(super) fn begin(worker: &Worker, endpoint: &LocalEndpoint, begun: Begun) -> Self {
        let Begun { terms, shaken, client } = begun;
        endpoint.counters().connections().opened();
        Self {
            endpoint: endpoint.share(),
            worker: worker.index,
            opened_ms: worker.clock.now_ms(),
            served: 0,
            terms,
            shaken,
            client,
            draw: worker.draw() as u8,
            end: ConnectionEnd::Broken,
        }
    }

    /// A request and its response are at their end.
    pub(crate) fn count_request(&mut self) {
        self.served = self.served.saturating_add(1);
    }

    /// See [`super::pool::Pool::terms`].
    pub(super) fn terms(&self) -> u32 {
        self.terms
    }

    /// Whose it is, if the endpoint was told that it is a client's.
    pub(super) fn client(&self) -> Option<&Weak<Ends>> {
        self.client.as_ref()
    }

    /// Whether the endpoint may yet refuse the handshake.
    pub(super) fn is_unproved(&self) -> bool {
        self.shaken.is_some()
    }

    /// The endpoint has said something.
    pub(super) fn proved(&mut self) {
        if let Some(end) = self.shaken.take() {
            dial::proved(&self.endpoint, self.worker, end);
        }
    }

    /// The endpoint does not like the handshake after all. Says what the client is told.
    pub(super) fn refused(&mut self, failure: &TlsFailure) -> RequestError {
        self.shaken = None;
        dial::failed(&self.endpoint, self.worker, failure)
    }

    /// How many there were.
    pub(super) fn served(&self) -> u32 {
        self.served
    }

    /// The limit that it has reached, if any. One of a client ends with the client's.
    pub(crate) fn spent(&self, rules: &Connections, now_ms: u64) -> Option<ConnectionEnd> {
        if self.client.as_ref().is_some_and(|client| client.strong_count() == 0) {
            return Some(ConnectionEnd::Client);
        }
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
            // Nothing was asked over it, or nothing answered.
            self.shaken.into_iter().for_each(|end| counters.connections().secured(end));
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

/// The request whose head was written. Cheaper than a copy of every request: hyper keeps none of what it has written,
/// and a connection closes under a request so rarely that reading the head again costs nothing.
fn reread(head: &[u8]) -> Option<Outgoing> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut request = Box::new(Request::new(RequestBody::empty()));
    *request.method_mut() = parsed.method?.parse().ok()?;
    *request.uri_mut() = parsed.path?.parse().ok()?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

/// Most fields of a head that was written: what a client may send, and room for what Serin and operators add.
const MAX_FIELDS: usize = 256;

//! Sends a request to an endpoint and waits for the response head.
//!
//! What fails here is told with the request, if it may be sent again (`routing_rules::retry`, which decides). A kept
//! connection that the endpoint closed before a byte of the response came is nobody's fault (RFC 9110 §9.2.2, RFC 9112
//! §9.3.1): if nothing of the request was written, any request can be sent again; if it was, only one without a body and
//! with an idempotent method.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use routing_rules::retry::Failed;
use routing_rules::rules::Protocol;
use tokio::time::Instant;

use super::dial::dial;
use super::http2::Streams;
use super::{EndpointConnection, Lease, LocalEndpoint};
use crate::connect::Ends;
use crate::data_path::error::RequestError;
use crate::data_path::request::{Exchange, Outgoing, RequestBody};
use crate::snapshot::ConnectionEnd;
use crate::worker::Worker;

/// A request that got no response head.
pub(crate) struct Unanswered {
    /// What the client would be told.
    pub(crate) error: RequestError,
    /// The request as it was, if it can be sent again, and what failed.
    pub(crate) again: Option<(Outgoing, Failed)>,
    /// The same event has been held against the endpoint, with another request that it kept from being sent.
    pub(crate) is_told: bool,
}

impl Unanswered {
    /// What is to be held against the endpoint, if anything is.
    pub(crate) fn fault(&self) -> Option<RequestError> {
        let is_excused = self.again.as_ref().is_some_and(|(_, failed)| failed.is_excused());
        (!is_excused && !self.is_told).then_some(self.error)
    }
}

impl From<RequestError> for Unanswered {
    fn from(error: RequestError) -> Self {
        Self { error, again: None, is_told: false }
    }
}

/// No head of an answer came over a connection.
#[derive(Default)]
pub(crate) struct Refused {
    /// The request as it was, if it can be sent again, and what failed.
    pub(crate) again: Option<(Outgoing, Failed)>,
    /// What it was, if not a wrong answer.
    pub(crate) error: Option<RequestError>,
    /// The endpoint had said that the connection takes no more of them, before any of it was sent.
    pub(super) was_leaving: bool,
    /// No request had been answered over it.
    pub(super) was_unused: bool,
}

/// Sends to one endpoint, `fresh` over a new connection if each carries one request. Returns the response head and the
/// connection its body comes from.
pub(crate) async fn send(
    endpoint: &Rc<LocalEndpoint>,
    exchange: &Rc<Exchange>,
    mut request: Outgoing,
    fresh: bool,
    connect_timeout: Duration,
) -> Result<(Response<Incoming>, Lease), Unanswered> {
    let client = || Rc::clone(exchange.connection().ends());
    let mut met_an_unused_one_leaving = false;
    // Each round but the last ends a connection, and all but one of these had served somebody.
    loop {
        let kept = match fresh {
            true => None,
            false if is_repeatable(&request) => endpoint.pool.take(endpoint, client, exchange.now_ms()),
            false => take_open(endpoint, exchange, client).await,
        };
        let mut lease = match kept {
            Some(lease) => lease,
            None => {
                // Boxed because it is rare, and would make the future of every request larger.
                let mut opening = Box::pin(open(endpoint, exchange.worker(), client, connect_timeout));
                let opened = exchange.unless_expired(opening.as_mut()).await?;
                match opened {
                    Ok(lease) => lease,
                    Err(not_opened) => return Err(not_opened.unanswered(request, exchange)),
                }
            }
        };
        exchange.shorten_deadline(request.headers_mut());
        let answer = exchange.unless_expired(pin!(lease.send(request))).await?;
        match answer {
            Ok(response) => return Ok((response, lease)),
            Err(Refused { again: Some((unsent, _)), was_leaving: true, was_unused, .. }) => {
                if was_unused && std::mem::replace(&mut met_an_unused_one_leaving, true) {
                    return Err(NotOpened::Endpoint(RequestError::Connect).unanswered(unsent, exchange));
                }
                request = unsent;
            }
            Err(refused) => {
                let error = failure(&refused, exchange);
                return Err(Unanswered { error, again: refused.again, is_told: false });
            }
        }
    }
}

/// A kept connection for a request that could not be sent again. The connections' own tasks are let in first, so that one
/// that the endpoint has closed by now, at the moment at which the request came, is not taken.
async fn take_open(endpoint: &Rc<LocalEndpoint>, exchange: &Exchange, client: impl Fn() -> Rc<Ends>) -> Option<Lease> {
    if endpoint.pool.is_empty() {
        return None;
    }
    tokio::task::yield_now().await;
    endpoint.pool.take(endpoint, client, exchange.now_ms())
}

/// Why there is no connection.
#[derive(Clone, Copy)]
pub(crate) enum NotOpened {
    /// The endpoint's doing.
    Endpoint(RequestError),
    /// The same, of which another request has told already.
    Told(RequestError),
    /// All connections there may be carry as many requests as they may.
    Full,
    /// No port is left towards this one address: closing other connections would not bring one back.
    NoPort,
    /// No descriptor or memory is left for it.
    NoRoom,
    /// It is to be by TLS, and what that takes cannot be used.
    Closed,
}

impl NotOpened {
    fn unanswered(self, request: Outgoing, exchange: &Exchange) -> Unanswered {
        let (error, is_told) = match self {
            Self::Endpoint(error) => (error, false),
            Self::Told(error) => (error, true),
            Self::Full => (RequestError::QueueTimeout, false),
            Self::Closed => return RequestError::TlsUnusable.into(),
            Self::NoPort => return RequestError::Unavailable.into(),
            Self::NoRoom => {
                exchange.worker().make_room();
                return RequestError::Unavailable.into();
            }
        };
        Unanswered { error, again: Some((request, Failed::Connect)), is_told }
    }
}

/// A place for a request of a client on a connection: one of its own, or one that it shares.
///
/// # Errors
/// There is no connection, and none could be opened.
pub(crate) async fn open(
    endpoint: &Rc<LocalEndpoint>,
    worker: &Rc<Worker>,
    client: impl Fn() -> Rc<Ends>,
    timeout: Duration,
) -> Result<Lease, NotOpened> {
    let deadline = Instant::now() + timeout;
    loop {
        if endpoint.pool.protocol() == Protocol::Http2 {
            let left = deadline.saturating_duration_since(Instant::now());
            return Ok(Lease::on(Streams::wait(endpoint, worker, left).await?));
        }
        let dialed = dial(endpoint, worker, || Some(client()), deadline).await?;
        let connection = EndpointConnection::start(worker, endpoint, dialed).await;
        let mut connection = connection.map_err(|_| NotOpened::Endpoint(RequestError::Connect))?;
        if connection.lifetime.terms() == endpoint.pool.terms() {
            return Ok(Lease::fresh(connection, Rc::clone(endpoint)));
        }
        // By rules that came meanwhile it has to be secured, or be somebody else.
        connection.lifetime.ends(ConnectionEnd::Removed);
    }
}

/// Whether sending the request twice is harmless and possible: without a body, which could not be read a second time.
pub(crate) fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_empty()
}

/// Whose fault it is that no response head came: the request body has its own errors.
fn failure(refused: &Refused, exchange: &Exchange) -> RequestError {
    exchange.error().or(refused.error).unwrap_or(RequestError::BadResponse)
}

//! Sends a request to an endpoint and waits for the response head.
//!
//! What fails here is told with the request, if it may be sent again (`routing_rules::retry`, which decides). A kept
//! connection that the endpoint closed before a byte of the response came is nobody's fault (RFC 9110 §9.2.2, RFC 9112
//! §9.3.1): if nothing of the request was written, any request can be sent again; if it was, only one without a body and
//! with an idempotent method.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use routing_rules::retry::Failed;

use super::{EndpointConnection, Lease, LocalEndpoint};
use crate::connect;
use crate::data_path::error::RequestError;
use crate::data_path::request::{Exchange, RequestBody};
use crate::snapshot::ConnectionEnd;
use crate::worker::Worker;

/// A request that got no response head.
pub(crate) struct Unanswered {
    /// What the client would be told.
    pub(crate) error: RequestError,
    /// The request as it was, if it can be sent again, and what failed.
    pub(crate) again: Option<(Request<RequestBody>, Failed)>,
}

impl Unanswered {
    /// What is to be held against the endpoint, if anything is.
    pub(crate) fn fault(&self) -> Option<RequestError> {
        let is_excused = self.again.as_ref().is_some_and(|(_, failed)| failed.is_excused());
        (!is_excused).then_some(self.error)
    }
}

impl From<RequestError> for Unanswered {
    fn from(error: RequestError) -> Self {
        Self { error, again: None }
    }
}

/// Sends to one endpoint, `fresh` over a new connection. Returns the response head and the connection its body comes from.
pub(crate) async fn send(
    endpoint: &Rc<LocalEndpoint>,
    exchange: &Rc<Exchange>,
    request: Request<RequestBody>,
    fresh: bool,
    connect_timeout: Duration,
) -> Result<(Response<Incoming>, Lease), Unanswered> {
    let repeatable = is_repeatable(&request);
    let kept = match fresh {
        true => None,
        false if repeatable => endpoint.pool.take(endpoint, exchange.now_ms()),
        false => take_open(endpoint, exchange).await,
    };
    if let Some(mut lease) = kept {
        lease.connection.wire.expect_answer(repeatable);
        let received_before = lease.connection.wire.received();
        let answer = exchange.unless_expired(pin!(lease.connection.sender.try_send_request(request))).await?;
        let mut refused = match answer {
            Ok(response) => {
                lease.connection.wire.answered();
                return Ok((response, lease));
            }
            Err(refused) => refused,
        };
        let again = match refused.take_message() {
            Some(unsent) => Some((unsent, Failed::NotProcessed)),
            None if repeatable && lease.connection.wire.received() == received_before => {
                reread(&lease.connection.wire.sent()).map(|request| (request, Failed::ReusedConnectionClosed))
            }
            None => None,
        };
        if again.is_some() {
            lease.connection.lifetime.ends(ConnectionEnd::Endpoint);
        }
        return Err(Unanswered { error: failure(refused.error(), exchange), again });
    }
    // Boxed because it is rare, and would make the future of every request larger.
    let mut opening = Box::pin(open(endpoint, exchange.worker(), connect_timeout));
    let mut lease = match exchange.unless_expired(opening.as_mut()).await? {
        Ok(lease) => lease,
        Err(NotOpened::Endpoint(error)) => {
            return Err(Unanswered { error, again: Some((request, Failed::Connect)) });
        }
        Err(NotOpened::NoPort) => return Err(RequestError::Unavailable.into()),
        Err(NotOpened::NoRoom) => {
            exchange.worker().make_room();
            return Err(RequestError::Unavailable.into());
        }
    };
    lease.connection.wire.expect_answer(false);
    match exchange.unless_expired(pin!(lease.connection.sender.try_send_request(request))).await? {
        Ok(response) => Ok((response, lease)),
        Err(refused) => Err(failure(refused.error(), exchange).into()),
    }
}

/// A kept connection for a request that could not be sent again. The connections' own tasks are let in first, so that one
/// that the endpoint has closed by now, at the moment at which the request came, is not taken.
async fn take_open(endpoint: &Rc<LocalEndpoint>, exchange: &Exchange) -> Option<Lease> {
    if endpoint.pool.is_empty() {
        return None;
    }
    tokio::task::yield_now().await;
    endpoint.pool.take(endpoint, exchange.now_ms())
}

/// Why there is no connection.
pub(crate) enum NotOpened {
    /// The endpoint's doing.
    Endpoint(RequestError),
    /// No port is left towards this one address: closing other connections would not bring one back.
    NoPort,
    /// No descriptor or memory is left for it.
    NoRoom,
}

/// Opens a connection and starts the task that drives it.
pub(crate) async fn open(endpoint: &Rc<LocalEndpoint>, worker: &Worker, timeout: Duration) -> Result<Lease, NotOpened> {
    let stream = match EndpointConnection::dial(endpoint, timeout).await {
        Ok(stream) if worker.has_room_for(&stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            return Err(NotOpened::Endpoint(RequestError::ConnectTimeout));
        }
        Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => return Err(NotOpened::NoPort),
        Err(error) if !connect::is_our_own(&error) => return Err(NotOpened::Endpoint(RequestError::Connect)),
        Ok(_) | Err(_) => return Err(NotOpened::NoRoom),
    };
    let connection = EndpointConnection::start(worker, endpoint, stream).await;
    let connection = connection.map_err(|_| NotOpened::Endpoint(RequestError::Connect))?;
    Ok(Lease::new(connection, Rc::clone(endpoint)))
}

/// No local port is left, or the address is of a family this machine does not have.
const EADDRNOTAVAIL: i32 = 99;

/// Whether sending the request twice is harmless and possible: without a body, which could not be read a second time.
pub(crate) fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_empty()
}

/// The request whose head was written. Cheaper than a copy of every request: hyper keeps none of what it has written,
/// and a connection closes under a request so rarely that reading the head again costs nothing.
fn reread(head: &[u8]) -> Option<Request<RequestBody>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = parsed.method?.parse().ok()?;
    *request.uri_mut() = parsed.path?.parse().ok()?;
    for field in parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

/// Whose fault it is that no response head came: the request body has its own errors.
fn failure(error: &hyper::Error, exchange: &Exchange) -> RequestError {
    match exchange.error() {
        Some(error) => error,
        None if error.is_user() => RequestError::ClientGone,
        None => RequestError::BadResponse,
    }
}

/// Most fields of a head that was written: what a client may send, and room for what Serin and operators add.
const MAX_FIELDS: usize = 256;

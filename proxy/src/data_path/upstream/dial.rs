//! Opens a connection to an endpoint: a socket, and where the upstream's rules ask for it a handshake over that.
//!
//! Both together take no longer than the time for a connection. What is to be secured and cannot be is no connection, and a handshake
//! that fails is as a connection that could not be opened: nothing was sent, and another endpoint may do.
//!
//! Where the upstream's rules want the endpoint to know whose the connection is, that is its first bytes, before a handshake.
//!
//! Rules may change while it is being opened. Whoever sends something over it looks first whether its terms are those of now.

use std::rc::{Rc, Weak};

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{EndpointConnection, LocalEndpoint, NotOpened};
use crate::connect::{self, EndpointStream, Ends};
use crate::data_path::error::RequestError;
use crate::moment;
use crate::snapshot::{Endpoint, EndpointTls, TlsEnd, TlsFailure, Transport};
use crate::worker::Worker;

/// A connection over which nothing has been sent.
pub(super) struct Dialed {
    pub(super) stream: EndpointStream,
    pub(super) begun: Begun,
}

/// How it was begun.
pub(super) struct Begun {
    /// The number of the terms then.
    pub(super) terms: u32,
    /// How the handshake ended, if there was one. The endpoint may yet refuse it.
    pub(super) shaken: Option<TlsEnd>,
    /// Whose it is, if the endpoint was told that it is a client's.
    pub(super) client: Option<Weak<Ends>>,
}

/// What an endpoint is told first.
enum First {
    Nothing,
    /// Whose the connection is: a client's, or Serin's own.
    Whose(Option<Rc<Ends>>),
}

/// Opens a connection to an endpoint; for a client, if it is for one, who is asked for where the endpoint is told of clients.
pub(super) async fn dial(
    endpoint: &LocalEndpoint,
    worker: &Worker,
    client: impl FnOnce() -> Option<Rc<Ends>>,
    deadline: Instant,
) -> Result<Dialed, NotOpened> {
    // Before the socket, so that none is open that says nothing.
    let turn = match endpoint.pool.transport() {
        Transport::Tls(_) => match timeout_at(deadline, endpoint.pool.handshakes.acquire()).await {
            Ok(turn) => turn.ok(),
            Err(_) => return Err(NotOpened::Endpoint(RequestError::ConnectTimeout)),
        },
        Transport::Clear | Transport::Closed => None,
    };
    // Only now: the turn may have been long in coming.
    let terms = endpoint.pool.terms();
    let first = if endpoint.pool.announces() { First::Whose(client()) } else { First::Nothing };
    let (stream, shaken) = match endpoint.pool.transport() {
        Transport::Clear => (EndpointStream::Plain(socket(endpoint, worker, &first, deadline).await?), None),
        // Boxed so that clear text needs no room for it.
        Transport::Tls(tls) => {
            let (stream, end) = Box::pin(secured(endpoint, worker, &tls, &first, deadline)).await?;
            (stream, Some(end))
        }
        Transport::Closed => return Err(NotOpened::Closed),
    };
    drop(turn);
    let client = if let First::Whose(Some(client)) = &first { Some(Rc::downgrade(client)) } else { None };
    Ok(Dialed { stream, begun: Begun { terms, shaken, client } })
}

async fn socket(
    endpoint: &LocalEndpoint,
    worker: &Worker,
    first: &First,
    deadline: Instant,
) -> Result<TcpStream, NotOpened> {
    let mut socket = connected(endpoint, worker, deadline).await?;
    if let First::Whose(client) = first {
        let told = timeout_at(deadline, connect::announce(&mut socket, client.as_deref())).await;
        told.map_err(|_| NotOpened::Endpoint(RequestError::ConnectTimeout))?
            .map_err(|_| NotOpened::Endpoint(RequestError::Connect))?;
    }
    Ok(socket)
}

async fn connected(endpoint: &LocalEndpoint, worker: &Worker, deadline: Instant) -> Result<TcpStream, NotOpened> {
    let timeout = deadline.saturating_duration_since(Instant::now());
    match EndpointConnection::dial(endpoint, timeout).await {
        Ok(stream) if worker.has_room_for(&stream) => Ok(stream),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(NotOpened::Endpoint(RequestError::ConnectTimeout))
        }
        Err(error) if error.raw_os_error() == Some(EADDRNOTAVAIL) => Err(NotOpened::NoPort),
        Err(error) if !connect::is_our_own(&error) => Err(NotOpened::Endpoint(RequestError::Connect)),
        Ok(_) | Err(_) => Err(NotOpened::NoRoom),
    }
}

async fn secured(
    endpoint: &LocalEndpoint,
    worker: &Worker,
    tls: &EndpointTls,
    first: &First,
    deadline: Instant,
) -> Result<(EndpointStream, TlsEnd), NotOpened> {
    loop {
        let socket = socket(endpoint, worker, first, deadline).await?;
        let shaken = timeout_at(deadline, connect::secure(socket, tls, endpoint.shared().address())).await;
        match shaken.unwrap_or_else(|_| Err(connect::timed_out())) {
            Ok(Some(secured)) => return Ok(secured),
            Ok(None) => {}
            Err(failure) => return Err(NotOpened::Endpoint(failed(endpoint.shared(), worker.index, &failure))),
        }
    }
}

/// The endpoint has said something behind a handshake, so that it has taken it.
pub(super) fn proved(endpoint: &Endpoint, worker: usize, end: TlsEnd) {
    if let Some(counters) = endpoint.counters(worker) {
        counters.connections().secured(end);
    }
    if endpoint.handshake_completed() {
        let (upstream, endpoint) = (endpoint.upstream(), endpoint.address());
        tracing::info!(%upstream, %endpoint, "TLS with an endpoint is in order again");
    }
}

/// A handshake failed. Says what the client is told.
pub(super) fn failed(endpoint: &Endpoint, worker: usize, failure: &TlsFailure) -> RequestError {
    if let Some(counters) = endpoint.counters(worker) {
        counters.connections().secured(failure.end);
    }
    if endpoint.handshake_failed(&failure.reason, moment::now_us() / 1_000) {
        let (upstream, endpoint, reason) = (endpoint.upstream(), endpoint.address(), &failure.reason);
        tracing::warn!(%upstream, %endpoint, reason, "no TLS with an endpoint");
    }
    match failure.end {
        TlsEnd::TimedOut => RequestError::ConnectTimeout,
        _ => RequestError::EndpointTls,
    }
}

/// Handshakes with one endpoint that one worker has under way at once; further ones wait. An endpoint that takes connections and says
/// nothing then holds up no others, and a crowd of requests for one that was slow to start does not take all of a worker's time at once.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// No local port is left, or the address is of a family this machine does not have.
const EADDRNOTAVAIL: i32 = 99;

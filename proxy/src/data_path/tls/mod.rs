//! Handshakes of clients: reads which host they want, picks the certificate and the terms from the snapshot of that moment,
//! and hands the encrypted connection on to [`http`].
//!
//! Nobody gets a certificate that is not meant for the host, nor is anybody let in on other terms than those of the host:
//! in doubt the handshake ends. What a handshake may cost the others is bounded by [`Handshakes`].

mod first;
mod gate;
mod secured;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::{Accepted, Acceptor};
use tokio_rustls::rustls::{Error, HandshakeKind, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, LazyConfigAcceptor, StartHandshake};

use super::challenge;
use super::deadline::Registered;
use super::http::http2::Place;
use super::http::{self, ClientStream, ConnectionState, Order, Phase};
use crate::snapshot::ClientPolicy;
use crate::worker::Worker;

use first::First;
pub(crate) use gate::{Handshakes, UnderWay};
pub(crate) use secured::Secured;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeEnd {
    /// The client is served.
    Completed,
    /// The client is served, and goes on with a session of before.
    Resumed,
    /// The client is an authority, and has seen that a host leads here.
    Challenge,
    /// There is no certificate for the host that was asked for.
    NoCertificate,
    /// What the client speaks on top is nothing that is spoken here.
    NoProtocol,
    /// The client and the listener have no version or cipher suite in common.
    Incompatible,
    /// The client showed no certificate, or one that does not count.
    ClientCertificate,
    /// The client did not like what it was shown.
    RefusedByClient,
    /// What came is not TLS, or is wrong.
    Broken,
    /// The client went away.
    Left,
    /// It took too long.
    TimedOut,
    /// There were too many.
    Excess,
}

impl HandshakeEnd {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Completed,
        Self::Resumed,
        Self::Challenge,
        Self::NoCertificate,
        Self::NoProtocol,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::RefusedByClient,
        Self::Broken,
        Self::Left,
        Self::TimedOut,
        Self::Excess,
    ];

    /// A short stable word for metrics.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Resumed => "resumed",
            Self::Challenge => "challenge",
            Self::NoCertificate => "no_certificate",
            Self::NoProtocol => "no_protocol",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Broken => "broken",
            Self::Left => "left",
            Self::TimedOut => "timed_out",
            Self::Excess => "excess",
        }
    }

    fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return Self::Left };
        match error {
            Error::NoApplicationProtocol => Self::NoProtocol,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                Self::ClientCertificate
            }
            Error::AlertReceived(_) => Self::RefusedByClient,
            _ => Self::Broken,
        }
    }
}

/// A connection whose handshake is under way.
pub(crate) struct Connection {
    pub(crate) state: Rc<ConnectionState>,
    pub(crate) registered: Registered<ConnectionState>,
    pub(crate) under_way: UnderWay,
}

/// Begins with a fresh connection.
pub(crate) fn begin(
    worker: &Rc<Worker>,
    stream: TcpStream,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
) {
    state.begins_handshake();
    let Some(under_way) = worker.handshakes.begin(&state, worker.clock.now_ms()) else {
        worker.counters.handshake(HandshakeEnd::Excess);
        return;
    };
    let (worker, connection) = (Rc::clone(worker), Connection { state, registered, under_way });
    tokio::task::spawn_local(async move {
        let reading = LazyConfigAcceptor::new(Acceptor::default(), First::of(stream));
        match unless_ordered(&connection.state, reading).await {
            Ok(Ok(StartHandshake { accepted, io, .. })) => {
                let hello = StartHandshake::from_parts(accepted, io.into_inner());
                go_on_where_it_belongs(&worker, hello, connection);
            }
            Ok(Err(error)) => worker.counters.handshake(HandshakeEnd::of(&error)),
            Err(end) => worker.counters.handshake(end),
        }
    });
}

/// A client that may speak HTTP/2 goes to the worker that has the fewest of these, before there are keys.
fn go_on_where_it_belongs(worker: &Rc<Worker>, hello: StartHandshake<TcpStream>, connection: Connection) {
    if let Some(config) = challenge::handshake(worker, &hello) {
        return answer_challenge(worker, hello, config, connection);
    }
    let speaks_http2 = hello.client_hello().alpn().is_some_and(|mut offers| offers.any(|offer| offer == b"h2"));
    match speaks_http2 {
        true => http::http2::begin_handshake(worker, hello, connection),
        false => go_on(worker, hello, connection, None),
    }
}

/// Lets an authority see what it was told to look for. On whatever terms others come in, this one does not come in.
fn answer_challenge(
    worker: &Rc<Worker>,
    hello: StartHandshake<TcpStream>,
    config: Arc<ServerConfig>,
    connection: Connection,
) {
    let Connection { state, registered, under_way } = connection;
    state.said_hello();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        // It has its place, and can be told to go, until it is over.
        let _held = (registered, under_way);
        let shaken = async {
            let shaking = sign(&worker, &state, hello, config).await?;
            unless_ordered(&state, async { shaking.await?.shutdown().await }).await
        };
        worker.counters.handshake(match shaken.await {
            Ok(Ok(())) => HandshakeEnd::Challenge,
            Ok(Err(error)) => HandshakeEnd::of(&error),
            Err(end) => end,
        });
    });
}

/// Goes on with a client that has said what it wants. The place is that of the HTTP/2 connection it may become.
pub(crate) fn go_on(
    worker: &Rc<Worker>,
    hello: StartHandshake<TcpStream>,
    connection: Connection,
    place: Option<Place>,
) {
    connection.state.said_hello();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let Connection { state, registered, under_way } = connection;
        let shaken = Box::pin(shake_hands(&worker, hello, &state)).await;
        match shaken {
            Ok((stream, secured)) => {
                drop(under_way);
                let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                worker.counters.handshake(if is_resumed { HandshakeEnd::Resumed } else { HandshakeEnd::Completed });
                serve(&worker, stream, secured, state, registered, place);
            }
            Err(Failed { end, socket }) => {
                worker.counters.handshake(end);
                // It keeps its place until it has gone, or there could be any number of those.
                if let Some(socket) = socket {
                    http::linger(socket).await;
                }
            }
        }
    });
}

fn serve(
    worker: &Rc<Worker>,
    stream: TlsStream<TcpStream>,
    secured: Secured,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
    place: Option<Place>,
) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = ClientStream::Tls(Box::new(stream));
    state.is_secured(secured);
    state.enter(Phase::Idle, worker.clock.now_ms());
    match place.filter(|_| is_http2) {
        Some(place) => http::http2::serve_secured(worker, stream, state, registered, place),
        None => http::spawn_serve(worker, stream, Bytes::new(), state, registered),
    }
}

/// A handshake that was not completed.
struct Failed {
    end: HandshakeEnd,
    /// If the client was told why, and should get to read it.
    socket: Option<TcpStream>,
}

impl From<HandshakeEnd> for Failed {
    fn from(end: HandshakeEnd) -> Self {
        Self { end, socket: None }
    }
}

async fn shake_hands(
    worker: &Worker,
    mut hello: StartHandshake<TcpStream>,
    state: &Rc<ConnectionState>,
) -> Result<(TlsStream<TcpStream>, Secured), Failed> {
    // RFC 6066 §3 has no dot at the end; some write it all the same.
    let host =
        hello.client_hello().server_name().map(|host| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase());
    let Some(chosen) = choose(worker, state, host) else {
        let told = hello.io.write_all(&UNRECOGNIZED_NAME).await;
        return Err(Failed { end: HandshakeEnd::NoCertificate, socket: told.is_ok().then_some(hello.io) });
    };
    let Chosen { config, secured } = chosen;
    let shaking = sign(worker, state, hello, config).await?.into_fallible();
    let stream = unless_ordered(state, shaking).await?.map_err(|(error, socket)| {
        let end = HandshakeEnd::of(&error);
        Failed { end, socket: Some(socket).filter(|_| end != HandshakeEnd::Left) }
    })?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let secured = secured.with_client_certificate(shown.map(|certificate| &**certificate));
    Ok((stream, secured))
}

/// Signs when it is its turn. From then on the client is waited for.
async fn sign(
    worker: &Worker,
    state: &Rc<ConnectionState>,
    hello: StartHandshake<TcpStream>,
    config: Arc<ServerConfig>,
) -> Result<Accept<TcpStream>, HandshakeEnd> {
    let turn = unless_ordered(state, worker.handshakes.turn()).await?;
    // This is where signing takes place.
    let shaking = hello.into_stream(config);
    // Those who are served already have their turn before the next one who is not.
    tokio::task::yield_now().await;
    drop(turn);
    worker.handshakes.answered(state, worker.clock.now_ms());
    Ok(shaking)
}

struct Chosen {
    config: Arc<ServerConfig>,
    secured: Secured,
}

/// What the client gets by the rules of this moment.
fn choose(worker: &Worker, state: &ConnectionState, host: Option<String>) -> Option<Chosen> {
    let snapshot = worker.snapshot();
    state.listener.in_force(&snapshot, |tls, listening| {
        let terms = tls.terms(listening.tls.as_ref()?, host.as_deref())?;
        let name = terms.certificate.name.clone();
        let clients: Option<ClientPolicy> = terms.clients;
        let config = terms.config();
        Some(Chosen { config, secured: Secured::new(host, name, Arc::clone(terms.certificate), clients) })
    })?
}

/// Waits for a step of a handshake, unless it is to end first.
async fn unless_ordered<T>(state: &ConnectionState, step: impl Future<Output = T>) -> Result<T, HandshakeEnd> {
    let mut step = pin!(step);
    poll_fn(|cx| {
        state.keep_waker(cx.waker());
        match state.take_order() {
            Some(Order::RefuseHead) => return Poll::Ready(Err(HandshakeEnd::TimedOut)),
            Some(Order::Close) => return Poll::Ready(Err(HandshakeEnd::Excess)),
            // It is promised already; the first response says that it is the last.
            Some(Order::Drain | Order::Park | Order::Look) | None => {}
        }
        step.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// What is left of a hello when it is handed to another worker.
pub(crate) type Hello = Accepted;

/// A fatal alert (RFC 8446 §6, RFC 6066 §3), as it is sent before there are keys.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

//! Serves one HTTP/1 connection of a client: requests one after another, time limits, parking, the way out. A connection
//! that turns out to be HTTP/2 with its first bytes goes to [`http2`], at no cost to the others.
//!
//! An idle connection costs almost nothing: after a second it is *parked*, that is taken out of hyper with all
//! buffers dropped, and only its socket waits for the next byte in a task of its own. No timer belongs to a
//! connection; the worker's sweep ([`super::deadline`]) looks at all of them and leaves an [`Order`].

mod announced;
pub(crate) mod http2;
mod io;
mod preface;
mod refusal;
mod state;
mod stream;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::deadline::Registered;
use super::error::RequestError;
use super::headers::ForwardingFacts;
use super::listener::{ClientPlace, ListenerContext};
use super::{request, tls, tunnel};
use crate::connect::Ends;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

pub(crate) use io::ClientIo;
pub(crate) use state::{ConnectionState, Order, Phase};
pub(crate) use stream::ClientStream;

/// Where a connection comes from, as far as that is known without its bytes.
pub(crate) struct From {
    pub(crate) ends: Ends,
    pub(crate) scheme: &'static str,
    /// It was open before, as its load balancer's.
    pub(crate) is_counted: bool,
}

/// Serves a fresh connection.
pub(crate) fn accept(worker: &Rc<Worker>, listener: &Rc<ListenerContext>, stream: TcpStream, peer: SocketAddr) {
    let snapshot = worker.snapshot();
    let ends = Ends::new(peer, turned_to(listener, &snapshot, &stream));
    // Whether those who are announced come by TLS, if whoever comes is to be announced.
    let announced = listener.in_force(&snapshot, |_, listening| {
        let rules = &listening.rules;
        rules.is_announced_by(ends.client()).then(|| rules.announced_are_secure())
    });
    match announced.flatten() {
        Some(are_secure) => announced::begin(worker, listener, stream, ends, are_secure),
        None => begin(worker, listener, stream, From { ends, scheme: "http", is_counted: false }),
    }
}

/// Where a client turned to. Of a listener on all addresses only the connection knows, which is asked if somebody will be told.
fn turned_to(listener: &ListenerContext, snapshot: &Snapshot, stream: &TcpStream) -> SocketAddr {
    let is_asked = listener.bound.ip().is_unspecified() && !snapshot.announcing.is_empty();
    let asked = is_asked.then(|| stream.local_addr().ok()).flatten();
    asked.unwrap_or(listener.bound)
}

/// Serves a connection of which it is known whose it is, or closes it at once if its client has too many.
fn begin(worker: &Rc<Worker>, listener: &Rc<ListenerContext>, stream: TcpStream, from: From) {
    let snapshot = worker.snapshot();
    // A listener that nobody knows is about to close, and what its clients speak is not known either.
    let Some(speaks_tls) = listener.in_force(&snapshot, |_, listening| listening.tls.is_some()) else {
        if from.is_counted {
            worker.counters.connection_closed();
        }
        return;
    };
    let client = from.ends.client();
    let Some(place) = ClientPlace::take(&worker.clients, client, snapshot.trusts(client)) else {
        worker.counters.client_limit_reached();
        if from.is_counted {
            worker.counters.connection_closed();
        }
        return;
    };
    if !from.is_counted {
        worker.counters.connection_opened();
    }
    let scheme = if speaks_tls { "https" } else { from.scheme };
    let forwarding = ForwardingFacts::new(client, from.ends.port(), scheme);
    let now_ms = worker.clock.now_ms();
    let state = Rc::new(ConnectionState::new(from.ends, forwarding, listener, place, &worker.counters, now_ms));
    let registered = worker.connections.insert(Rc::clone(&state));
    match speaks_tls {
        true => tls::begin(worker, stream, state, registered),
        false => spawn_serve(worker, ClientStream::Plain(stream), Bytes::new(), state, registered),
    }
}

pub(super) fn spawn_serve(
    worker: &Rc<Worker>,
    stream: ClientStream,
    unread: Bytes,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
) {
    let worker = Rc::clone(worker);
    let io = ClientIo::new(stream, unread, Rc::clone(&state), Rc::clone(&worker.clock));
    tokio::task::spawn_local(serve(worker, io, state, registered));
}

/// How serving a connection ended.
enum Ended {
    /// hyper is done: closed by either side, or upgraded.
    Done(Result<(), hyper::Error>),
    /// The sweep wants something.
    Ordered(Order),
    /// It has not begun: the first bytes are those of HTTP/2.
    Http2,
}

async fn serve(worker: Rc<Worker>, io: ClientIo, state: Rc<ConnectionState>, registered: Registered<ConnectionState>) {
    let service = service_fn(|request| request::serve(&worker, &state, request));
    let mut connection = worker.http1.serve_connection(io, service);
    let ended = poll_fn(|cx| {
        state.keep_waker(cx.waker());
        if let Some(order) = state.take_order() {
            match order {
                // Only between requests: a head that is on its way still gets its answer, which says `close`.
                Order::Drain if state.phase() == Phase::Idle && state.has_served() => {
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Order::Drain => {}
                // Done by the socket, which hyper flushes whenever it is woken.
                Order::Look => state.look(),
                order => return Poll::Ready(Ended::Ordered(order)),
            }
        }
        // Not `poll_without_shutdown`, which may be done while the end of a response is still in hyper's buffer.
        let polled = Pin::new(&mut connection).poll(cx);
        match state.is_http2() {
            true => Poll::Ready(Ended::Http2),
            false => polled.map(Ended::Done),
        }
    })
    .await;
    let parts = connection.into_parts();
    let refused = parts.io.refused();
    let (mut stream, unread) = parts.io.into_parts(parts.read_buf);
    // Taken on every way out: it holds the request, which holds the connection's state, which holds it.
    let tunnel = state.take_tunnel();
    match ended {
        Ended::Ordered(Order::Park) if unread.is_empty() && state.is_draining() => stream.end(),
        Ended::Ordered(Order::Park) if unread.is_empty() => park(worker, stream, state, registered),
        // Bytes of the next request are there already: not idle after all.
        Ended::Ordered(Order::Park) => {
            // They came behind the last request, when nobody was waiting for a head; its time begins now.
            state.enter(Phase::Head, worker.clock.now_ms());
            spawn_serve(&worker, stream, unread, state, registered);
        }
        Ended::Http2 => http2::begin(&worker, stream, unread, state, registered),
        Ended::Ordered(Order::RefuseHead) => {
            worker.counters.head_timeout();
            if refusal::refuse(&worker, &state, &mut stream, RequestError::HeadTimeout).await {
                linger(stream).await;
            }
        }
        // An answer that was cut must not look whole.
        Ended::Ordered(Order::Close | Order::Drain | Order::Look) if state.owes_answer() => {}
        Ended::Ordered(Order::Close | Order::Drain | Order::Look) => stream.end(),
        Ended::Done(Ok(())) => match tunnel {
            Some(tunnel) => Box::pin(tunnel::run(&worker, &state, stream, unread, tunnel)).await,
            None => close(stream, &state).await,
        },
        Ended::Done(Err(error)) => {
            if error.is_parse() {
                if refusal::refuse(&worker, &state, &mut stream, refusal::unreadable(refused)).await {
                    linger(stream).await;
                }
            } else if state.speaks_http10() {
                // Its bodies may end where the connection ends: only a reset shows that this one was cut.
                let _ = socket2::SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO));
            } else {
                close(stream, &state).await;
            }
        }
    }
}

/// Waits for the next byte with nothing but the socket in memory.
fn park(
    worker: Rc<Worker>,
    mut stream: ClientStream,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
) {
    state.enter(Phase::Parked, worker.clock.now_ms());
    worker.counters.parked();
    tokio::task::spawn_local(async move {
        let ready = poll_fn(|cx| {
            state.keep_waker(cx.waker());
            match state.take_order() {
                Some(Order::Park | Order::Look) | None => stream.poll_read_ready(cx).map(|ready| ready.is_ok()),
                Some(Order::Close | Order::Drain | Order::RefuseHead) => Poll::Ready(false),
            }
        })
        .await;
        worker.counters.unparked();
        if !ready {
            return stream.end();
        }
        // What came through TLS may be new keys, or an alert: there is a head when there are bytes of one.
        let phase = if matches!(stream, ClientStream::Plain(_)) { Phase::Head } else { Phase::Idle };
        state.enter(phase, worker.clock.now_ms());
        spawn_serve(&worker, stream, Bytes::new(), state, registered);
    });
}

/// Ends a connection so that the last answer is read. If the client may still be sending, closing at once would
/// make the kernel answer with a reset, and the reset can overtake the answer (RFC 9112 §9.6).
async fn close(mut stream: ClientStream, state: &ConnectionState) {
    if state.has_unread_body() {
        linger(stream).await;
    } else {
        // TLS says the end in a record, for which there may be no room.
        let _ = tokio::time::timeout(LINGER_TIME, stream.shutdown()).await;
    }
}

/// Says that nothing more will come, then reads a bounded amount for a bounded time.
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        // On the heap, or every connection's task would be larger by it.
        let mut scratch = vec![0; 4096];
        let mut left = LINGER_BYTES;
        while let Ok(n @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

/// The server side of hyper as Serin uses it.
pub(crate) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .max_header_size(super::request::MAX_HEAD)
        // Bounds read-ahead of pipelined requests and the memory one connection can hold.
        .max_buf_size(MAX_BUFFER);
    builder
}

/// Largest read buffer of a connection, in bytes.
const MAX_BUFFER: usize = 64 << 10;

/// How much of an unwanted body is read before the connection is closed, in bytes.
const LINGER_BYTES: usize = 256 << 10;

/// For how long.
const LINGER_TIME: Duration = Duration::from_secs(2);

//! Upgraded connections: after a 101 that was asked for, bytes are passed on as they are, in both directions, until
//! both sides have closed or nothing moves for too long.

mod switching;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::Connection;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::decide::Decision;
use super::error::RequestError;
use super::http::{ClientStream, ConnectionState, Phase};
use super::request::{Life, RequestBody};
use super::response::{self, ResponseBody};
use super::upstream::{EndpointIo, Lease, Lifetime};
use crate::connect::EndpointStream;
use crate::worker::Worker;
use switching::Switched;
pub(crate) use switching::{Switching, Upgrade};

/// The endpoint's socket and what was read from it beyond the 101, once hyper has let go of it.
pub(crate) type Handover = oneshot::Receiver<(EndpointStream, Bytes)>;

/// A tunnel that begins when the client's connection has carried the 101.
pub(crate) struct PendingTunnel {
    handover: Handover,
    idle: Duration,
    /// The request stays in flight, and its endpoint busy, until the tunnel ends.
    decision: Box<Decision>,
    life: Life,
    /// The endpoint's connection counts as open until then.
    _lifetime: Box<Lifetime>,
}

/// Drives a connection to an endpoint. If it ends in an upgrade, the receiver gets the socket.
///
/// A task of its own, although the request could poll the connection itself: under load the worker then reads from
/// many clients, writes to many endpoints, and so on, in turns, and these runs of like system calls cost a fifth less
/// processor time than reading and writing in alternation.
pub(crate) fn drive(mut connection: Connection<TokioIo<EndpointIo>, RequestBody>) -> (Handover, Driver) {
    let (sender, handover) = oneshot::channel();
    let task = tokio::task::spawn_local(async move {
        if poll_fn(|cx| connection.poll_without_shutdown(cx)).await.is_ok() {
            let parts = connection.into_parts();
            // Nobody receives it unless there was a 101; the socket is closed then.
            let _ = sender.send((parts.io.into_inner().into_stream(), parts.read_buf));
        }
    });
    (handover, Driver(task.abort_handle()))
}

/// The task that drives a connection; ends with this, and the connection with it.
pub(crate) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Turns an endpoint's 101 into what the client is told, and leaves the tunnel to the connection, or to a task with HTTP/2. A
/// 101 nobody asked for, or to another protocol, is a bad response.
pub(crate) fn switch(
    life: Life,
    head: Response<Incoming>,
    lease: Lease,
    decision: Box<Decision>,
    asked: Option<Upgrade>,
) -> Result<Response<ResponseBody>, (RequestError, Life)> {
    let (mut parts, _) = head.into_parts();
    let Some(switched) = asked.and_then(|asked| asked.agreed(&mut parts)) else {
        return Err((RequestError::BadResponse, life));
    };
    let Some((handover, lifetime)) = lease.into_tunnel() else { return Err((RequestError::BadResponse, life)) };
    let exchange = Rc::clone(life.exchange());
    exchange.endpoint_answered(StatusCode::SWITCHING_PROTOCOLS);
    exchange.set_status(parts.status);
    exchange.becomes_tunnel();
    if let Some(visit) = exchange.visit() {
        visit.add_cookies(&mut parts.headers);
    }
    let idle = decision.route().timeouts().tunnel_idle;
    let pending = PendingTunnel { handover, idle, decision, life, _lifetime: lifetime };
    match switched {
        Switched::Connection => exchange.connection().set_tunnel(pending),
        Switched::Stream(stream) => drop(tokio::task::spawn_local(run_over(stream, pending))),
    }
    Ok(Response::from_parts(parts, response::ResponseBody::text(Bytes::new())))
}

/// Runs a tunnel over a client's connection to its end. `unread` is what the client sent after its request.
pub(crate) async fn run(
    worker: &Worker,
    state: &ConnectionState,
    client: ClientStream,
    unread: Bytes,
    pending: PendingTunnel,
) {
    state.enter(Phase::Tunnel, worker.clock.now_ms());
    tokio::select! {
        () = relay(worker, client, unread, pending, None) => {}
        () = state.ordered_to_close() => {}
    }
}

/// Runs a tunnel over one stream of a client to its end. It ends with the connection, too.
async fn run_over(stream: OnUpgrade, pending: PendingTunnel) {
    let worker = Rc::clone(pending.life.exchange().worker());
    // Until the answer is on its way there is no stream.
    if let Ok(stream) = stream.await {
        relay(&worker, TokioIo::new(stream), Bytes::new(), pending, Some(&ClientEnd::default())).await;
    }
}

/// `client_end` is for a client whose reset is read as an end like any other.
async fn relay(
    worker: &Worker,
    client: impl AsyncRead + AsyncWrite,
    unread: Bytes,
    pending: PendingTunnel,
    client_end: Option<&ClientEnd>,
) {
    let PendingTunnel { handover, idle, decision, life, _lifetime } = pending;
    let Ok((endpoint, early)) = handover.await else {
        life.exchange().fail(RequestError::ResponseCut);
        return;
    };
    let _open = Open::begin(worker);
    match endpoint {
        EndpointStream::Plain(socket) => {
            pass(worker, client, socket.into_split(), [unread, early], (life, idle), client_end).await;
        }
        secured => pass(worker, client, tokio::io::split(secured), [unread, early], (life, idle), client_end).await,
    }
    drop(decision);
}

/// Passes bytes both ways. First come those that were read before, of the client's and the endpoint's.
async fn pass(
    worker: &Worker,
    client: impl AsyncRead + AsyncWrite,
    (endpoint_read, endpoint_write): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    [unread, early]: [Bytes; 2],
    (mut life, idle): (Life, Duration),
    client_end: Option<&ClientEnd>,
) {
    let moved = Cell::new(worker.clock.now_ms());
    let (client_read, client_write) = tokio::io::split(client);
    let exchange = Rc::clone(life.exchange());
    // It is over when it is, also if nobody waits for its end.
    life.completed();
    let up = async {
        let up = pump(client_read, endpoint_write, unread, None, |count| {
            moved.set(worker.clock.now_ms());
            exchange.request_bytes_came(count);
        });
        up.await.inspect(|()| client_end.iter().for_each(|end| end.comes()))
    };
    let down = pump(endpoint_read, client_write, early, client_end, |count| {
        moved.set(worker.clock.now_ms());
        exchange.response_bytes_came(count);
    });
    let watch = async {
        let limit = idle.as_millis() as u64;
        loop {
            let quiet = worker.clock.now_ms().saturating_sub(moved.get());
            if quiet >= limit {
                break;
            }
            tokio::time::sleep(Duration::from_millis((limit - quiet).max(50))).await;
        }
    };
    tokio::select! {
        _ = async { tokio::try_join!(up, down) } => {}
        () = watch => worker.counters.tunnel_idle(),
    }
}

/// A tunnel counts as open until this is dropped.
struct Open<'w>(&'w Worker);

impl<'w> Open<'w> {
    fn begin(worker: &'w Worker) -> Self {
        worker.counters.tunnel_opened();
        Self(worker)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counters.tunnel_closed();
    }
}

/// Whether a stream of HTTP/2 has brought its last byte. hyper reads a stream that was taken back as one that has ended, and only
/// who writes to it hears that nobody listens.
#[derive(Default)]
struct ClientEnd {
    came: Cell<bool>,
    bell: Notify,
}

impl ClientEnd {
    fn comes(&self) {
        self.came.set(true);
        self.bell.notify_one();
    }

    /// Reads what an endpoint has to say. Fails if its client has ended and does not listen.
    async fn read_for(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            tokio::select! {
                biased;
                read = from.read(buffer) => return read,
                () = self.bell.notified() => {}
                () = tokio::time::sleep(LOOK), if self.came.get() => to.flush().await?,
            }
        }
    }
}

/// Passes bytes one way. The end of one direction is passed on as a half-close. Bytes that cannot be written end this
/// direction only, because the other one may still have something to read; an error of reading is a reset, after
/// which nothing comes or goes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    first: Bytes,
    reader_end: Option<&ClientEnd>,
    moved: impl Fn(usize),
) -> io::Result<()> {
    if !first.is_empty() {
        moved(first.len());
        if write_out(&mut to, &first).await.is_err() {
            return Ok(());
        }
    }
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    loop {
        let count = match reader_end {
            Some(end) => end.read_for(&mut from, &mut to, &mut buffer).await?,
            None => from.read(&mut buffer).await?,
        };
        if count == 0 {
            break;
        }
        moved(count);
        if write_out(&mut to, &buffer[..count]).await.is_err() {
            return Ok(());
        }
        moved(0);
    }
    let _ = to.shutdown().await;
    Ok(())
}

/// TLS may hold on to the end of what it was given until it is told to let go.
async fn write_out(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// How often a client that has ended is looked after while its endpoint is silent.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes in hand per direction.
const BUFFER: usize = 16 << 10;

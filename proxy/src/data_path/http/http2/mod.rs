//! Serves one HTTP/2 connection of a client: many requests at once, each in a task of its own and each served as one of
//! HTTP/1 is. Framing and flow control are hyper's; what a client may do to excess is counted by [`meter`].
//!
//! What the bytes come through is not looked at here: TLS does as well as clear text. A connection is never parked:
//! its windows and tables are part of what both sides have agreed on.

mod gathered;
mod handing;
mod head;
mod meter;
mod resets;
mod wire;

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{ConnectionState, Order, linger};
use crate::data_path::deadline::Registered;
use crate::data_path::request;
use crate::snapshot::Listening;
use crate::worker::Worker;

pub(super) use handing::begin;
pub(crate) use handing::{Handed, Place, Share, take_over};
pub(in crate::data_path) use handing::{begin_handshake, serve_secured};
pub(crate) use head::in_terms_of_http1;
pub(crate) use meter::Excess;
use meter::{Farewell, Meter};
use wire::Wire;

/// How serving a connection ended.
enum Ended {
    /// By hyper: either side has closed, and whatever there was to say has been said.
    Done,
    /// By us, for this reason, of which the client is yet to be told.
    Away(u32),
    /// The client reads nothing, or has been told and does not go.
    Cut,
}

/// Serves a connection. In clear text its preface has come and is the first of what is unread.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    stream: S,
    unread: Bytes,
    state: Rc<ConnectionState>,
    _registered: Registered<ConnectionState>,
    _place: Place,
) {
    worker.counters.http2_began();
    let is_one_client = !worker.snapshot().trusts(state.peer());
    let source = is_one_client.then(|| worker.http2.source(state.peer()));
    let wire = Rc::new(Wire::new(stream, Meter::of(source), &state, &worker.clock));
    let service = service_fn(|request| request::serve(&worker, &state, request));
    let takes_websocket = |_: &_, listening: &Listening| listening.rules.takes_websocket_over_http2();
    let takes_websocket = state.listener.in_force(&worker.snapshot(), takes_websocket).unwrap_or_default();
    let builder = builder(OwnTasks(Rc::clone(&state)), takes_websocket);
    let mut connection = builder.serve_connection(Wire::io(&wire, unread), service);
    if state.is_draining() {
        // It was told to before it was known to be one of HTTP/2.
        state.order(Order::Drain);
    }
    let ended = poll_fn(|cx| {
        state.keep_waker(cx.waker());
        match state.take_order() {
            Some(Order::Drain) => {
                Pin::new(&mut connection).graceful_shutdown();
                state.tells(worker.clock.now_ms());
            }
            Some(Order::Close) => return Poll::Ready(Ended::Cut),
            Some(Order::RefuseHead) => {
                worker.counters.head_timeout();
                return Poll::Ready(Ended::Away(NO_ERROR));
            }
            Some(Order::Look | Order::Park) | None => {}
        }
        let polled = Pin::new(&mut connection).poll(cx);
        let is_broken = matches!(wire.poll_end_turn(cx), Poll::Ready(Err(_)));
        match state.excess() {
            None | Some(Excess::Other) if is_broken => Poll::Ready(Ended::Done),
            // hyper has said so itself.
            None | Some(Excess::Other) => polled.map(|_| Ended::Done),
            Some(_) => Poll::Ready(Ended::Away(ENHANCE_YOUR_CALM)),
        }
    })
    .await;
    // Ends what is under way, and gives the stream back.
    drop(connection);
    if let Some(excess) = state.excess() {
        worker.counters.excessive(excess);
    }
    if let Some((stream, farewell)) = Rc::into_inner(wire).map(Wire::into_parts) {
        take_leave(stream, farewell, ended, &state).await;
    }
}

/// Tells the client what hyper has not told it, and lets it hear that.
async fn take_leave(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    farewell: Farewell,
    ended: Ended,
    state: &ConnectionState,
) {
    let reason = match ended {
        Ended::Done => None,
        Ended::Away(reason) => Some(reason),
        // What the client has sent meanwhile it may repeat then, if it still hears of it.
        Ended::Cut => Some(NO_ERROR).filter(|_| state.write_blocked_since_ms().is_none()),
    };
    if let Some(goaway) = reason.and_then(|reason| farewell.goaway(reason)) {
        let telling = async {
            stream.write_all(&goaway).await?;
            stream.flush().await
        };
        let told = tokio::time::timeout(super::LINGER_TIME, telling).await;
        if !matches!(told, Ok(Ok(()))) {
            return;
        }
    }
    match ended {
        // Somebody needs the room: it is said that this is the end, if that needs no waiting.
        Ended::Cut => drop(poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_shutdown(cx))).await),
        // Frames of streams that were refused or reset may still be on their way.
        Ended::Done | Ended::Away(_) => linger(stream).await,
    }
}

/// Gives each request a task, and the request a way to end it.
#[derive(Clone)]
struct OwnTasks(Rc<ConnectionState>);

impl<F: Future<Output = ()> + 'static> Executor<F> for OwnTasks {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        if let Some(exchange) = self.0.take_newest() {
            exchange.set_task(task.abort_handle());
        }
    }
}

/// The server side of hyper as Serin uses it.
fn builder(tasks: OwnTasks, takes_websocket: bool) -> Builder<OwnTasks> {
    let mut builder = Builder::new(tasks);
    if takes_websocket {
        // RFC 8441 §3.
        builder.enable_connect_protocol();
    }
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        // The meter bounds how often; hyper would bound how many there are in all, however long the connection lasts.
        .max_local_error_reset_streams(None);
    builder
}

/// Whether it was the client that ended a request's body before its time, and not a rule that the body broke.
pub(crate) fn is_of_the_client(error: &hyper::Error) -> bool {
    let Some(cause) = error.source() else { return false };
    match cause.downcast_ref::<h2::Error>() {
        Some(error) => !error.is_library(),
        None => cause.is::<io::Error>(),
    }
}

/// Requests that one connection has under way at most; more are refused in a way that lets the client repeat them.
const MAX_STREAMS: u32 = 100;

/// What hyper lets through of a head, in bytes as HTTP/2 counts them: 32 more for each field. Enough for every head that
/// [`in_terms_of_http1`] takes, so that nearly all that are too large get an answer like every other.
const MAX_HEADER_LIST: u32 = 40 << 10;

/// How much of a request body may wait for an endpoint, in bytes: what one stream can make us hold.
const STREAM_WINDOW: u32 = 64 << 10;

/// And how much of all bodies of a connection. Sixteen uploads may stand still before another one has to wait for them; a
/// window for all hundred streams would let one connection hold six times as much.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How much of a response is given to a stream ahead of what the client has taken, in bytes; one piece may come on top.
const SEND_BUFFER: usize = 48 << 10;

/// Error codes (RFC 9113 §7).
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;
